"""What a run is: one frozen, validated configuration per method, shared by command line, page, file and URL.

A configuration holds only switches that its method reads: `replay` has a memory but no fusion, `finetune` has
neither, so a setting without effect cannot be written down.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from .errors import ConfigError

DatasetName = Literal["digits", "mnist-5k", "scenes"]
NetworkName = Literal["conv", "mlp"]
MethodName = Literal["ari", "replay", "finetune"]
DeviceName = Literal["auto", "cpu", "cuda", "mps"]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Data(Section):
    name: DatasetName = "mnist-5k"
    tasks: int = Field(default=5, ge=1, description="number of tasks, each a disjoint group of classes")
    classes_per_task: int = Field(default=2, ge=1)
    class_order: int | None = Field(
        default=None, ge=0, description="None: classes in order; a number: shuffled by this seed"
    )
    evaluate_on: Literal["test", "validation"] = Field(
        default="test", description="validation: a fixed fifth of the training data, held out for choices"
    )


class Network(Section):
    name: NetworkName = "conv"


class Train(Section):
    epochs: int = Field(default=5, ge=1, description="per task")
    batch_size: int = Field(default=32, ge=1)
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(default=0.15, gt=0, le=1e30)
    schedule: Literal["cosine", "constant"] = Field(default="cosine", description="cosine: to 0 over each task")
    loss: Literal["seen", "task"] = Field(
        default="seen", description="seen: cross-entropy over all classes seen; task: binary, the task's classes only"
    )


class Memory(Section):
    budget: int = Field(default=100, ge=1, description="exemplars in all, shared equally by the classes seen")
    every_task: bool = Field(default=True, description="each batch holds at least one sample of each task seen")


class Attack(Section):
    epsilon: float = Field(default=0.03, ge=0, le=1, description="largest change of a pixel in [0, 1]")


class Fusion(Section):
    inner_steps: int = Field(default=1, ge=1, description="K: rounds of clean step, attack, attacked step")
    distance: Literal["l1", "l2", "relative"] = "l1"
    eta: float = Field(default=0.85, ge=0, description="regularisation of dif = D∘D + eta (Eq. 7)")
    beta: float = Field(default=0.0, ge=0, description="the base keeps 1 - exp(-beta (n-1)/N) of itself")


class Recording(Section):
    frames: int = Field(default=500, ge=2, le=5000, description="most frames kept per task, spread evenly")
    probes: int = Field(default=10, ge=0, le=64, description="held-out images whose attention is recorded")
    probe_frames: int = Field(default=12, ge=2, description="how often per task their attention is recorded")


class Run(Section):
    """What every method reads."""

    preset: str | None = Field(default=None, description="the preset it was made from; a label")
    seed: int = Field(default=0, ge=0, lt=2**31, description="initialisation, batches and exemplars; never the split")
    device: DeviceName = "auto"
    data: Data = Data()
    network: Network = Network()
    train: Train = Train()
    recording: Recording = Recording()


class Finetune(Run):
    method: Literal["finetune"] = "finetune"


class Replay(Run):
    method: Literal["replay"] = "replay"
    memory: Memory = Memory()


class Ari(Run):
    method: Literal["ari"] = "ari"
    memory: Memory = Memory()
    attack: Attack = Attack()
    fusion: Fusion = Fusion()


Config = Ari | Replay | Finetune
_adapter: TypeAdapter[Config] = TypeAdapter(Annotated[Config, Field(discriminator="method")])

METHODS: tuple[str, ...] = get_args(MethodName)

# One network, and one number of epochs and samples a batch, for all methods of a preset. The learning rates were
# chosen on validation data by benchmarks/learning_rates.py.
_PRESETS: dict[str, dict[str, Any]] = {
    "digits": {"data": {"name": "digits"}},
    "mnist-5k": {"data": {"name": "mnist-5k"}, "train": {"epochs": 10, "batch_size": 128}},
    "scenes": {"data": {"name": "scenes"}, "train": {"epochs": 12, "batch_size": 16}},
}
_OPTIMISERS = {"ari": "sgd", "replay": "adam", "finetune": "adam"}
_LEARNING_RATES: dict[str, dict[str, float]] = {
    "digits": {"ari": 0.15, "replay": 0.01, "finetune": 0.01},
    "mnist-5k": {"ari": 0.15, "replay": 0.03, "finetune": 0.001},
    "scenes": {"ari": 0.15, "replay": 0.01, "finetune": 0.01},
}
PRESETS = tuple(_PRESETS)


def preset(name: str, /, method: str = "ari", seed: int = 0, **settings: Any) -> Config:
    """The named preset for a method; `settings` are dotted keys, e.g. **{"train.epochs": 3}.

    Raises ConfigError on an unknown preset, method or key and on values out of range.
    """
    if name not in _PRESETS:
        raise ConfigError(f"unknown preset {name!r}; valid presets: {', '.join(PRESETS)}")
    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}; valid methods: {', '.join(METHODS)}")
    chosen = _PRESETS[name]
    train = {
        **chosen.get("train", {}),
        "optimiser": _OPTIMISERS[method],
        "learning_rate": _LEARNING_RATES[name][method],
    }
    return parse({**chosen, "preset": name, "method": method, "seed": seed, "train": train}, **settings)


def parse(values: dict[str, Any], /, **settings: Any) -> Config:
    """A configuration from nested `values` with dotted `settings` laid over them; ConfigError otherwise."""
    merged = _copy(values)
    for key, value in settings.items():
        *sections, last = key.split(".")
        place = merged
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{key}: {section} is a single setting, not a section")
        place[last] = value
    try:
        return _adapter.validate_python(merged)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(merged.get("method"), each) for each in error.errors())) from None


def _copy(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in values.items()}


def _explain(method: Any, error: Any) -> str:
    """One pydantic error in the words of the command line: dotted key, what is wrong, what is valid."""
    path = [str(part) for part in error["loc"] if part != method]
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        valid = sorted(keys(method))
        return f"{key}: {method} has no such setting; valid: {', '.join(valid)}"
    if error["type"].startswith("union_tag"):
        return f"unknown method {method!r}; valid methods: {', '.join(METHODS)}"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}, got {error['input']!r}"


def keys(method: str) -> dict[str, Any]:
    """Every dotted setting of a method with its field description and default."""
    model = next(kind for kind in get_args(Config) if kind.model_fields["method"].default == method)
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found |= {f"{name}.{inner}": each for inner, each in field.annotation.model_fields.items()}
        elif name not in ("method", "preset"):
            found[name] = field
    return found
