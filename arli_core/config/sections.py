"""The sections of a configuration: what can be set, its range and its meaning."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

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

from ..units import TaskUnits
from .text import listed, tasks_listed

# `datasets.NAMES`: this floor may not import it, and a test compares the two.
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
ENLARGED = 8  # times an image's side, at most: more shows nothing new, and costs the square of it
HUGE = 1e30  # bound of numbers that are multiplied with others like them
MATRIX_BYTES = 2**30  # bound of a run's recorded matrices, which a page holds in memory
PROTOCOLS = ("task_aware", "vote", "per_sample")
DeviceName = Literal["auto", "cpu", "cuda", "mps"]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


_COUNT: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=1, le=1000)])
_SEED: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0)])


class Data(Section):
    name: str = Field(default="mnist-5k", description="a data set, or folder:NAME for a folder of class folders")
    image_size: int | None = Field(
        default=None,
        ge=8,
        le=1024,
        description="None: images as published; a number: their side in pixels after resizing",
    )
    spurious: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="scenes: share of training images with a background from their class's own region of the "
        "photographs",
    )
    tasks: int = Field(default=5, ge=1, le=200, description="number of tasks, each a disjoint group of classes")
    classes_per_task: int | tuple[int, ...] = Field(
        default=2,
        description="one number for all tasks, or one for each, as in 4,2,2,2; such a list also sets the number of "
        "tasks",
    )
    class_order: int | tuple[str, ...] | None = Field(
        default=None,
        description="None: the order of the data; a number: shuffled with this seed; names, as in cat,dog: in this "
        "order",
    )
    evaluate_on: Literal["test", "validation"] = Field(
        default="test", description="validation: a fixed fifth of the training data, held out for choosing settings"
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
        """Equal counts for all tasks become one number, so that equal requests are equal configurations."""
        sizes = listed(value)
        try:
            if not isinstance(sizes, list | tuple):
                return _COUNT.validate_python(sizes)
            sizes = tuple(_COUNT.validate_python(size) for size in sizes)
        except ValidationError:
            raise ValueError("input should be a number from 1 to 1000, or one for each task, as in 4,2,2,2") from None
        tasks = info.data.get("tasks", len(sizes))  # an invalid one is reported already
        if len(sizes) != tasks:
            raise ValueError(
                f"input should be one number for each of the {tasks} tasks of data.tasks, and not {len(sizes)}; "
                "leave out data.tasks to have it follow from them"
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
            raise ValueError("input should be a seed of at least 0, or names of classes separated by commas")
        names = tuple(map(str, names))
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"input should name each class once; named more than once: {', '.join(twice)}")
        sizes, tasks = info.data.get("classes_per_task"), info.data.get("tasks")
        if sizes is None or tasks is None:  # an invalid one is reported already
            return names
        total = sizes * tasks if isinstance(sizes, int) else sum(sizes)
        if len(names) != total:
            raise ValueError(
                f"input should name all {total} classes of the tasks, or be a seed of at least 0; "
                f"{len(names)} {'is' if len(names) == 1 else 'are'} named"
            )
        return names

    @field_validator("name")
    @classmethod
    def _valid_name(cls, name: str) -> str:
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
                f"input should be less than or equal to {ENLARGED * side} for {name}: enlarged further, its images "
                f"of {side}x{side} show nothing more, and cost memory and time"
            )
        return size

    @field_validator("spurious")
    @classmethod
    def _of_scenes(cls, spurious: float, info: ValidationInfo) -> float:
        name = info.data.get("name", "scenes")  # an invalid one is reported already
        if spurious and name != "scenes":
            raise ValueError(f"input should be 0 for {name}, or data.name scenes")
        return spurious


class Augmentation(Section):
    shift: int = Field(default=0, ge=0, le=64, description="largest shift of a training image, in pixels")
    flip: bool = Field(default=False, description="mirror a random half of the training images, left to right")
    zoom: float = Field(
        default=1.0, gt=0, le=1, description="smallest share of an image's side that a random crop keeps"
    )


class Network(Section):
    name: Literal["conv", "masked-conv", "mlp", "residual", "resnet18"] = Field(
        default="conv",
        description="masked-conv: more layers before the attention, and the background is masked before the head",
    )
    attention: Literal["per-image", "border", "local", "released", "none"] = Field(
        default="per-image",
        description="per-image: features compared with the image's mean; border: with its edge, for objects that "
        "fill the image; local: also divided by the response strength around each pixel, for objects on textures; "
        "released: the released code's form, normalised over the batch; none: A is 1, so nothing is attacked",
    )


class Train(Section):
    epochs: int = Field(default=5, ge=1, le=10_000, description="per task")
    batch_size: int = Field(default=32, ge=1, le=65_536)
    optimiser: Literal["sgd", "adam", "radam"] = "sgd"
    learning_rate: float = Field(default=0.15, gt=0, le=HUGE)
    schedule: Literal["cosine", "steps", "constant"] = Field(
        default="cosine",
        description="learning rate within each task; cosine: falls to 0; steps: times 0.2 after 2/7, 4/7 and 6/7 of "
        "the task; constant: stays",
    )
    loss: Literal["seen", "task"] = Field(
        default="seen",
        description="seen: cross-entropy over all classes seen; task: binary cross-entropy over the task's own "
        "classes",
    )


class ExemplarBudget(Section):
    budget: int = Field(
        default=100, ge=1, le=10_000_000, description="exemplars in all, divided equally among the classes seen"
    )


class Memory(ExemplarBudget):
    batches: Literal["mixed", "every-task", "balanced"] = Field(
        default="every-task",
        description="mixed: new samples and exemplars, each once an epoch; every-task: mixed, with a sample of each "
        "task seen in every batch; balanced: equally many samples of each class seen in every batch",
    )


class Attack(Section):
    epsilon: float = Field(
        default=0.03,
        ge=0,
        le=1,
        description="largest change of a pixel, whose values lie in [0, 1]; 0: no attack, but a second clean step",
    )


KEPT = "the base keeps a share 1 - exp(-beta (n-1)/N) of itself; n: the current task, N: all tasks"


class Fusion(Section):
    inner_steps: int = Field(default=1, ge=1, le=100, description="K: rounds of clean step, attack, attacked step")
    reset: bool = Field(
        default=True,
        description="on: every task model starts from the base; off: from the model of the task before it",
    )
    weights: Literal["adaptive", "uniform", "last"] = Field(
        default="adaptive",
        description="adaptive: last row of dif*; uniform: 1/(n+1); last: the newest task's model alone",
    )
    over: Literal["model", "tensor"] = Field(
        default="model", description="distances over the whole model, or separately for each parameter tensor"
    )
    distance: Literal["l1", "l2", "relative"] = "l1"
    eta: float = Field(default=0.85, ge=0, le=HUGE, description="regularisation of dif = D∘D + eta (Eq. 7)")
    beta: float = Field(default=0.0, ge=0, le=HUGE, description=KEPT)


class AdamFusion(Fusion):
    beta: float = Field(
        default=0.0,
        ge=0,
        le=HUGE,
        description="the base's step is exp(-beta (n-1)/N) times as long; n: the current task, N: all tasks",
    )
    base_rate: float = Field(
        default=0.003,
        gt=0,
        le=HUGE,
        description="learning rate of the Adam steps by which the base follows phi_f",
    )


class ReleasedFusion(Section):
    inner_steps: int = Field(default=1, ge=1, le=100, description="K: rounds of clean step, attack, attacked step")
    beta: float = Field(default=1.0, ge=0, le=HUGE, description=KEPT)


class UniformFusion(Section):
    inner_steps: int = Field(
        default=2, ge=1, le=100, description="K: steps of each task model before the models are averaged"
    )
    beta: float = Field(default=0.0, ge=0, le=HUGE, description=KEPT)


class Consolidation(Section):
    strength: float = Field(
        default=100.0,
        ge=0,
        le=HUGE,
        description="lambda: strength of the pull towards earlier weights, each by its importance",
    )


class Distillation(Section):
    strength: float = Field(
        default=1.0,
        ge=0,
        le=HUGE,
        description="weight of the loss that keeps the outputs close to those before the task",
    )
    temperature: float = Field(
        default=2.0, gt=0, le=HUGE, description="temperature at which the outputs are compared"
    )


class DarkReplay(Section):
    alpha: float = Field(
        default=0.5,
        ge=0,
        le=HUGE,
        description="weight of the squared error between the exemplars' new and old logits",
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
        description="meta-test: epochs for which each task's own copy of the model is trained on its exemplars; "
        "0: no adaptation",
    )


class Recording(Section):
    frames: int = Field(
        default=500, ge=2, le=5000, description="largest number of frames kept per task, spread evenly"
    )
    probes: int = Field(default=10, ge=0, le=64, description="held-out images whose attention is recorded")
    probe_frames: int = Field(
        default=12,
        ge=2,
        le=1000,
        description="how often per task the attention of the probe images is recorded",
    )
