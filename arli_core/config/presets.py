"""Named starting points: data, network and length of training, and what was tuned for a method of each."""

from typing import Any

from ..errors import ConfigError
from .methods import METHODS, Config, keys
from .parsing import differences, parse, shortened, with_tasks

# Data, network, and the numbers of epochs and of samples per batch, which all methods of a preset share.
_PRESETS: dict[str, dict[str, Any]] = {
    "digits": {"data.name": "digits"},
    "mnist-5k": {"data.name": "mnist-5k", "train.epochs": 3},
    "fashion-mnist": {"data.name": "fashion-mnist", "train.epochs": 1},
    "scenes": {
        "data.name": "scenes",
        "network.name": "masked-conv",
        "network.attention": "local",
        "train.epochs": 4,
        "train.batch_size": 16,
        "memory.budget": 200,
    },
    # The settings of the published experiments, as far as they are known: docs/method.md says what is ours.
    "paper-mnist": {
        "data.name": "mnist",
        "network.name": "mlp",
        "train.epochs": 20,
        "train.batch_size": 256,
        "memory.budget": 2000,
    },
    "paper-cifar100": {
        "data.name": "cifar-100",
        "data.tasks": 10,
        "data.classes_per_task": 10,
        "augmentation.shift": 4,
        "augmentation.flip": True,
        "network.name": "residual",
        "train.epochs": 70,
        "train.batch_size": 512,
        "memory.budget": 2000,
    },
    "paper-cub200": {
        "data.name": "cub-200",
        "data.tasks": 10,
        "data.classes_per_task": 20,
        "augmentation.flip": True,
        "augmentation.zoom": 0.5,
        "network.name": "resnet18",
        "train.epochs": 70,
        "train.batch_size": 64,
        "memory.budget": 2000,
    },
    "paper-imagenet100": {
        "data.name": "imagenet-100",
        "data.tasks": 10,
        "data.classes_per_task": 10,
        "augmentation.flip": True,
        "augmentation.zoom": 0.5,
        "network.name": "resnet18",
        "train.epochs": 70,
        "train.batch_size": 128,
        "memory.budget": 2000,
    },
}
# What was chosen on validation data for one method of a preset: docs/results.md names the sweeps.
_TUNED: dict[tuple[str, str], dict[str, Any]] = {
    ("mnist-5k", "ari"): {"train.batch_size": 16},  # more fusions an epoch
    ("mnist-5k", "itaml"): {"train.learning_rate": 0.05},
    ("mnist-5k", "replay-balanced"): {"train.learning_rate": 0.003},
    ("mnist-5k", "der++"): {"train.learning_rate": 0.006},
    ("mnist-5k", "finetune"): {"train.learning_rate": 0.001},
    ("scenes", "ari"): {"attack.epsilon": 0.03, "train.batch_size": 8},
    ("scenes", "ari-adam"): {"attack.epsilon": 0.03, "train.learning_rate": 0.02, "fusion.base_rate": 0.006},
    ("scenes", "ari-paper"): {"network.attention": "released"},  # which the preset's would replace
    ("scenes", "ari-released"): {"network.attention": "released"},
    ("scenes", "itaml"): {"train.learning_rate": 0.2},
    ("scenes", "replay"): {"train.learning_rate": 0.006},
    ("scenes", "replay-balanced"): {"train.learning_rate": 0.006},
    ("scenes", "der++"): {"train.learning_rate": 0.006},
    ("fashion-mnist", "itaml"): {"train.learning_rate": 0.05},
    ("fashion-mnist", "replay"): {"train.learning_rate": 0.03},
    ("fashion-mnist", "replay-balanced"): {"train.learning_rate": 0.003},
    ("fashion-mnist", "der++"): {"train.learning_rate": 0.003},
    ("paper-mnist", "ari-paper"): {"train.optimiser": "sgd", "train.learning_rate": 0.1, "fusion.beta": 0.5},
}
PRESETS = tuple(_PRESETS)


def preset(name: str, /, method: str | None = None, seed: int = 0, **settings: Any) -> Config:
    """The named preset for a method; `settings` are dotted keys, e.g. **{"train.epochs": 3}. The default
    method is `ari`, or `ari-paper` for a paper preset.

    Raises ConfigError on an unknown preset, method or key and on values out of range.
    """
    if name not in _PRESETS:
        raise ConfigError(f"unknown preset {shortened(name)}; valid presets: {', '.join(PRESETS)}")
    if method is None:
        method = "ari-paper" if name.startswith("paper-") else "ari"
    if method not in METHODS:
        raise ConfigError(f"unknown method {shortened(method)}; valid methods: {', '.join(METHODS)}")
    own = keys(method)
    defaults = {key: value for key, value in _PRESETS[name].items() if key in own} | _TUNED.get((name, method), {})
    return parse({"preset": name, "method": method, "seed": seed}, **(defaults | with_tasks(settings)))


def changes(config: Config) -> dict[str, Any]:
    """The settings, apart from the seed, that differ from its method's in its preset; ConfigError without a
    preset."""
    if config.preset is None:
        raise ConfigError("the configuration was not made from a preset")
    return differences(config, preset(config.preset, config.method, config.seed))
