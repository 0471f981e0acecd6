"""An iteration made again equals the trained one; and looking at its parts changes nothing."""

from collections.abc import Mapping
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from arli_core import records
from arli_core.analysis.masks import learned as learned_by
from arli_core.analysis.retrace import Iteration, first_of
from arli_core.config import Config, preset
from arli_core.errors import RecordError
from arli_core.events import Saved, Step, TaskDone
from arli_core.learn import learn
from arli_core.methods import create
from arli_core.methods.ari import AntiRetroactiveInterference
from arli_core.methods.parts import Attack, AttackedStep, CleanStep, Fusion, Measured
from arli_core.records import Record
from arli_core.schedule import first_batch
from arli_core.stream import INITIAL, generator_for
from arli_core.theory.attack import background_mask
from arli_core.world import open_world

SHIPPED = Path(__file__).parents[2] / "checkpoints"
CPU = torch.device("cpu")
TINY = {"data.tasks": 3, "train.epochs": 1, "train.batch_size": 150, "recording.probes": 0, "recording.frames": 3,
        "device": "cpu"}  # fmt: skip
# Every switch that changes what an iteration is.
SWITCHES = [
    {},
    {"fusion.inner_steps": 2},
    {"fusion.reset": False, "fusion.distance": "l2"},
    {"fusion.weights": "uniform", "fusion.beta": 0.5},
    {"method": "ari-adam"},
    {"method": "ari-adam", "fusion.weights": "uniform", "fusion.beta": 0.5},
    {"fusion.weights": "last", "attack.epsilon": 0.0, "fusion.inner_steps": 3},
    {"fusion.over": "tensor", "fusion.distance": "relative", "fusion.eta": 0.01},
    {"network.name": "residual", "train.optimiser": "radam", "train.loss": "task", "data.tasks": 2},
    {"augmentation.shift": 1, "memory.batches": "mixed", "train.schedule": "constant", "data.class_order": 3},
]


def learned(method: str = "ari", **settings: object) -> Record:
    record = Record(preset("digits", method, **{**TINY, **settings}))
    for event in learn(record.config):
        record = record.after(event)
    return record


def arrays_of(iteration: Iteration) -> dict[str, np.ndarray]:
    return {
        "distance": iteration.fused.distance,
        "dif_star": iteration.fused.dif_star,
        "gram": iteration.fused.gram,
        "losses": np.array([model.clean_loss for model in iteration.models]),
        "attacked_losses": np.array([model.attacked_loss for model in iteration.models]),
        "alpha": np.array(iteration.fused.alpha),
        "loss": np.array(iteration.loss),
        "learning_rate": np.array(iteration.learning_rate),
    }


def method_at_start(record: Record) -> tuple[AntiRetroactiveInterference, tuple]:
    """ARI at the start of task 1, and the arguments of its first step."""
    config = record.config
    world = open_world(config, CPU)
    method = create(config, world, world.model.initial(generator_for(config.seed, INITIAL)))
    method.begin(1, 0)
    return method, (*first_batch(config, world.stream, 1), True)


# The truth

RTOL = {"gram": 1e-3}  # of products of small differences; 2e-4 was seen between two kinds of processor


@pytest.mark.parametrize(
    ("run", "task"), [*(("mnist-5k-ari", task) for task in range(1, 6)), ("scenes-ari", 1), ("scenes-ari", 4)]
)
def test_the_parts_are_those_of_the_recorded_first_frame(run, task):
    """Of runs that ship: D, dif*, the losses and alpha, up to the rounding of another kind of processor."""
    record = records.load(SHIPPED / run)
    frames, iteration = record.frames(task), first_of(record, task)
    assert frames.iteration[0] == 0
    assert iteration.fused.present == tuple(range(1, task + 1))
    for name, values in arrays_of(iteration).items():
        np.testing.assert_allclose(
            values, getattr(frames, name)[0], rtol=RTOL.get(name, 1e-4), atol=1e-6, err_msg=name
        )
    assert iteration.departure(frames) < 1e-4


@cache
def same_arithmetic() -> bool:
    """Whether the processor rounds as the one that trained the shipped runs: ten first losses are the same bits."""
    record = records.load(SHIPPED / "mnist-5k-ari")
    losses = dict(zip(record.frames(1).iteration.tolist(), record.frames(1).loss.tolist(), strict=True))
    steps = islice((event for event in learn(record.config) if isinstance(event, Step)), 10)
    return all(step.loss == losses.get(step.iteration, step.loss) for step in steps)


def are_the_same(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> None:
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-3, atol=1e-5, err_msg=name)


def differs(weights: Mapping[str, np.ndarray], recorded: Mapping[str, np.ndarray], start: np.ndarray) -> float:
    """How far weights are from those recorded, as a share of the way that the task moved those from phi = `start`.

    Rounding differs between processors, and grows while a task is learned: 0.003 after a first task, and up to 0.08
    after a later one were seen, where another seed ended at 0.5 to 1.1.
    """
    model = open_world(records.load(SHIPPED / "mnist-5k-ari").config, CPU).model
    end, expected = (model.pack({name: torch.tensor(value) for name, value in w.items()}).numpy()
                     for w in (weights, recorded))  # fmt: skip
    return float(np.linalg.norm(end - expected) / np.linalg.norm(expected - start))


def test_a_shipped_run_trains_to_the_same_record_again():
    """The frames of its first task, of the first iterations up to rounding, and the weights after it."""
    before, again = records.load(SHIPPED / "mnist-5k-ari"), Record(records.load(SHIPPED / "mnist-5k-ari").config)
    for event in learn(before.config):
        again = again.after(event)
        if again.tasks:
            break
    ours, theirs = again.frames(1), before.frames(1)
    if same_arithmetic():
        are_the_same(vars(ours), vars(theirs))
        are_the_same(again.weights[1], before.weights[1])
    for name in ("iteration", "present", "learning_rate"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    assert ours.iterations == theirs.iterations
    for name in ("loss", "distance", "dif_star", "losses", "attacked_losses"):
        first, expected = getattr(ours, name)[:10], getattr(theirs, name)[:10]
        np.testing.assert_allclose(first, expected, rtol=1e-3, atol=1e-5, err_msg=name)
    start = open_world(before.config, CPU).model.initial(generator_for(before.config.seed, INITIAL)).numpy()
    assert differs(again.weights[1], before.weights[1], start) < 0.03


@pytest.mark.parametrize("settings", SWITCHES, ids=lambda settings: " ".join(settings) or "preset")
def test_under_every_switch_each_task_s_first_iteration_is_the_trained_one(settings):
    record = learned(**settings)
    for task in range(1, record.config.data.tasks + 1):
        frames, iteration = record.frames(task), first_of(record, task)
        present = frames.present[0]
        for name, values in arrays_of(iteration).items():
            recorded = getattr(frames, name)[0]
            recorded = recorded[present] if name.endswith("losses") else recorded
            recorded = frames.matrix(name, 0) if recorded.ndim == 2 else recorded
            np.testing.assert_array_equal(values, recorded, err_msg=name)
        assert iteration.departure(frames) == 0
        np.testing.assert_allclose([model.distance for model in iteration.models], iteration.fused.distance[-1, :-1])
        np.testing.assert_allclose(iteration.dif, iteration.fused.distance**2 + record.config.fusion.eta)
        if record.config.fusion.weights == "adaptive" and record.config.fusion.over == "model":
            np.testing.assert_allclose(iteration.row, iteration.fused.dif_star[-1], rtol=1e-4)
        assert iteration.row.sum() == pytest.approx(1)


def test_the_next_base_after_the_first_iteration_is_that_of_training():
    """Its loss on each task's samples is what the second iteration starts from, on the same samples."""
    record = learned()
    iteration = first_of(record, 1)
    method, (batch, rate, _) = method_at_start(record)
    method.step(batch, rate, True)
    logits, _, _ = method.world.model.train(method.phi, batch.images)
    assert iteration.losses["next φ_b"][0] == float(method.loss(logits, batch.labels))
    assert iteration.losses["φ_b"][0] == iteration.models[0].clean_loss == pytest.approx(iteration.loss)


# What the parts are


def test_step_is_its_parts_and_looking_at_them_changes_nothing():
    record = learned()
    (stepped, arguments), (observed, again) = method_at_start(record), method_at_start(record)
    loss, fused = stepped.step(*arguments)
    parts = []
    for part in observed.parts(*again):
        parts.append(part)
    measured = parts[-1]
    assert isinstance(measured, Measured) and measured.fused is not None and fused is not None
    assert measured.loss == loss
    for name, value in vars(fused).items():
        np.testing.assert_array_equal(getattr(measured.fused, name), value)
    assert torch.equal(stepped.phi, observed.phi)
    assert torch.equal(stepped.noise.get_state(), observed.noise.get_state())


@pytest.mark.parametrize("rounds", [1, 2])
def test_parts_come_in_the_order_of_the_algorithm(rounds):
    record = learned(**{"fusion.inner_steps": rounds})
    method, arguments = method_at_start(record)
    kinds = [type(part) for part in method.parts(*arguments)]
    assert kinds == [CleanStep, Attack, AttackedStep] * rounds + [Fusion, Measured]


def test_no_part_runs_before_it_is_requested():
    method, arguments = method_at_start(learned())
    before = method.phi.clone()
    parts = method.parts(*arguments)
    first = next(parts)
    assert isinstance(first, CleanStep) and not torch.equal(first.phi, before)
    assert torch.equal(method.phi, before)
    list(parts)
    assert not torch.equal(method.phi, before)


def test_the_attack_stays_within_its_bounds_and_off_the_object():
    record = records.load(SHIPPED / "mnist-5k-ari")
    epsilon = record.config.attack.epsilon
    for model in first_of(record, 3).models:
        hit = model.struck
        assert hit is not None
        np.testing.assert_allclose(background_mask(hit.attention), hit.background, atol=1e-6)
        assert abs(hit.delta).max() <= epsilon * (1 + 1e-5)
        np.testing.assert_allclose(hit.applied, hit.background[:, None] * hit.delta, atol=1e-6)
        np.testing.assert_allclose(hit.images, (model.images + hit.applied).clip(0, 1), atol=1e-5)


def test_without_strength_there_is_no_attack_to_show():
    iteration = first_of(learned(**{"attack.epsilon": 0.0}), 2)
    assert [model.struck for model in iteration.models] == [None, None]
    assert all(model.attacked_loss == model.loss_after for model in iteration.models)


def test_another_iteration_departs_from_the_recorded_one():
    """So that a run trained elsewhere, or on other data, can be recognised."""
    record = learned()
    iteration = first_of(record, 2)
    assert iteration.departure(learned(seed=1).frames(2)) > 1e-3
    assert iteration.departure(record.frames(3)) == float("inf")


# What has no first iteration


def test_a_method_without_parts_and_a_task_not_begun_are_refused_by_name():
    record = Record(preset("digits", "finetune", **TINY))
    with pytest.raises(RecordError, match="finetune has no parts"):
        first_of(record, 1)
    with pytest.raises(RecordError, match="task 6 is not recorded"):
        first_of(records.load(SHIPPED / "mnist-5k-ari"), 6)


def test_a_run_under_way_shows_the_task_it_has_begun():
    config = preset("digits", "ari", **TINY)
    record = Record(config)
    for event in learn(config):
        record = record.after(event)
        if record.tasks_begun == 2:
            break
    assert len(record.tasks) == 1
    assert first_of(record, 2).departure(record.frames(2)) == 0


# Eq. 11: the base becomes phi_f


def last_fusions(config: Config, saved: Saved | None, tasks: int, monkeypatch) -> list[tuple[Fusion, TaskDone]]:
    """The last iteration's fusion of each of the next tasks, made by training, and what the task ended with."""
    fusions, ends = [], []
    parts = AntiRetroactiveInterference.parts

    def watched(self, *arguments):
        for part in parts(self, *arguments):
            if isinstance(part, Fusion):
                fusions.append(part)
            yield part

    monkeypatch.setattr(AntiRetroactiveInterference, "parts", watched)
    for event in learn(config, saved):
        if isinstance(event, TaskDone):
            ends.append((fusions[-1], event))
            if len(ends) == tasks:
                break
    return ends


def literal_phi_f(models: np.ndarray, eta: float) -> np.ndarray:
    """The base's row of dif* times Phi, l1 distances over the whole model, written out in float64."""
    regularised = [sum(abs(phi - models[-1])) ** 2 + eta for phi in models]
    return sum(value * phi for value, phi in zip(regularised, models, strict=True)) / sum(regularised)


def is_the_fusion(config: Config, fusion: Fusion, done: TaskDone) -> None:
    assert config.fusion.weights == "adaptive" and config.fusion.over == "model" and config.fusion.beta == 0
    phi_f = literal_phi_f(fusion.models.double().numpy(), config.fusion.eta)
    weights = np.concatenate([np.ravel(value) for value in done.weights.values()])
    np.testing.assert_allclose(weights, phi_f, atol=1e-6)
    assert torch.equal(fusion.following, fusion.phi_f)


@pytest.mark.parametrize("task", [2, 5])
def test_the_shipped_run_s_weights_are_the_fusion_of_the_last_iteration(task, monkeypatch):
    """Each task is learned again from the weights recorded before it: the same weights, and they are phi_f."""
    record = records.load(SHIPPED / "mnist-5k-ari")
    before = learned_by(record, task - 1)
    ((fusion, done),) = last_fusions(record.config, Saved(task, 0, {"phi": before.phi.numpy()}), 1, monkeypatch)
    if same_arithmetic():
        are_the_same(done.weights, record.weights[task])
    assert differs(done.weights, record.weights[task], before.phi.numpy()) < 0.2
    is_the_fusion(record.config, fusion, done)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_weights_after_every_task_are_the_fusion_of_its_last_iteration(seed, monkeypatch):
    config = preset("digits", "ari", seed, **TINY)
    ends = last_fusions(config, None, config.data.tasks, monkeypatch)
    assert len(ends) == config.data.tasks
    for fusion, done in ends:
        is_the_fusion(config, fusion, done)


def test_part_by_part_ends_with_phi_f_as_the_next_base():
    iteration = first_of(learned(seed=5), 3)
    np.testing.assert_array_equal(iteration.losses["next φ_b"], iteration.losses["φ_f"])
    assert iteration.base_moved == iteration.fused_moved > 0
    led = first_of(learned("ari-adam", seed=5), 3)
    assert (led.losses["next φ_b"] != led.losses["φ_f"]).all()
