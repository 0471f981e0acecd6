"""One validation for command line, page, file and URL: what it accepts, and its messages."""

import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from arli_core import datasets
from arli_core.config import (
    DATASETS,
    METHODS,
    PRESETS,
    PROTOCOLS,
    SIDES,
    WEIGHING,
    Config,
    Section,
    differences,
    from_text,
    in_current_names,
    keys,
    parse,
    preset,
    protocols,
    text_of,
)
from arli_core.errors import ConfigError, LabError
from arli_core.units import TaskUnits

light = settings(max_examples=60, deadline=None, derandomize=True)

each_method = pytest.mark.parametrize("method", METHODS)
each_preset = pytest.mark.parametrize("name", PRESETS)

count = st.integers(1, 500)
NAMED = st.characters(exclude_characters="\0")
VALID = {
    "seed": st.integers(0, 2**31 - 1),
    "device": st.sampled_from(["auto", "cpu", "cuda", "mps"]),
    "data.name": st.sampled_from(DATASETS) | st.text(NAMED, min_size=1).map("folder:{}".format),
    "data.image_size": st.none() | st.integers(8, 1024),
    "data.spurious": st.floats(0, 1),
    "data.tasks": st.integers(1, 200),
    "data.classes_per_task": count
    | st.lists(count, min_size=2, max_size=6).map(tuple).filter(lambda n: len({*n}) > 1),
    "data.class_order": st.none() | st.integers(0, 99),  # names have a test of their own
    "data.evaluate_on": st.sampled_from(["test", "validation"]),
    "augmentation.shift": st.integers(0, 64),
    "augmentation.flip": st.booleans(),
    "augmentation.zoom": st.floats(0, 1, exclude_min=True),
    "network.name": st.sampled_from(["conv", "masked-conv", "mlp", "residual", "resnet18"]),
    "network.attention": st.sampled_from(["per-image", "released", "none"]),
    "train.epochs": count,
    "train.batch_size": count,
    "train.optimiser": st.sampled_from(["sgd", "adam", "radam"]),
    "train.learning_rate": st.floats(1e-9, 1e6),
    "train.schedule": st.sampled_from(["cosine", "steps", "constant"]),
    "train.loss": st.sampled_from(["seen", "task"]),
    "memory.budget": count,
    "memory.batches": st.sampled_from(["mixed", "every-task", "balanced"]),
    "attack.epsilon": st.floats(0, 1),
    "fusion.inner_steps": st.integers(1, 100),
    "fusion.reset": st.booleans(),
    "fusion.weights": st.sampled_from(["adaptive", "uniform", "last"]),
    "fusion.over": st.sampled_from(["model", "tensor"]),
    "fusion.distance": st.sampled_from(["l1", "l2", "relative"]),
    "fusion.eta": st.floats(0, 1e6),
    "fusion.base_rate": st.floats(1e-9, 1e6),
    "fusion.beta": st.floats(0, 1e6),
    "consolidation.strength": st.floats(0, 1e6),
    "distillation.strength": st.floats(0, 1e6),
    "distillation.temperature": st.floats(0, 1e6, exclude_min=True),
    "replay.alpha": st.floats(0, 1e6),
    "replay.beta": st.floats(0, 1e6),
    "evaluation.group": count,
    "evaluation.mixing": st.floats(0, 1),
    "adaptation.epochs": st.integers(0, 50),
    "recording.frames": st.integers(2, 5000),
    "recording.probes": st.integers(0, 64),
    "recording.probe_frames": st.integers(2, 500),
}


RUN = {key for key in VALID if key.split(".")[0] in
       ("seed", "device", "data", "augmentation", "network", "train", "evaluation", "recording")}  # fmt: skip
REHEARSAL = {"memory.budget", "memory.batches", "adaptation.epochs"}
ARI = REHEARSAL | {key for key in VALID if key.startswith(("attack", "fusion"))} - {"fusion.base_rate"}
# What each method reads besides what all methods do, written out in full.
OWN = {
    "ari": ARI,
    "ari-adam": ARI | {"fusion.base_rate"},
    "ari-paper": ARI,
    "ari-released": REHEARSAL | {"attack.epsilon", "fusion.inner_steps", "fusion.beta"},
    "itaml": REHEARSAL | {"fusion.inner_steps", "fusion.beta"},
    "replay": REHEARSAL,
    "replay-balanced": REHEARSAL,
    "der++": {"memory.budget", "adaptation.epochs", "replay.alpha", "replay.beta"},
    "ewc": {"consolidation.strength"},
    "lwf": {"distillation.strength", "distillation.temperature"},
    "finetune": set(),
    "joint": set(),
}


def test_every_setting_is_known_here():
    """A new setting must be added above, so that it is dumped and parsed like the others."""
    assert RUN | set().union(*OWN.values()) == set(VALID)
    assert {"fusion.eta", "fusion.reset", "fusion.weights", "fusion.over", "fusion.distance"} <= OWN["ari"]


@each_method
def test_a_method_has_the_settings_that_it_reads_and_no_others(method):
    assert set(keys(method)) == RUN | OWN[method]


# Preset: data, number of tasks, classes of each.
WORLDS = {
    "digits": ("digits", 5, 2),
    "mnist-5k": ("mnist-5k", 5, 2),
    "fashion-mnist": ("fashion-mnist", 5, 2),
    "scenes": ("scenes", 5, 2),
    "paper-mnist": ("mnist", 5, 2),
    "paper-cifar100": ("cifar-100", 10, 10),
    "paper-cub200": ("cub-200", 10, 20),
    "paper-imagenet100": ("imagenet-100", 10, 10),
}


@pytest.mark.parametrize("method", ["ari", "ari-paper"])
def test_settings_from_before_ari_adam_had_its_name_mean_what_they_did(method):
    """`fusion.base_rate` was a switch of ari: None is Eq. 11, a number is what is now called ari-adam."""
    literal = preset("mnist-5k", method, 3).model_dump()
    literal["fusion"]["base_rate"] = None
    assert parse(literal) == preset("mnist-5k", method, 3)
    led = preset("mnist-5k", "ari-adam", 3, **{"fusion.base_rate": 0.006})
    assert parse(led.model_dump() | {"method": method}) == led
    assert parse({"method": method}, **{"fusion.base_rate": 0.006}).method == "ari-adam"
    with pytest.raises(ConfigError, match=r"fusion\.base_rate: .*greater than 0, got 0"):
        parse({"method": method}, **{"fusion.base_rate": 0})


def test_old_names_leave_other_methods_and_malformed_values_alone():
    for values in ({"method": "itaml", "fusion": {"base_rate": None}}, {"method": "ari", "fusion": 3}):
        assert in_current_names(values) == values
    with pytest.raises(ConfigError, match=r"fusion\.base_rate: itaml has no such setting"):
        parse({"method": "itaml"}, **{"fusion.base_rate": 0.1})


@each_preset
@each_method
def test_every_preset_works_with_every_method(name, method):
    config = preset(name, method, seed=7)
    assert (config.method, config.preset, config.seed) == (method, name, 7)
    assert (config.data.name, config.data.tasks, config.data.classes_per_task) == WORLDS[name]
    sections = {key.split(".")[0] for key in RUN | OWN[method]} - {"seed", "device"}
    for name in {key.split(".")[0] for key in VALID} - {"seed", "device"}:
        assert hasattr(config, name) == (name in sections), name


def test_presets_and_names_are_those_promised():
    assert set(PRESETS) == set(WORLDS)
    assert set(METHODS) == set(OWN)
    assert len(METHODS) == len(set(METHODS)) == 12 and METHODS[0] == "ari"
    assert set(DATASETS) == set(datasets.NAMES)
    assert tuple(kind.model_fields["method"].default for kind in get_args(Config)) == METHODS


def test_data_that_are_configured_are_data_that_are_known():
    for name in (*DATASETS, "folder:birds", "folder:/somewhere/else"):
        assert datasets.known(name) and preset("digits", **{"data.name": name}).data.name == name
    for name in ("folder:", "cifar", "Digits", "", "folders:birds"):
        assert not datasets.known(name)
        with pytest.raises(ConfigError, match=r"^data[.]name: .*digits, .*cifar-100, .*or folder:NAME"):
            preset("digits", **{"data.name": name})


def test_images_are_enlarged_eight_times_at_most():
    for name in DATASETS:
        largest = 8 * SIDES.get(name, 128)
        assert preset("digits", **{"data.name": name, "data.image_size": largest}).data.image_size == largest
        with pytest.raises(ConfigError, match=rf"^data[.]image_size: .*less than or equal to {largest}\b.* memory"):
            preset("digits", **{"data.name": name, "data.image_size": largest + 1})
    for name in ("digits", "mnist-5k", "scenes"):
        assert datasets.load(name).shape[1:] == (SIDES[name], SIDES[name])
    with pytest.raises(
        ConfigError, match=r"^data[.]image_size: .*for digits: enlarged further, its images of 8x8 show.*got 65"
    ):
        preset("digits", **{"data.image_size": 65})


def test_spurious_backgrounds_are_of_scenes_alone():
    assert preset("scenes", **{"data.spurious": 0.5}).data.spurious == 0.5
    for name in set(DATASETS) - {"scenes"} | {"folder:scenes"}:
        assert preset("scenes", **{"data.name": name, "data.spurious": 0}).data.spurious == 0
        with pytest.raises(ConfigError, match=f"^data[.]spurious: .*0 for {name}, or data[.]name scenes, got 0.5"):
            preset("scenes", **{"data.name": name, "data.spurious": 0.5})
    with pytest.raises(ConfigError, match=r"^data[.]name: [^;]*$"):  # only the first fault is reported
        preset("scenes", **{"data.name": "cifar", "data.spurious": 0.5})


def test_what_makes_a_method_of_its_class_is_laid_under_every_preset():
    for name in PRESETS:
        paper, released = preset(name, "ari-paper"), preset(name, "ari-released")
        for config in (paper, released) if name != "paper-mnist" else (released,):
            assert config.train.optimiser == "radam" and config.train.schedule == "steps"
            assert config.train.loss == "task" and config.network.attention == "released"
            assert config.train.learning_rate == 0.01 and config.attack.epsilon == 1 / 255
            assert config.fusion.beta == 1 and config.memory.batches == "mixed"
        assert paper.fusion.eta == 0.85 and paper.fusion.reset and paper.fusion.weights == "adaptive"
        assert preset(name, "replay-balanced").memory.batches == "balanced"
        assert preset(name, "itaml").memory.batches == preset(name, "ari").memory.batches == "balanced"
        assert preset(name, "replay").memory.batches == "mixed"
    assert parse({"method": "replay-balanced"}).memory.batches == "balanced"
    assert preset("digits", "replay-balanced", **{"memory.batches": "mixed"}).memory.batches == "mixed"


@each_preset
def test_methods_of_a_preset_have_the_same_data_epochs_and_samples(name):
    configs = [preset(name, method) for method in METHODS]
    assert len({(c.data, c.augmentation, c.network.name, c.train.epochs) for c in configs}) == 1
    # Batches too, but for the literal ari, which fuses twice as often where that was found on validation data.
    halved = name in ("mnist-5k", "scenes")
    sizes = {c.train.batch_size * (2 if halved and c.method == "ari" else 1) for c in configs}
    assert len(sizes) == 1
    assert len({c.memory.budget for c in configs if hasattr(c, "memory")}) == 1


@each_method
def test_protocols_are_three_and_six_where_a_method_adapts(method):
    assert protocols(preset("digits", method)) == PROTOCOLS == ("task_aware", "vote", "per_sample")
    if "adaptation.epochs" in OWN[method]:
        six = protocols(preset("digits", method, **{"adaptation.epochs": 1}))
        assert six == (*PROTOCOLS, "task_aware_adapted", "vote_adapted", "per_sample_adapted")


@each_method
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_what_is_dumped_parses_to_the_same(method, data):
    allowed = sorted(keys(method))
    drawn = data.draw(st.lists(st.sampled_from(allowed), unique=True))
    values = {key: data.draw(VALID[key], label=key) for key in drawn if key != "seed"}
    if values.get("data.spurious"):
        values["data.name"] = "scenes"  # only scenes has it
    if isinstance(values.get("data.classes_per_task"), tuple):
        values["data.tasks"] = len(values["data.classes_per_task"])
    if method in WEIGHING and values.get("data.tasks", 0) > 10:
        values["recording.frames"] = min(values.get("recording.frames", 16), 16)  # more matrices are refused
    name = data.draw(st.sampled_from(PRESETS))
    if values.get("data.image_size"):
        side = SIDES.get(values.get("data.name", preset(name).data.name), 128)
        values["data.image_size"] = min(values["data.image_size"], 8 * side)
    config = preset(name, method, data.draw(VALID["seed"]), **values)
    for key, value in values.items():
        place = config
        for part in key.split("."):
            place = getattr(place, part)
        assert place == value
    assert parse(config.model_dump()) == config
    assert parse(json.loads(config.model_dump_json())) == config
    assert parse(json.loads(json.dumps(config.model_dump(), allow_nan=False))) == config


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@light
@given(data=st.data(), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple))
def test_increments_and_an_order_are_read_as_they_are_written(data, sizes):
    """As values, on the command line, in an address, and in a file."""
    names = tuple(data.draw(st.lists(NAMES, min_size=sum(sizes), max_size=sum(sizes), unique=True)))
    config = preset("digits", "ari", **{"data.classes_per_task": list(sizes), "data.class_order": list(names)})
    assert config.data.units == TaskUnits(sizes) and config.data.tasks == len(sizes)
    assert config.data.class_order == names
    assert config.data.classes_per_task == (sizes[0] if len({*sizes}) == 1 else sizes)
    assert parse(config.model_dump()) == parse(json.loads(config.model_dump_json())) == config
    assert eval(repr(config.model_dump())) == config.model_dump()  # as a script writes it
    written = {key: from_text(text_of(value)) for key, value in differences(config, preset("digits")).items()}
    assert preset("digits", "ari", **written) == config
    assert hash(config) == hash(parse(config.model_dump()))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4,2,2,2", (4, 2, 2, 2)),
        (" 4, 2 ,2,2 ", (4, 2, 2, 2)),
        ("[4, 2, 2, 2]", (4, 2, 2, 2)),
        ("3", 3),
        ("2,2,2", 2),
    ],
)
def test_increments_say_how_many_tasks_there_are(text, value):
    for given_as in (text, from_text(text)):
        config = preset("paper-cifar100", "replay", **{"data.classes_per_task": given_as})
        assert config.data.classes_per_task == value
        assert config.data.tasks == (10 if "," not in text else text.count(",") + 1)
        assert parse(config.model_dump()) == config
    assert parse({"method": "ari", "data": {"classes_per_task": text}}).data.classes_per_task == value


def test_as_many_tasks_as_increments_may_be_said_too_and_no_other_number():
    both = {"data.classes_per_task": (4, 2, 2, 2), "data.tasks": 4}
    assert preset("digits", **both) == preset("digits", **{"data.classes_per_task": (4, 2, 2, 2)})
    for below in (preset("digits").model_dump(), preset("digits", **both).model_dump()):
        assert parse(below, **both) == preset("digits", **both)
        assert parse(below, **{"data.classes_per_task": "6,4"}).data.tasks == 2
        with pytest.raises(
            ConfigError, match=r"classes_per_task: .*one number for each of the 3 tasks of data.tasks, and not 4"
        ):
            parse(below, **(both | {"data.tasks": 3}))
    with pytest.raises(ConfigError, match=r"leave out data.tasks to have it follow from them"):
        parse(preset("digits", **both).model_dump(), **{"data.tasks": 5})
    assert parse(preset("digits", **both).model_dump(), **{"data.classes_per_task": 2}).data.units == TaskUnits(
        (2,) * 4
    )


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("7", 7),
        ("null", None),
        ("3,1", ("3", "1")),
        ("[3, 1]", ("3", "1")),
        ('["3","1"]', ("3", "1")),
        ('["a, b", " c"]', ("a, b", " c")),
        ("tabby cat, dog", ("tabby cat", "dog")),
    ],
)
def test_an_order_is_a_seed_or_names(text, order):
    config = preset("digits", **{"data.classes_per_task": "1,1", "data.class_order": from_text(text)})
    assert config.data.class_order == order
    again = {"data.classes_per_task": 1, "data.tasks": 2, "data.class_order": from_text(text_of(order))}
    assert preset("digits", **again).data.class_order == order


def test_a_single_class_is_named_in_a_list():
    for order in (["3"], ("cat",)):
        config = preset("digits", **{"data.tasks": 1, "data.classes_per_task": 1, "data.class_order": order})
        assert config.data.class_order == tuple(order)


@each_method
def test_what_no_setting_names_keeps_its_default(method):
    """So a run recorded before a setting existed can still be read."""
    plain = preset("digits", method)
    dumped = plain.model_dump()
    del dumped["recording"], dumped["train"]["epochs"]
    assert parse(dumped) == plain


def test_unknown_presets_and_methods_are_answered_with_the_valid_ones():
    with pytest.raises(
        ConfigError, match=r"unknown preset 'cifar'; valid presets: digits, mnist-5k, fashion-mnist, scenes"
    ):
        preset("cifar")
    valid = r"; valid methods: ari, ari-adam, itaml, .*der\+\+, .*finetune, joint"
    with pytest.raises(ConfigError, match="unknown method 'gem'" + valid):
        preset("digits", "gem")
    assert preset("digits").method == "ari" and preset("paper-cifar100").method == "ari-paper"
    for values in ({"method": "gem"}, {}, {"method": None}):
        with pytest.raises(ConfigError, match="unknown method .*" + valid):
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
        ("train.optimiser", "radar", r"'sgd', 'adam' or 'radam'"),
        ("train.schedule", "step", r"'cosine', 'steps' or 'constant'"),
        ("train.loss", "hinge", r"'seen' or 'task'"),
        ("data.name", "cifar", r"one of digits, mnist-5k, scenes, .*, or folder:NAME, got 'cifar'"),
        ("data.name", 3, r"valid string"),
        ("data.image_size", 7, r"greater than or equal to 8"),
        ("data.spurious", -0.1, r"greater than or equal to 0"),
        ("data.spurious", 1.1, r"less than or equal to 1"),
        ("data.spurious", 0.5, r"input should be 0 for digits, or data.name scenes, got 0.5"),
        ("augmentation.shift", -1, r"greater than or equal to 0"),
        ("augmentation.zoom", 0, r"greater than 0"),
        ("augmentation.zoom", 1.1, r"less than or equal to 1"),
        ("data.tasks", 0, r"greater than or equal to 1"),
        *(
            ("data.classes_per_task", value, r"a number from 1 to 1000, or one for each task, as in 4,2,2,2")
            for value in (0, -1, 2.5, "many", "4,0", "4;2", [4, 0], [4, None], [[4]], {}, None, "")
        ),
        ("data.classes_per_task", [], r"one number for each of the 5 tasks"),
        ("data.class_order", -1, r"a seed of at least 0, or names of classes"),
        ("data.class_order", 1.5, r"a seed of at least 0, or names of classes"),
        ("data.class_order", {}, r"a seed of at least 0, or names of classes"),
        ("data.class_order", [None], r"a seed of at least 0, or names of classes"),
        ("data.class_order", ["a", ["b"]], r"a seed of at least 0, or names of classes"),
        ("data.class_order", "3,1,4,3,1", r"each class once; named more than once: 1, 3"),
        (
            "data.class_order",
            "a,b,c",
            r"all 10 classes of the tasks, or be a seed of at least 0; 3 are named",
        ),
        ("data.class_order", "cat", r"10 classes of the tasks, or be a seed of at least 0; 1 is named"),
        ("data.class_order", [], r"10 classes of the tasks, or be a seed of at least 0; 0 are named"),
        ("data.evaluate_on", "train", r"'test' or 'validation'"),
        ("network.name", "resnet", r"'conv', 'masked-conv', 'mlp', 'residual' or 'resnet18'"),
        ("network.attention", "bam", r"'per-image', 'border', 'local', 'released' or 'none'"),
        ("memory.budget", 0, r"greater than or equal to 1"),
        ("memory.batches", "some", r"'mixed', 'every-task' or 'balanced'"),
        ("attack.epsilon", 1.5, r"less than or equal to 1"),
        ("fusion.reset", "perhaps", r"valid boolean"),
        ("fusion.weights", "first", r"'adaptive', 'uniform' or 'last'"),
        ("fusion.over", "layer", r"'model' or 'tensor'"),
        ("fusion.eta", -1, r"greater than or equal to 0"),
        ("fusion.eta", float("inf"), r"finite number"),
        ("fusion.distance", "cosine", r"'l1', 'l2' or 'relative'"),
        ("evaluation.group", 0, r"greater than or equal to 1"),
        ("evaluation.mixing", 1.5, r"less than or equal to 1"),
        ("adaptation.epochs", -1, r"greater than or equal to 0"),
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
        ("finetune", "adaptation.epochs"),
        ("joint", "memory.budget"),
        ("ewc", "memory.budget"),
        ("lwf", "consolidation.strength"),
        ("der++", "memory.batches"),
        ("itaml", "attack.epsilon"),
        ("itaml", "fusion.eta"),
        ("ari-released", "fusion.eta"),
        ("ari-released", "fusion.weights"),
    ],
)
def test_settings_that_a_method_does_not_have_are_refused(method, key):
    """A setting without effect cannot be written down."""
    with pytest.raises(ConfigError) as raised:
        preset("digits", method, **{key: 1})
    message = str(raised.value)
    assert key.split(".")[0] in message and f"{method} has no such setting" in message
    assert "train.epochs" in message and key not in message.split("valid:")[1].replace(",", "").split()


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
    for section in [config, *(section for section in sections if isinstance(section, Section))]:
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
