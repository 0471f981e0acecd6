"""Every setting has an effect: changing any of a method's settings changes a run's events.

Tried for one method of each class; settings of the data, which no method reads, for one method.

The released code sets several that have no effect. Each other value is tried on a run of two tasks in which it can
act; the first event that differs is enough.
"""

from functools import cache
from itertools import zip_longest
from typing import Literal, get_args, get_origin

import pytest

from arli_core.config import METHODS, keys, preset
from arli_core.events import Started
from arli_core.learn import learn
from tests.helpers import KINDS_OF_METHODS, same

# A run of two tasks of five iterations, in which everything can act: two inner rounds; fewer exemplars than samples
# in a batch; a loss and a rate that leave the vote undecided; and no setting at a value at which another one has
# nothing to change.
BASE = {
    "device": "cpu",
    "data.tasks": 2,
    "network.name": "mlp",
    "train.epochs": 1,
    "train.batch_size": 72,
    "train.optimiser": "adam",
    "train.learning_rate": 0.0005,
    "train.schedule": "cosine",
    "train.loss": "task",
    "memory.budget": 6,
    "memory.batches": "mixed",
    "attack.epsilon": 0.1,
    "fusion.inner_steps": 2,
    "fusion.eta": 0.1,
    "fusion.base_rate": 0.001,
    "fusion.beta": 0.3,
    "evaluation.group": 2,
    "evaluation.mixing": 0.5,
    "recording.frames": 3,
    "recording.probes": 2,
    "recording.probe_frames": 2,
}

# Other values of each setting; of those with a few values, all the others.
OTHERS = {
    "seed": [1],
    "data.name": ["mnist-5k", "scenes"],
    "data.image_size": [12],
    "data.spurious": [0.95],
    "data.tasks": [1, 3],
    "data.classes_per_task": [1, 3, (1, 3)],
    "data.class_order": [0, ("3", "1", "0", "2")],
    "data.evaluate_on": ["validation"],
    "augmentation.shift": [1],
    "augmentation.flip": [True],
    "augmentation.zoom": [0.8],
    "network.name": ["conv", "masked-conv", "residual", "resnet18"],
    "network.attention": ["per-image", "border", "local", "released", "none"],
    "train.epochs": [2],
    "train.batch_size": [50],
    "train.optimiser": ["sgd", "radam"],
    "train.learning_rate": [0.00051],
    "train.schedule": ["steps", "constant"],
    "train.loss": ["seen"],
    "memory.budget": [9],
    "memory.batches": ["every-task", "balanced"],
    "attack.epsilon": [0.0, 0.11],
    "fusion.inner_steps": [1, 3],
    "fusion.reset": [False],
    "fusion.weights": ["uniform", "last"],
    "fusion.over": ["tensor"],
    "fusion.distance": ["l2", "relative"],
    "fusion.eta": [0.11],
    "fusion.base_rate": [0.0011],
    "fusion.beta": [0.0, 0.31],
    "consolidation.strength": [0.0, 101.0],
    "distillation.strength": [0.0, 1.01],
    "distillation.temperature": [2.02],
    "replay.alpha": [0.0, 0.51],
    "replay.beta": [0.0, 0.51],
    "evaluation.group": [1],
    "evaluation.mixing": [0.0, 1.0],
    "adaptation.epochs": [1, 2],
    "recording.frames": [2, 4],
    "recording.probes": [0, 3],
    "recording.probe_frames": [3],
}
UNDER = {"data.spurious": {"data.name": "scenes"}}  # settings of the base run without which one cannot be written
WHERE = {"device"}  # changes where a run takes place, not what it is
STARTED = {"data.name", "data.image_size", "data.spurious", "data.tasks", "data.classes_per_task", "data.class_order",
           "data.evaluate_on", "network.name", "network.attention", "recording.probes"}  # fmt: skip
# What begins alike: attentions of as many parameters, and the same four classes divided otherwise.
ALIKE = {"per-image", "border", "local", 2, (1, 3)}


def configured(method, **settings):
    own = {key: value for key, value in BASE.items() if key in keys(method)}
    return preset("digits", method, **(own | settings))


def value_of(config, key):
    for part in key.split("."):
        config = getattr(config, part)
    return config


def differing(config, events):
    """The first event of a run that differs from `events`, and its counterpart; None where all are the same."""
    for ours, theirs in zip_longest(learn(config), events):
        if not same(ours, theirs):
            return ours, theirs
    return None


@cache
def events_of(method):
    return list(learn(configured(method)))


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_has_another_value_here(method):
    """And of those with a few values, all are tried."""
    assert set(keys(method)) - WHERE <= set(OTHERS)
    for key in set(keys(method)) - WHERE:
        annotation = keys(method)[key].annotation
        values = get_args(annotation) if get_origin(annotation) is Literal else [False, True] * (annotation is bool)
        assert {value_of(configured(method), key), *OTHERS[key]} >= set(values), key


# What the methods of a class share is tried once a class; the data and their order, which no method reads, once.
TRIED = [
    (method, key)
    for method in KINDS_OF_METHODS
    for key in keys(method)
    if key not in WHERE and (method == "ari" or not key.startswith("data."))
]


def test_every_setting_of_every_method_is_tried():
    assert {key for _, key in TRIED} == {key for method in METHODS for key in keys(method)} - WHERE


@pytest.mark.parametrize(("method", "key"), TRIED)
def test_every_setting_has_an_effect(method, key):
    under = UNDER.get(key, {})
    base = configured(method, **under)
    tried = [value for value in OTHERS[key] if value != value_of(base, key)]
    assert tried
    for value in tried:
        difference = differing(
            configured(method, **under, **{key: value}), learn(base) if under else events_of(method)
        )
        assert difference is not None, f"{method}: {key} = {value!r} changes nothing"
        # What is not of the data or the network shows in training or in what is measured.
        known_at_once = key in STARTED and not {value, value_of(base, key)} <= ALIKE
        assert isinstance(difference[0], Started) == known_at_once, f"{method}: {key} = {value!r}"


@pytest.mark.parametrize("method", KINDS_OF_METHODS)
def test_a_preset_is_a_label(method):
    assert differing(configured(method).model_copy(update={"preset": "another"}), events_of(method)) is None
