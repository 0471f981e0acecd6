"""What a run is: one frozen, validated configuration per method, shared by command line, page, file and URL.

A configuration holds only switches that its method reads: `replay` has a memory but no fusion, `finetune` has
neither, so a setting without effect cannot be written down.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from .errors import ConfigError
from .units import TaskUnits

DATASETS = (
    "digits",
    "mnist-5k",
    "scenes",
    "mnist",
    "fashion-mnist",
    "cifar-10",
    "cifar-100",
    "cub-200",
    "imagenet-100",
)
SIDES = {"digits": 8, "mnist-5k": 28, "scenes": 40, "mnist": 28, "fashion-mnist": 28, "cifar-10": 32, "cifar-100": 32}
ENLARGED = 8  # times its side, at most: an image of so few pixels shows nothing more, and costs the square of it
HUGE = 1e30  # of numbers that are multiplied with others of their like
MATRIX_BYTES = 2**30  # of a run's recorded matrices, which a page holds in memory
PROTOCOLS = ("task_aware", "vote", "per_sample")
DeviceName = Literal["auto", "cpu", "cuda", "mps"]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def listed(value: Any) -> Any:
    """Several values from a text as people write it, with commas or as a JSON list; anything else as it is."""
    if not isinstance(value, str):
        return value
    found = from_text(value)
    if isinstance(found, list):
        return found
    return [part.strip() for part in value.split(",")] if "," in value else value.strip()


def text_of(value: Any) -> str:
    """A setting as it is written on the command line, from where it is read as the same."""
    if isinstance(value, list | tuple):
        parts = [str(part) for part in value]
        plain = ",".join(parts)
        return plain if len(parts) > 1 and listed(plain) == parts else json.dumps(list(value))
    return value if isinstance(value, str) else json.dumps(value)


def from_text(text: str) -> Any:
    """A setting as it is written on the command line: JSON where it parses, else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def tasks_listed(classes_per_task: Any) -> int | None:
    """How many tasks increments say there are; None where one number is for all tasks."""
    sizes = listed(classes_per_task)
    return len(sizes) or None if isinstance(sizes, list | tuple) else None


_COUNT: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=1, le=1000)])
_SEED: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0)])


class Data(Section):
    name: str = Field(default="mnist-5k", description="a data set, or folder:NAME for a folder of class folders")
    image_size: int | None = Field(default=None, ge=8, le=1024, description="None: as published; else resized to it")
    spurious: float = Field(
        default=0.0, ge=0, le=1, description="scenes: share of training backgrounds from the class's own region"
    )
    tasks: int = Field(default=5, ge=1, le=200, description="number of tasks, each a disjoint group of classes")
    classes_per_task: int | tuple[int, ...] = Field(
        default=2,
        description="a number: all tasks alike; several, as 4,2,2,2: of each task, which also says how many",
    )
    class_order: int | tuple[str, ...] | None = Field(
        default=None,
        description="None: classes in order; a number: shuffled by this seed; names, as cat,dog: these in this order",
    )
    evaluate_on: Literal["test", "validation"] = Field(
        default="test", description="validation: a fixed fifth of the training data, held out for choices"
    )

    @property
    def units(self) -> TaskUnits:
        sizes = self.classes_per_task
        return TaskUnits((sizes,) * self.tasks if isinstance(sizes, int) else sizes)

    @model_validator(mode="before")
    @classmethod
    def _as_many_tasks_as_increments(cls, values: Any) -> Any:
        count = tasks_listed(values.get("classes_per_task")) if isinstance(values, Mapping) else None
        return {"tasks": count, **values} if count else values

    @field_validator("classes_per_task", mode="before")
    @classmethod
    def _sizes(cls, value: Any, info: ValidationInfo) -> int | tuple[int, ...]:
        """Tasks that are all alike are one number, so that what asks for the same is the same."""
        sizes = listed(value)
        try:
            if not isinstance(sizes, list | tuple):
                return _COUNT.validate_python(sizes)
            sizes = tuple(_COUNT.validate_python(size) for size in sizes)
        except ValidationError:
            raise ValueError("input should be a number from 1 to 1000, or one for each task, as in 4,2,2,2") from None
        tasks = info.data.get("tasks", len(sizes))  # none that is valid: that is told already
        if len(sizes) != tasks:
            raise ValueError(
                f"input should be one number for each of {tasks} tasks, which data.tasks says, and not {len(sizes)}; "
                "leave data.tasks out and it follows"
            )
        return sizes[0] if len(set(sizes)) == 1 else sizes

    @field_validator("class_order", mode="before")
    @classmethod
    def _order(cls, value: Any, info: ValidationInfo) -> int | tuple[str, ...] | None:
        names = listed(value)
        if names is None:
            return None
        try:
            if not isinstance(names, list | tuple):
                return _SEED.validate_python(names)
        except ValidationError:
            names = (names,) if isinstance(names, str) else (None,)
        if not all(isinstance(name, str) or type(name) is int for name in names):
            raise ValueError("input should be a seed of at least 0, or names of classes with commas between")
        names = tuple(map(str, names))
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"input should name each class once, and {', '.join(twice)} comes twice")
        sizes, tasks = info.data.get("classes_per_task"), info.data.get("tasks")
        if sizes is None or tasks is None:  # not valid: that is told already
            return names
        total = sizes * tasks if isinstance(sizes, int) else sum(sizes)
        if len(names) != total:
            raise ValueError(
                f"input should name as many classes as the tasks have, {total}, or be a seed of at least 0; "
                f"{len(names)} {'is' if len(names) == 1 else 'are'} named"
            )
        return names

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DATASETS and not (name.startswith("folder:") and name != "folder:"):
            raise ValueError(f"input should be one of {', '.join(DATASETS)}, or folder:NAME")
        if "\0" in name or len(name) > 1000:
            raise ValueError("input should name a folder, in at most 1,000 characters, without a zero byte")
        return name

    @field_validator("image_size")
    @classmethod
    def _enlarged(cls, size: int | None, info: ValidationInfo) -> int | None:
        name = info.data.get("name")
        if size and name in SIDES and size > ENLARGED * SIDES[name]:
            side = SIDES[name]
            raise ValueError(
                f"input should be less than or equal to {ENLARGED * side} for {name}: its images of {side}x{side} "
                f"show nothing more when they are enlarged, and cost memory and time"
            )
        return size

    @field_validator("spurious")
    @classmethod
    def _of_scenes(cls, spurious: float, info: ValidationInfo) -> float:
        name = info.data.get("name", "scenes")  # none that is known: that is told already
        if spurious and name != "scenes":
            raise ValueError(f"input should be 0 for {name}, or data.name scenes")
        return spurious


class Augmentation(Section):
    shift: int = Field(default=0, ge=0, le=64, description="largest shift of a training image, in pixels")
    flip: bool = Field(default=False, description="mirror every other training image, left to right")
    zoom: float = Field(default=1.0, gt=0, le=1, description="smallest share of its side that a random crop keeps")


class Network(Section):
    name: Literal["conv", "masked-conv", "mlp", "residual", "resnet18"] = Field(
        default="conv", description="masked-conv: deeper before its attention, background masked from the head"
    )
    attention: Literal["per-image", "border", "local", "released", "none"] = Field(
        default="per-image",
        description="border: told against the image's edge, for objects that fill it; local: over the strength "
        "around, for objects on textures; released: the released code's form, normalised over the batch; none: A is "
        "1, no attack",
    )


class Train(Section):
    epochs: int = Field(default=5, ge=1, le=10_000, description="per task")
    batch_size: int = Field(default=32, ge=1, le=65_536)
    optimiser: Literal["sgd", "adam", "radam"] = "sgd"
    learning_rate: float = Field(default=0.15, gt=0, le=HUGE)
    schedule: Literal["cosine", "steps", "constant"] = Field(
        default="cosine", description="within each task; cosine: to 0, steps: x0.2 after 2/7, 4/7 and 6/7"
    )
    loss: Literal["seen", "task"] = Field(
        default="seen", description="seen: cross-entropy over all classes seen; task: binary, the task's classes only"
    )


class ExemplarBudget(Section):
    budget: int = Field(
        default=100, ge=1, le=10_000_000, description="exemplars in all, shared equally by the classes seen"
    )


class Memory(ExemplarBudget):
    batches: Literal["mixed", "every-task", "balanced"] = Field(
        default="every-task",
        description="mixed: new samples and exemplars as they come; every-task: and at least one sample of each task "
        "seen; balanced: as many of each class seen",
    )


class Attack(Section):
    epsilon: float = Field(
        default=0.03,
        ge=0,
        le=1,
        description="largest change of a pixel in [0, 1]; 0: a second clean step in its place",
    )


class Fusion(Section):
    inner_steps: int = Field(default=1, ge=1, le=100, description="K: rounds of clean step, attack, attacked step")
    reset: bool = Field(default=True, description="every task model starts from the base, not from the one before it")
    weights: Literal["adaptive", "uniform", "last"] = Field(
        default="adaptive", description="adaptive: last row of dif*; uniform: 1/(n+1); last: the newest task's model"
    )
    over: Literal["model", "tensor"] = Field(
        default="model", description="distances over the whole model, or parameter tensor by parameter tensor"
    )
    distance: Literal["l1", "l2", "relative"] = "l1"
    eta: float = Field(default=0.85, ge=0, le=HUGE, description="regularisation of dif = D∘D + eta (Eq. 7)")
    beta: float = Field(default=0.0, ge=0, le=HUGE, description="the base keeps 1 - exp(-beta (n-1)/N) of itself")


class AdamFusion(Fusion):
    base_rate: float = Field(
        default=0.003, gt=0, le=HUGE, description="learning rate of Adam's steps, by which the base follows phi_f"
    )


class ReleasedFusion(Section):
    inner_steps: int = Field(default=1, ge=1, le=100, description="K: rounds of clean step, attack, attacked step")
    beta: float = Field(default=1.0, ge=0, le=HUGE, description="the base keeps 1 - exp(-beta (n-1)/N) of itself")


class UniformFusion(Section):
    inner_steps: int = Field(
        default=2, ge=1, le=100, description="K: steps of each task model before the models are averaged"
    )
    beta: float = Field(default=0.0, ge=0, le=HUGE, description="the base keeps 1 - exp(-beta (n-1)/N) of itself")


class Consolidation(Section):
    strength: float = Field(
        default=100.0, ge=0, le=HUGE, description="lambda: pull towards earlier weights, by importance"
    )


class Distillation(Section):
    strength: float = Field(
        default=1.0, ge=0, le=HUGE, description="weight of agreeing with the model before the task"
    )
    temperature: float = Field(default=2.0, gt=0, le=HUGE, description="of the answers compared")


class DarkReplay(Section):
    alpha: float = Field(
        default=0.5, ge=0, le=HUGE, description="weight of the squared error to the exemplars' old logits"
    )
    beta: float = Field(default=0.5, ge=0, le=HUGE, description="weight of the loss on the exemplars' labels")


class Evaluation(Section):
    group: int = Field(
        default=20, ge=1, le=100_000, description="p: samples that elect their task together in the group vote"
    )
    mixing: float = Field(default=0.0, ge=0, le=1, description="share of a group that comes from other tasks")


class Adaptation(Section):
    epochs: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="meta-test: epochs of each task's own copy on its exemplars; 0: not adapted",
    )


class Recording(Section):
    frames: int = Field(default=500, ge=2, le=5000, description="most frames kept per task, spread evenly")
    probes: int = Field(default=10, ge=0, le=64, description="held-out images whose attention is recorded")
    probe_frames: int = Field(default=12, ge=2, le=1000, description="how often per task their attention is recorded")


class Run(Section):
    """What every method reads."""

    preset: str | None = Field(default=None, description="the preset it was made from; a label")
    seed: int = Field(default=0, ge=0, lt=2**31, description="initialisation, batches and exemplars; never the split")
    device: DeviceName = "auto"
    data: Data = Data()
    augmentation: Augmentation = Augmentation()
    network: Network = Network()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()
    recording: Recording = Recording()


class Finetune(Run):
    """One model, new samples alone: the lower bound."""

    method: Literal["finetune"] = "finetune"


class Joint(Run):
    """One model, all samples of all tasks so far: the upper bound."""

    method: Literal["joint"] = "joint"


class Ewc(Run):
    """New samples alone, and a pull towards the weights that mattered before (Kirkpatrick et al. 2017)."""

    method: Literal["ewc"] = "ewc"
    consolidation: Consolidation = Consolidation()


class Lwf(Run):
    """New samples alone, on which the model before is to be agreed with (Li and Hoiem 2016)."""

    method: Literal["lwf"] = "lwf"
    distillation: Distillation = Distillation()


class Remembering(Run):
    """Methods that keep exemplars."""

    memory: ExemplarBudget = ExemplarBudget()
    adaptation: Adaptation = Adaptation()


class Rehearsal(Remembering):
    """Methods whose batches mix exemplars with new samples."""

    memory: Memory = Memory()  # pyright: ignore[reportIncompatibleVariableOverride]


class Replay(Rehearsal):
    """One model, new samples mixed with exemplars (Chaudhry et al. 2019)."""

    method: Literal["replay"] = "replay"


class ReplayBalanced(Replay):
    """Replay from batches with as many samples of each class seen."""

    method: Literal["replay-balanced"] = "replay-balanced"  # pyright: ignore[reportIncompatibleVariableOverride]


class DarkExperienceReplay(Remembering):
    """New samples, and exemplars with their labels and the logits they once had (Buzzega et al. 2020, DER++)."""

    method: Literal["der++"] = "der++"
    replay: DarkReplay = DarkReplay()


class Itaml(Rehearsal):
    """Every task has its own model; their plain mean is the next base (Rajasegaran et al. 2020)."""

    method: Literal["itaml"] = "itaml"
    fusion: UniformFusion = UniformFusion()


class Ari(Rehearsal):
    """Every task has its own model, attacked where attention is low; dif* fuses them into the next base (Eq. 11)."""

    method: Literal["ari"] = "ari"
    attack: Attack = Attack()
    fusion: Fusion = Fusion()

    @model_validator(mode="after")
    def _matrices_fit(self) -> Self:
        """D, dif* and the Gram matrix of every frame are kept: a row and a column a model, in 8 bytes each."""
        tasks, frames = self.data.tasks, self.recording.frames
        a_frame = 3 * 8 * sum((task + 1) ** 2 for task in range(1, tasks + 1))
        if frames * a_frame > MATRIX_BYTES:
            raise ValueError(
                f"recording.frames: {frames} frames of each of {tasks} tasks hold {frames * a_frame / 2**30:.1f} GB "
                f"of matrices; at most {MATRIX_BYTES / 2**30:g} GB can be looked at: use at most "
                f"{MATRIX_BYTES // a_frame}, or fewer tasks"
            )
        return self


class AriAdam(Ari):
    """ARI whose base follows the fused model by Adam's steps instead of becoming it; ours."""

    method: Literal["ari-adam"] = "ari-adam"  # pyright: ignore[reportIncompatibleVariableOverride]
    fusion: AdamFusion = AdamFusion()  # pyright: ignore[reportIncompatibleVariableOverride]


class AriPaper(Ari):
    """ARI with the settings of the paper's own experiments, read literally."""

    method: Literal["ari-paper"] = "ari-paper"  # pyright: ignore[reportIncompatibleVariableOverride]


class AriReleased(Rehearsal):
    """What the released code does: models in a chain, and fusion weights that change nothing."""

    method: Literal["ari-released"] = "ari-released"
    attack: Attack = Attack()
    fusion: ReleasedFusion = ReleasedFusion()


Config = (
    Ari
    | AriAdam
    | Itaml
    | AriPaper
    | AriReleased
    | ReplayBalanced
    | DarkExperienceReplay
    | Replay
    | Ewc
    | Lwf
    | Finetune
    | Joint
)
_adapter: TypeAdapter[Config] = TypeAdapter(Annotated[Config, Field(discriminator="method")])
_KINDS: dict[str, type[Run]] = {kind.model_fields["method"].default: kind for kind in get_args(Config)}
METHODS = tuple(_KINDS)
WEIGHING = tuple(name for name, kind in _KINDS.items() if issubclass(kind, Ari))  # by dif*

# What makes a method of its class, laid under all that a preset or a user sets.
_RELEASED = {
    "network.attention": "released",
    "train.optimiser": "radam",
    "train.learning_rate": 0.01,
    "train.schedule": "steps",
    "train.loss": "task",
    "memory.batches": "mixed",
    "attack.epsilon": 1 / 255,
    "fusion.beta": 1.0,
}
_ADAM = {"train.optimiser": "adam", "train.learning_rate": 0.01}
_METHOD_SETTINGS: dict[str, dict[str, Any]] = {
    "ari": {
        "memory.batches": "balanced",
        "train.learning_rate": 0.1,
        "attack.epsilon": 0.3,
        "fusion.eta": 1000.0,
    },
    "ari-adam": {"memory.batches": "balanced", "attack.epsilon": 0.2, "fusion.eta": 1000.0},
    "itaml": {"memory.batches": "balanced"},
    "ari-paper": _RELEASED,
    "ari-released": _RELEASED,
    "replay": {**_ADAM, "memory.batches": "mixed"},
    "replay-balanced": {**_ADAM, "memory.batches": "balanced"},
    "der++": _ADAM,
    "ewc": _ADAM,
    "lwf": _ADAM,
    "finetune": _ADAM,
    "joint": _ADAM,
}

# Data, network, and one number of epochs and samples a batch, for all methods of a preset.
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
    ("scenes", "ari-paper"): {"network.attention": "released"},  # which the preset's own would replace
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
    """The named preset for a method; `settings` are dotted keys, e.g. **{"train.epochs": 3}. Left out, the method is
    `ari`, or `ari-paper` for a paper preset.

    Raises ConfigError on an unknown preset, method or key and on values out of range.
    """
    if name not in _PRESETS:
        raise ConfigError(f"unknown preset {_short(name)}; valid presets: {', '.join(PRESETS)}")
    if method is None:
        method = "ari-paper" if name.startswith("paper-") else "ari"
    if method not in METHODS:
        raise ConfigError(f"unknown method {_short(method)}; valid methods: {', '.join(METHODS)}")
    own = keys(method)
    chosen = {key: value for key, value in _PRESETS[name].items() if key in own} | _TUNED.get((name, method), {})
    return parse({"preset": name, "method": method, "seed": seed}, **(chosen | _with_tasks(settings)))


def parse(values: dict[str, Any], /, **settings: Any) -> Config:
    """A configuration from nested `values` with dotted `settings` laid over them; ConfigError otherwise."""
    values = in_current_names(_laid_over(_merged({}, values), _with_tasks(settings)))
    method = values.get("method")
    merged = _laid_over({}, _METHOD_SETTINGS.get(method, {}) if isinstance(method, str) else {})
    merged = _merged(merged, values)
    try:
        return _adapter.validate_python(merged)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(merged.get("method"), each) for each in error.errors())) from None


def value_of(config: Config, key: str) -> Any:
    """The value of a dotted setting, or a whole section."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def changes(config: Config) -> dict[str, Any]:
    """The settings, the seed aside, that are not its method's in its preset; ConfigError where it is of no preset."""
    if config.preset is None:
        raise ConfigError("the configuration was made from no preset")
    return differences(config, preset(config.preset, config.method, config.seed))


def differences(config: Config, default: Config) -> dict[str, Any]:
    """The settings of a configuration that another of the same method has otherwise."""
    found = {key: value_of(config, key) for key in keys(config.method)}
    return {key: value for key, value in found.items() if value != value_of(default, key)}


def in_current_names(values: dict[str, Any]) -> dict[str, Any]:
    """Nested values, with those of older versions in the names of this one.

    `fusion.base_rate` was a switch of `ari` and `ari-paper`: a number is now what makes `ari-adam`, None what the
    others do without saying so.
    """
    method, fusion = values.get("method"), values.get("fusion")
    if method not in ("ari", "ari-paper") or not isinstance(fusion, dict) or "base_rate" not in fusion:
        return values
    if fusion["base_rate"] is not None:
        return {**values, "method": "ari-adam"}
    return {**values, "fusion": {key: value for key, value in fusion.items() if key != "base_rate"}}


def _with_tasks(settings: dict[str, Any]) -> dict[str, Any]:
    """Increments bring their own number of tasks, in place of the one that they are laid over."""
    count = tasks_listed(settings.get("data.classes_per_task"))
    return {"data.tasks": count, **settings} if count else settings


def _laid_over(values: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """`values` with dotted settings put into it."""
    for key, value in settings.items():
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{key}: {section} is a single setting, not a section")
        place[last] = value
    return values


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """A copy of both nested dictionaries, `above` where they differ."""
    found = dict(below)
    for key, value in above.items():
        inner = found.get(key)
        found[key] = _merged(inner if isinstance(inner, dict) else {}, value) if isinstance(value, dict) else value
    return found


# Why settings have upper bounds: each keeps a slip of the hand, or a record from elsewhere, from taking all memory or
# all time. What is sensible lies far below.
_REASONS = {
    "data.image_size": "a network's memory grows with the pixels of its images",
    "data.tasks": "accuracies are kept for every pair of tasks, and models for every task",
    "data.classes_per_task": "the network has a unit for every class",
    "augmentation.shift": "an image is enlarged by so much at each side",
    "train.epochs": "more take weeks on the smallest data",
    "train.batch_size": "a batch is held in memory whole",
    "memory.budget": "exemplars are trained on in every epoch",
    "fusion.inner_steps": "each iteration makes so many steps for each task, and is not stopped within",
    "adaptation.epochs": "they are made for every task after every task",
    "evaluation.group": "no task has as many test images",
    "recording.frames": "every frame keeps a row and a column for each model",
    "recording.probes": "their attention is kept at every probe frame",
    "recording.probe_frames": "the attention of all probes is kept at each of them",
}


def _explain(method: Any, error: Any) -> str:
    """One pydantic error in the words of the command line: dotted key, what is wrong, what is valid."""
    path = [str(part) for part in error["loc"] if part != method]
    key = ".".join(path)
    if error["type"] == "extra_forbidden":
        valid = sorted(keys(method))
        return f"{key}: {method} has no such setting; valid: {', '.join(valid)}"
    if error["type"].startswith("union_tag"):
        return f"unknown method {_short(method)}; valid methods: {', '.join(METHODS)}"
    if not key:  # of the whole: the message names its settings
        return error["msg"].removeprefix("Value error, ")
    reason = ""
    if error["type"] == "less_than_equal":
        why = "beyond it, numbers do not stay finite" if error["ctx"]["le"] == HUGE else _REASONS.get(key)
        reason = f" ({why})" if why else ""
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}{reason}, got {_short(error['input'])}"


def _short(value: Any) -> str:
    """A value in a message, however long it is."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}…"


def summary(method: str) -> str:
    """One sentence on a method."""
    return str(_KINDS[method].__doc__)


def protocols(config: Config) -> tuple[str, ...]:
    """The names under which a run's accuracies are recorded, each with its own idea of what a sample's task is."""
    adaptation = getattr(config, "adaptation", None)
    adapted = tuple(f"{name}_adapted" for name in PROTOCOLS) if adaptation and adaptation.epochs else ()
    return PROTOCOLS + adapted


def keys(method: str) -> dict[str, Any]:
    """Every dotted setting of a method with its field description and default."""
    found: dict[str, Any] = {}
    for name, field in _KINDS[method].model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found |= {f"{name}.{inner}": each for inner, each in field.annotation.model_fields.items()}
        elif name not in ("method", "preset"):
            found[name] = field
    return found
