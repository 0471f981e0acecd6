"""The one loop: its events, the same every time, and that it can be left and resumed anywhere."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arli_core import datasets
from arli_core.config import METHODS, keys, preset, protocols
from arli_core.datasets import Dataset, Split
from arli_core.errors import ConfigError, Diverged, LabError
from arli_core.evaluation import accuracies, adapt, logits_of
from arli_core.events import Attention, Finished, Saved, Started, Step, TaskDone
from arli_core.learn import learn
from arli_core.networks import build
from arli_core.schedule import Schedule, exemplars, spread
from arli_core.stream import ADAPT, GROUPS, Stream, generator_for
from arli_core.units import TaskUnits
from arli_core.world import choose_device
from tests.helpers import KINDS_OF_METHODS, same

each_method = pytest.mark.parametrize("method", METHODS)
each_kind = pytest.mark.parametrize("method", KINDS_OF_METHODS)
# Whose fusion is recorded; the others have none, or none that has an effect.
FUSING = ("ari", "ari-adam", "ari-paper")


def tiny(method="ari", seed=0, **changes):
    """Two tasks, two epochs, three iterations an epoch at first."""
    base = {"data.tasks": 2, "train.epochs": 2, "train.batch_size": 96, "memory.budget": 20,
            "recording.frames": 4, "recording.probes": 3, "recording.probe_frames": 2, "device": "cpu"}  # fmt: skip
    own = {key: value for key, value in base.items() if key in keys(method)}
    return preset("digits", method, seed, **(own | changes))


def arrays(event):
    """Every array within an event."""
    if isinstance(event, np.ndarray):
        yield event
    elif dataclasses.is_dataclass(event):
        yield from arrays(vars(event))
    elif isinstance(event, dict):
        for value in event.values():
            yield from arrays(value)


@pytest.fixture(scope="module")
def runs():
    """All events of each method's tiny run."""
    return {method: list(learn(tiny(method))) for method in METHODS}


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


# The same every time


@each_kind
def test_a_run_is_the_same_again_whatever_surrounds_it(method, runs):
    """Same configuration and seed give the same events. The global random state is neither read nor moved, another
    run that was left early leaves nothing behind, and writing into an event changes that event alone."""
    for count in (1, 4, 9):
        events = learn(tiny(method))
        begun = [next(events) for _ in range(count)]
        events.close()
        assert next(events, None) is None
        assert same(begun, runs[method][:count])
    torch.manual_seed(123)
    np.random.seed(123)  # noqa: NPY002
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    copies = []
    for event in learn(tiny(method)):
        copies.append(copy.deepcopy(event))
        for array in arrays(event):
            if array.flags.writeable:
                array[...] = 77
    assert same(copies, runs[method])
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


@each_kind
def test_another_seed_gives_other_events_on_the_same_split(method, runs):
    other = list(learn(tiny(method, seed=1)))
    assert len(other) == len(runs[method])
    assert same(other[0], runs[method][0])  # the same held-out images
    losses, others = ([step.loss for step in of(Step, events)] for events in (runs[method], other))
    assert not set(losses) & set(others)


def test_interleaved_runs_equal_runs_alone(runs):
    other = list(learn(tiny("ari", seed=1)))
    together = zip(learn(tiny("ari")), learn(tiny("ari", seed=1)), strict=True)
    one, two = (list(events) for events in zip(*together, strict=True))
    assert same(one, runs["ari"]) and same(two, other)


@each_method
def test_events_are_frozen(method, runs):
    for event in {type(event): event for event in runs[method]}.values():
        for name in vars(event):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(event, name, None)


# Events


@each_method
def test_events_come_in_order(method, runs):
    events = runs[method]
    assert isinstance(events[0], Started) and events[-1] == Finished()
    assert [type(event) for event in events].count(Started) == 1
    assert [event.task for event in of(TaskDone, events)] == [1, 2]
    for task in (1, 2):
        steps = [step for step in of(Step, events) if step.task == task]
        assert [step.iteration for step in steps] == list(range(steps[0].iterations))
        assert events.index(steps[-1]) < next(
            k for k, e in enumerate(events) if e in of(TaskDone, events)[task - 1 :]
        )
    # A place to resume from after every epoch, before the evaluation too, and after it.
    assert [(saved.task, saved.epoch) for saved in of(Saved, events)] == [(1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]


@each_method
def test_every_event_belongs_to_its_place(method, runs):
    task, iteration, done = 1, -1, 0
    for event in runs[method]:
        match event:
            case Step():
                assert (event.task, event.iteration) == (task, iteration + 1)
                iteration += 1
            case Attention():
                assert (event.task, event.iteration) == (task, iteration)
            case TaskDone():
                done += 1
                assert event.task == task == done
                task, iteration = task + 1, -1


@each_method
def test_frames_are_the_first_the_last_and_evenly_between(method, runs):
    for task in (1, 2):
        steps = [step for step in of(Step, runs[method]) if step.task == task]
        recorded = [step.iteration for step in steps if step.recorded]
        assert len(recorded) == 4 < len(steps)
        assert recorded[0] == 0 and recorded[-1] == len(steps) - 1
        assert np.ptp(np.diff(recorded)) <= 1
        assert all((step.fused is not None) == (step.recorded and method in FUSING) for step in steps)
        assert len([event for event in of(Attention, runs[method]) if event.task == task]) == 2


@settings(max_examples=100, deadline=None, derandomize=True)
@given(total=st.integers(1, 5000), most=st.integers(2, 600))
def test_spread_is_even(total, most):
    picked = sorted(spread(total, most))
    assert len(picked) == min(total, most)
    assert picked[0] == 0 and picked[-1] == total - 1
    gaps = np.diff(picked)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_steps_report_rate_and_samples(runs):
    stream = Stream(datasets.load("digits"), tiny().data, torch.device("cpu"))
    new = [len(stream.of_task(stream.train, task)) for task in (1, 2)]
    first = tiny("replay").train.learning_rate
    for task, pool in ((1, new[0]), (2, new[1] + 20)):
        steps = [step for step in of(Step, runs["replay"]) if step.task == task]
        for step in steps:
            expected = first * (1 + math.cos(math.pi * step.iteration / step.iterations)) / 2
            assert step.learning_rate == pytest.approx(expected)
        samples = sum(step.samples for step in steps)
        assert 2 * pool <= samples <= 2 * pool + (task - 1) * len(steps)  # each once an epoch, and what was added
    constant = tiny("finetune", **{"train.schedule": "constant", "train.epochs": 1})
    assert {step.learning_rate for step in of(Step, learn(constant))} == {constant.train.learning_rate}


@pytest.mark.parametrize(("epochs", "size"), [(7, 96), (14, 150), (3, 40), (1, 100)])
def test_the_rate_falls_in_steps_as_published(epochs, size):
    """x0.2 at 2/7, 4/7 and 6/7 of a task: after epochs 20, 40 and 60 of the released code's 70."""
    config = tiny("finetune", **{"train.schedule": "steps", "train.epochs": epochs, "train.batch_size": size,
                                 "data.tasks": 1})  # fmt: skip
    steps = of(Step, learn(config))
    for step in steps:
        falls = [mark for mark in (2, 4, 6) if 7 * step.iteration >= mark * step.iterations]
        assert step.learning_rate == pytest.approx(config.train.learning_rate * 0.2 ** len(falls), rel=1e-12)
    if epochs % 7 == 0:
        per_epoch = len(steps) // epochs
        first = [steps[epoch * per_epoch].learning_rate / 0.01 for epoch in range(0, epochs, epochs // 7)]
        assert first == pytest.approx([1, 1, 0.2, 0.2, 0.04, 0.04, 0.008])


# What batches hold beside the new samples.
REHEARSED = {"ari": "balanced", "ari-adam": "balanced", "itaml": "balanced", "ari-paper": "mixed",
             "ari-released": "mixed", "replay": "mixed", "replay-balanced": "balanced"}  # fmt: skip


@each_method
def test_batches_are_those_of_the_method(method):
    """Joint training has all earlier samples, methods that rehearse their exemplars, the others new samples alone."""
    config = tiny(method, **{"data.tasks": 3, "train.batch_size": 64})
    stream = Stream(datasets.load("digits"), config.data, torch.device("cpu"))
    labels = stream.train.labels
    for task in (1, 2, 3):
        epoch = Schedule(config, stream, task).batches(1)
        everything = torch.cat(epoch)
        new = stream.of_task(stream.train, task)
        assert set(everything[stream.task_of(labels[everything]) == task].tolist()) <= set(new.tolist())
        earlier = everything[stream.task_of(labels[everything]) < task].tolist()
        if method == "joint":
            assert sorted(everything.tolist()) == stream.up_to(stream.train, task).tolist()
        elif method not in REHEARSED:
            assert sorted(everything.tolist()) == new.tolist()
        elif task > 1:
            memory = exemplars(stream, task - 1, 20, config.seed)
            assert set(earlier) == set(memory.tolist())
            counts = [torch.bincount(labels[batch], minlength=2 * task) for batch in epoch]
            spreads = [int(count.max() - count.min()) for count in counts]
            assert (max(spreads) <= 1) == (REHEARSED[method] == "balanced")
            if REHEARSED[method] != "mixed":
                assert all(set(stream.task_of(labels[batch]).tolist()) == set(range(1, task + 1)) for batch in epoch)


def test_dark_replay_draws_its_exemplars_itself():
    """Samples counted are those of the batch, as for fine-tuning."""
    counts = [[step.samples for step in of(Step, learn(tiny(method)))] for method in ("der++", "finetune")]
    assert counts[0] == counts[1]


@each_method
def test_training_images_are_augmented_and_held_out_ones_are_not(method, monkeypatch):
    """Drawn anew in every epoch, for the exemplars of dark replay too; the same again after a resumption."""
    calls, before = [], Stream.augmented

    def watched(stream, samples, generator):
        calls.append((len(samples), generator.initial_seed()))
        return before(stream, samples, generator)

    monkeypatch.setattr(Stream, "augmented", watched)
    config = tiny(method, **{"augmentation.shift": 1, "augmentation.flip": True})
    events = list(learn(config))
    steps = of(Step, events)
    apart = [step.samples * 2 for step in steps if step.task == 2] if method == "der++" else []
    assert sorted(count for count, _ in calls) == sorted([step.samples for step in steps] + apart)
    assert len({seed for _, seed in calls}) == 4 + (2 if apart else 0)  # tasks x epochs
    plain = list(learn(tiny(method)))
    assert same(of(Started, events), of(Started, plain))  # probes are as they are
    assert steps[0].loss != of(Step, plain)[0].loss
    point = next(place for place, event in enumerate(events) if isinstance(event, Saved) and event.task == 2)
    assert same(list(learn(config, events[point])), events[point + 1 :])


@pytest.mark.parametrize("method", ["ari", "der++", "replay-balanced"])
def test_adapted_accuracies_are_of_copies_adapted_to_each_tasks_exemplars(method):
    """The base model decides the task; that task's copy decides the class."""
    config = tiny(method, **{"adaptation.epochs": 2, "evaluation.group": 7, "evaluation.mixing": 0.2})
    stream = Stream(datasets.load("digits"), config.data, torch.device("cpu"))
    model, units = build("conv", stream.shape, 4), TaskUnits((2, 2))
    for event in of(TaskDone, learn(config)):
        task = event.task
        phi = model.pack({name: torch.tensor(value) for name, value in event.weights.items()})
        members = stream.up_to(stream.test, task)
        memory = exemplars(stream, task, 20, config.seed)
        own = []
        for earlier in range(1, task + 1):
            of_task = stream.train[memory[(stream.train.labels[memory] // 2 + 1) == earlier]]
            phi_i = adapt(model, phi, of_task, units, 2, generator_for(config.seed, ADAPT, task, earlier))
            own.append(logits_of(model, phi_i, stream.test, members)[:, 2 * earlier - 2 : 2 * earlier])
        logits, labels = logits_of(model, phi, stream.test, members), stream.test.labels[members]
        groups = generator_for(config.seed, GROUPS, task)
        expected = accuracies(logits, labels, units, task, config.evaluation, groups, torch.cat(own, 1))
        assert event.accuracy == expected and tuple(expected) == protocols(config)
        assert len(expected) == 6


@pytest.mark.parametrize("method", [name for name in METHODS if "adaptation.epochs" in keys(name)])
def test_adaptation_measures_and_changes_nothing(method, runs):
    events = list(learn(tiny(method, **{"adaptation.epochs": 1})))
    for ours, theirs in zip(events, runs[method], strict=True):
        if isinstance(ours, TaskDone):
            assert same(ours.weights, theirs.weights)
            assert theirs.accuracy.items() <= ours.accuracy.items() and len(ours.accuracy) == 6
        else:
            assert same(ours, theirs)


def test_all_tasks_are_present_in_every_frame_of_a_preset(runs):
    for method in FUSING:  # of the last the batches are mixed, but large
        fused = [step for step in of(Step, runs[method]) if step.fused]
        assert fused and all(step.fused.present == tuple(range(1, step.task + 1)) for step in fused)
    some = of(Step, learn(tiny(**{"memory.batches": "mixed", "memory.budget": 2, "train.batch_size": 16,
                                  "recording.frames": 50, "train.epochs": 1})))  # fmt: skip
    present = {step.fused.present for step in some if step.task == 2}
    assert (2,) in present and (1, 2) in present
    for step in some:
        m = len(step.fused.present) + 1
        assert step.fused.dif_star.shape == (m, m)


@each_method
def test_weights_are_those_whose_accuracy_is_reported(method, runs):
    stream = Stream(datasets.load("digits"), tiny().data, torch.device("cpu"))
    model = build("conv", stream.shape, 4, tiny(method).network.attention)
    for event in of(TaskDone, runs[method]):
        phi = model.pack({name: torch.tensor(value) for name, value in event.weights.items()})
        assert model.learnable == runs[method][0].parameters
        assert {name: len(row) for name, row in event.accuracy.items()} == dict.fromkeys(event.accuracy, event.task)
        for task in range(1, event.task + 1):
            own = stream.test[stream.of_task(stream.test, task)]
            logits, _ = model(phi, own.images)
            right = (logits[:, : 2 * event.task].argmax(1) == own.labels).double().mean().item()
            assert event.accuracy["per_sample"][task - 1] == pytest.approx(right)
            of_two = logits[:, 2 * task - 2 : 2 * task].argmax(1) + 2 * task - 2
            assert event.accuracy["task_aware"][task - 1] == pytest.approx((of_two == own.labels).double().mean())


def test_probes_are_held_out_images_and_their_attention(runs):
    started, *_ = runs["ari"]
    test = datasets.load("digits").test
    units = {image.tobytes(): label for image, label in zip(test.images, test.labels, strict=True)}
    assert started.probes.shape == (3, 1, 8, 8) and started.probes.dtype == np.uint8
    assert [units[image.tobytes()] for image in started.probes] == started.probe_units.tolist() == [0, 1, 2]
    last = of(Attention, runs["ari"])[-1]
    assert last.attention.shape == (3, 8, 8) and last.attention.dtype == np.uint8
    model = build("conv", (1, 8, 8), 4)
    stream = Stream(datasets.load("digits"), tiny().data, torch.device("cpu"))
    weights = of(TaskDone, runs["ari"])[-1].weights
    phi = model.pack({name: torch.tensor(value) for name, value in weights.items()})
    images = (torch.tensor(started.probes) / 255 - stream.mean) / stream.std
    _, attention = model(phi, images)
    np.testing.assert_allclose(last.attention / 255, attention[:, 0].numpy(), atol=0.5 / 255 + 1e-5)


def test_without_probes_no_attention_is_reported():
    events = list(learn(tiny("finetune", **{"recording.probes": 0, "train.epochs": 1})))
    assert not of(Attention, events) and events[0].probes.shape == (0, 1, 8, 8)


@each_method
def test_one_task_is_a_run_too(method):
    events = list(learn(tiny(method, **{"data.tasks": 1, "train.epochs": 1})))
    assert len(of(TaskDone, events)) == 1 and events[-1] == Finished()
    assert [(saved.task, saved.epoch) for saved in of(Saved, events)] == [(1, 1)]


def test_there_are_no_more_probes_than_images():
    settings = {"data.tasks": 1, "data.classes_per_task": 1, "train.epochs": 1, "recording.probes": 64}
    started = next(learn(tiny("finetune", **settings)))
    assert len(started.probes) == (datasets.load("digits").test.labels == 0).sum() < 64


# Left and resumed


# What a method keeps of the tasks before adds up over three; optimisers are the same part of all methods.
RESUMED = [
    *((method, "radam", 3) for method in KINDS_OF_METHODS),
    *((method, optimiser, 2) for method in ("ari", "ari-released", "replay") for optimiser in ("sgd", "adam")),
]


@pytest.mark.parametrize(("method", "optimiser", "tasks"), RESUMED)
def test_resuming_from_any_saved_point_equals_going_on(method, optimiser, tasks):
    config = tiny(method, **{"train.learning_rate": 0.01, "train.batch_size": 200, "train.optimiser": optimiser,
                             "data.tasks": tasks})  # fmt: skip
    events = list(learn(config))
    points = [place for place, event in enumerate(events) if isinstance(event, Saved)]
    assert len(points) == 3 * tasks - 1
    for place in points:
        point = copy.deepcopy(events[place])
        rest = list(learn(config, events[place]))
        assert same(rest, events[place + 1 :])
        assert same(events[place], point)  # and may be used again


# Runs that cannot be


@each_method
def test_numbers_that_are_not_finite_stop_the_run_with_the_cause(method):
    config = tiny(method, **{"train.learning_rate": 1e30, "train.optimiser": "sgd", "train.schedule": "constant",
                             "train.loss": "seen"})  # fmt: skip
    events = learn(config)
    with pytest.raises(Diverged, match=r"task 1, iteration \d+: .*train\.learning_rate \(now 1e\+30\)"):
        list(events)


@pytest.mark.parametrize(
    "settings",
    [
        {"train.learning_rate": 1e9},
        {"train.learning_rate": 1e10, "fusion.distance": "l2"},
        {"train.learning_rate": 10.0, "fusion.distance": "l2", "network.name": "mlp", "train.batch_size": 150},
        {"train.learning_rate": 100.0, "network.name": "mlp", "train.loss": "task", "train.batch_size": 150},
    ],
    ids=["l1", "l2", "mlp", "task"],
)
def test_distances_too_large_to_square_are_divergence_too(settings):
    """The models are finite, D is finite, D∘D in single precision is not."""
    with pytest.raises(Diverged, match=r"task \d, iteration \d+: .*train\.learning_rate"):
        list(learn(tiny(**settings)))


def test_models_that_coincide_without_eta_are_refused_with_the_cause():
    """dif* is undefined then, and eta is the setting that keeps it defined."""
    with pytest.raises(LabError, match="eta"):
        list(learn(tiny(**{"fusion.eta": 0.0, "train.learning_rate": 1e-30, "train.epochs": 1})))


def test_a_missing_device_is_refused_with_the_available_ones(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for name in ("cuda", "mps"):
        with pytest.raises(ConfigError, match=f"device: {name} is not available here; available: cpu"):
            learn(tiny(device=name))
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_cuda_comes_before_mps_before_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [choose_device(name).type for name in ("auto", "mps", "cpu")] == ["cuda", "mps", "cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "mps"


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"memory.budget": 1}, r"memory\.budget.*at least 2"), ({"data.tasks": 6}, r"data\.tasks.*at most 5")],
)
def test_a_run_that_cannot_start_is_refused_at_once(changes, message):
    """Before the first event, so before anything is written or drawn."""
    with pytest.raises(ConfigError, match=message):
        learn(tiny(**changes))


# Validation


def spoilt(monkeypatch, name):
    """The digits with other images in one split."""
    data = datasets.load("digits")
    split = getattr(data, name)
    noise = np.random.default_rng(9).integers(0, 256, size=split.images.shape, dtype=np.uint8)
    changed = Dataset(data.name, data.classes, **({"train": data.train, "test": data.test} |
                                                  {name: Split(noise, split.labels)}))  # fmt: skip
    monkeypatch.setattr(datasets, "load", lambda *_: changed)


def test_validation_never_touches_the_test_images(monkeypatch):
    config = tiny(**{"data.evaluate_on": "validation"})
    before = list(learn(config))
    spoilt(monkeypatch, "test")
    assert same(list(learn(config)), before)


@pytest.mark.parametrize("method", ["ari", "replay"])
def test_training_never_touches_the_test_images(method, monkeypatch):
    """They move what is measured on them, and nothing else. (Batches enough to be better than chance.)"""
    before = list(learn(tiny(method, **{"train.batch_size": 16})))
    spoilt(monkeypatch, "test")
    events = list(learn(tiny(method, **{"train.batch_size": 16})))
    for kind in (Step, Saved):
        assert same(of(kind, events), of(kind, before))
    for ours, theirs in zip(of(TaskDone, events), of(TaskDone, before), strict=True):
        assert same(ours.weights, theirs.weights) and ours.accuracy != theirs.accuracy


def test_validation_holds_training_images_out(runs):
    validated = list(learn(tiny(**{"data.evaluate_on": "validation"})))
    train = {image.tobytes() for image in datasets.load("digits").train.images}
    assert {image.tobytes() for image in validated[0].probes} <= train
    steps = [sum(step.samples for step in of(Step, events)) for events in (validated, runs["ari"])]
    assert steps[0] < 0.85 * steps[1]
