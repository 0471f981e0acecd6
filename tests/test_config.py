"""One validation for command line, page, file and URL: what it takes, and what it answers."""

import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from arli_core import datasets
from arli_core.config import METHODS, PRESETS, Config, DatasetName, Section, keys, parse, preset
from arli_core.errors import ConfigError, LabError

each_method = pytest.mark.parametrize("method", METHODS)
each_preset = pytest.mark.parametrize("name", PRESETS)

count = st.integers(1, 500)
VALID = {
    "seed": st.integers(0, 2**31 - 1),
    "device": st.sampled_from(["auto", "cpu", "cuda", "mps"]),
    "data.name": st.sampled_from(["digits", "mnist-5k", "scenes"]),
    "data.tasks": count,
    "data.classes_per_task": count,
    "data.class_order": st.none() | st.integers(0, 99),
    "data.evaluate_on": st.sampled_from(["test", "validation"]),
    "network.name": st.sampled_from(["conv", "mlp"]),
    "train.epochs": count,
    "train.batch_size": count,
    "train.optimiser": st.sampled_from(["sgd", "adam"]),
    "train.learning_rate": st.floats(1e-9, 1e6),
    "train.schedule": st.sampled_from(["cosine", "constant"]),
    "train.loss": st.sampled_from(["seen", "task"]),
    "memory.budget": count,
    "memory.every_task": st.booleans(),
    "attack.epsilon": st.floats(0, 1),
    "fusion.inner_steps": count,
    "fusion.distance": st.sampled_from(["l1", "l2", "relative"]),
    "fusion.eta": st.floats(0, 1e6),
    "fusion.beta": st.floats(0, 1e6),
    "recording.frames": st.integers(2, 5000),
    "recording.probes": st.integers(0, 64),
    "recording.probe_frames": st.integers(2, 500),
}


def test_every_setting_is_known_here():
    """A new one is added above, so that it is dumped and parsed as the others are."""
    assert set(keys("ari")) == set(VALID)
    assert set(keys("replay")) == {key for key in VALID if not key.startswith(("attack", "fusion"))}
    assert set(keys("finetune")) == {key for key in VALID if not key.startswith(("attack", "fusion", "memory"))}


@each_preset
@each_method
def test_every_preset_works_with_every_method(name, method):
    config = preset(name, method, seed=7)
    assert (config.method, config.preset, config.data.name, config.seed) == (method, name, name, 7)
    assert (config.data.tasks, config.data.classes_per_task) == (5, 2)
    assert hasattr(config, "memory") == (method != "finetune")
    assert hasattr(config, "fusion") == hasattr(config, "attack") == (method == "ari")


def test_presets_and_names_are_those_promised():
    assert {"digits", "mnist-5k", "scenes"} <= set(PRESETS)
    assert {"ari", "replay", "finetune"} <= set(METHODS)
    assert get_args(DatasetName) == datasets.NAMES
    assert set(METHODS) == {kind.model_fields["method"].default for kind in get_args(Config)}


@each_method
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_what_is_dumped_parses_to_the_same(method, data):
    allowed = sorted(keys(method))
    chosen = data.draw(st.lists(st.sampled_from(allowed), unique=True))
    values = {key: data.draw(VALID[key], label=key) for key in chosen if key != "seed"}
    config = preset(data.draw(st.sampled_from(PRESETS)), method, data.draw(VALID["seed"]), **values)
    for key, value in values.items():
        place = config
        for part in key.split("."):
            place = getattr(place, part)
        assert place == value
    assert parse(config.model_dump()) == config
    assert parse(json.loads(config.model_dump_json())) == config
    assert parse(json.loads(json.dumps(config.model_dump(), allow_nan=False))) == config


@each_method
def test_what_no_setting_names_keeps_its_default(method):
    """So a run recorded before a setting came up is still read."""
    plain = preset("digits", method)
    dumped = plain.model_dump()
    del dumped["recording"], dumped["train"]["epochs"]
    assert parse(dumped) == plain


def test_unknown_presets_and_methods_are_answered_with_the_valid_ones():
    with pytest.raises(ConfigError, match=r"unknown preset 'cifar'; valid presets: digits, mnist-5k, scenes"):
        preset("cifar")
    with pytest.raises(ConfigError, match=r"unknown method 'ewc'; valid methods: ari, replay, finetune"):
        preset("digits", "ewc")
    for values in ({"method": "ewc"}, {}, {"method": None}):
        with pytest.raises(ConfigError, match=r"unknown method .*; valid methods: ari, replay, finetune"):
            parse(values)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.epochs", 0, r"greater than or equal to 1, got 0"),
        ("train.epochs", "many", r"valid integer.*got 'many'"),
        ("train.epochs", 2.5, r"valid integer"),
        ("train.batch_size", -3, r"greater than or equal to 1"),
        ("train.learning_rate", 0, r"greater than 0"),
        ("train.learning_rate", "nan", r"finite number"),
        ("train.learning_rate", float("inf"), r"finite number"),
        ("train.optimiser", "radar", r"'sgd' or 'adam'"),
        ("train.schedule", "steps", r"'cosine' or 'constant'"),
        ("train.loss", "hinge", r"'seen' or 'task'"),
        ("data.name", "cifar", r"'digits', 'mnist-5k' or 'scenes'"),
        ("data.tasks", 0, r"greater than or equal to 1"),
        ("data.evaluate_on", "train", r"'test' or 'validation'"),
        ("network.name", "resnet", r"'conv' or 'mlp'"),
        ("memory.budget", 0, r"greater than or equal to 1"),
        ("memory.every_task", "perhaps", r"valid boolean"),
        ("attack.epsilon", 1.5, r"less than or equal to 1"),
        ("fusion.eta", -1, r"greater than or equal to 0"),
        ("fusion.eta", float("inf"), r"finite number"),
        ("fusion.distance", "cosine", r"'l1', 'l2' or 'relative'"),
        ("recording.frames", 1, r"greater than or equal to 2"),
        ("recording.probes", 65, r"less than or equal to 64"),
        ("device", "tpu", r"'auto', 'cpu', 'cuda' or 'mps'"),
    ],
)
def test_bad_values_are_answered_with_their_key_and_what_is_valid(key, value, message):
    with pytest.raises(ConfigError, match=f"^{key.replace('.', '[.]')}: .*{message}"):
        preset("digits", **{key: value})


@pytest.mark.parametrize("seed", [-1, 2**31, 0.5, "x"])
def test_bad_seeds_are_answered(seed):
    with pytest.raises(ConfigError, match=r"^seed: .*got"):
        preset("digits", seed=seed)


@pytest.mark.parametrize(
    "key", ["train.epoch", "epochs", "fusion.gamma", "data", "train.epochs.now", "nothing.at.all"]
)
def test_unknown_keys_are_named(key):
    with pytest.raises(ConfigError, match=key.split(".")[0]):
        preset("digits", **{key: 3})


def test_unknown_keys_are_answered_with_the_valid_ones():
    with pytest.raises(ConfigError, match=r"train\.epoch: .*valid: .*train\.epochs"):
        preset("digits", **{"train.epoch": 3})


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("replay", "fusion.eta"),
        ("replay", "attack.epsilon"),
        ("finetune", "memory.budget"),
        ("finetune", "fusion.beta"),
    ],
)
def test_settings_that_a_method_does_not_have_are_refused(method, key):
    """Nothing without effect can be written down."""
    with pytest.raises(ConfigError) as raised:
        preset("digits", method, **{key: 1})
    message = str(raised.value)
    assert key.split(".")[0] in message and f"{method} has no such setting" in message
    assert "train.epochs" in message and key not in message.split("valid:")[1]


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(ConfigError, match=r"train\.epochs: .*; memory\.budget: "):
        preset("digits", **{"train.epochs": 0, "memory.budget": 0})


def test_a_setting_is_no_section():
    with pytest.raises(ConfigError, match=r"seed\.x: seed is a single setting"):
        preset("digits", **{"seed.x": 1})


def test_config_errors_are_errors_of_the_lab():
    assert issubclass(ConfigError, LabError) and issubclass(ConfigError, ValueError)


@each_method
def test_configurations_are_frozen_throughout(method):
    config = preset("digits", method)
    sections = [getattr(config, name) for name in type(config).model_fields]
    for section in [config, *(each for each in sections if isinstance(each, Section))]:
        for name in type(section).model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(section, name, getattr(section, name))
    assert hash(config) == hash(preset("digits", method))


def test_settings_leave_the_preset_and_what_is_parsed_alone():
    values = {"method": "ari", "train": {"epochs": 2}}
    assert parse(values, **{"train.epochs": 9}).train.epochs == 9
    assert values == {"method": "ari", "train": {"epochs": 2}}
    preset("digits", **{"train.learning_rate": 0.5})
    assert preset("digits").train.learning_rate != 0.5


@each_method
def test_every_setting_has_its_bounds_and_default(method):
    for key, field in keys(method).items():
        assert not field.is_required(), key
