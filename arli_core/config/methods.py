"""The methods: which sections each reads, and its default settings."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, TypeAdapter, model_validator

from .sections import (
    MATRIX_BYTES,
    PROTOCOLS,
    AdamFusion,
    Adaptation,
    Attack,
    Augmentation,
    Consolidation,
    DarkReplay,
    Data,
    DeviceName,
    Distillation,
    Evaluation,
    ExemplarBudget,
    Fusion,
    Memory,
    Network,
    Recording,
    ReleasedFusion,
    Section,
    Train,
    UniformFusion,
)


class Run(Section):
    """What every method reads."""

    preset: str | None = Field(default=None, description="the preset it was made from; a label")
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**31,
        description="decides initialisation, batches and exemplars, never the split into training and test data",
    )
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
    """New samples alone; on these the model should answer as it did before the task (Li and Hoiem 2016)."""

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
    """Replay from batches with equally many samples of each class seen."""

    method: Literal["replay-balanced"] = "replay-balanced"  # pyright: ignore[reportIncompatibleVariableOverride]


class DarkExperienceReplay(Remembering):
    """New samples, and exemplars with their labels and the logits they once had (Buzzega et al. 2020, DER++)."""

    method: Literal["der++"] = "der++"
    replay: DarkReplay = DarkReplay()


class Itaml(Rehearsal):
    """Every task has its own model; the plain mean of these models is the next base (Rajasegaran et al. 2020)."""

    method: Literal["itaml"] = "itaml"
    fusion: UniformFusion = UniformFusion()


class Ari(Rehearsal):
    """Every task has a model, also trained on images attacked where A is low; dif* fuses all into the next base
    (Eq. 11)."""

    method: Literal["ari"] = "ari"
    attack: Attack = Attack()
    fusion: Fusion = Fusion()

    @model_validator(mode="after")
    def _matrices_fit(self) -> Self:
        """D, dif* and the Gram matrix of every frame are kept: a row and a column for each model, 8 bytes a value."""
        tasks, frames = self.data.tasks, self.recording.frames
        a_frame = 3 * 8 * sum((task + 1) ** 2 for task in range(1, tasks + 1))
        if frames * a_frame > MATRIX_BYTES:
            raise ValueError(
                f"recording.frames: {frames} frames of each of {tasks} tasks hold {frames * a_frame / 2**30:.1f} GB "
                f"of matrices; at most {MATRIX_BYTES / 2**30:g} GB can be displayed: use at most "
                f"{MATRIX_BYTES // a_frame} frames, or fewer tasks"
            )
        return self


class AriAdam(Ari):
    """ARI, but the base moves towards the fused model by steps of Adam instead of becoming it; our variant."""

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
ADAPTER: TypeAdapter[Config] = TypeAdapter(Annotated[Config, Field(discriminator="method")])
KINDS: dict[str, type[Run]] = {kind.model_fields["method"].default: kind for kind in get_args(Config)}
METHODS = tuple(KINDS)
WEIGHING = tuple(name for name, kind in KINDS.items() if issubclass(kind, Ari))  # by dif*

# Each method's own settings; those of a preset or a user take precedence.
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
METHOD_SETTINGS: dict[str, dict[str, Any]] = {
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


def summary(method: str) -> str:
    """One sentence on a method."""
    return " ".join(str(KINDS[method].__doc__).split())


def protocols(config: Config) -> tuple[str, ...]:
    """The protocols under which a run's accuracies are recorded; they differ in how a sample's task is determined."""
    adaptation = getattr(config, "adaptation", None)
    adapted = tuple(f"{name}_adapted" for name in PROTOCOLS) if adaptation and adaptation.epochs else ()
    return PROTOCOLS + adapted


def keys(method: str) -> dict[str, Any]:
    """Every dotted setting of a method with its field description and default."""
    settings: dict[str, Any] = {}
    for name, field in KINDS[method].model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            settings |= {
                f"{name}.{inner}": inner_field for inner, inner_field in field.annotation.model_fields.items()
            }
        elif name not in ("method", "preset"):
            settings[name] = field
    return settings
