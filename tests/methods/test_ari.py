"""One iteration of ARI against Alg. 1 and 2 written out literally, and the faults of the released code."""

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from arli_core.config import parse
from arli_core.datasets import Dataset, Split
from arli_core.methods import create, objective, weighing
from arli_core.networks import Model
from arli_core.stream import ATTACK, Samples, Stream, generator_for
from arli_core.theory.attack import Pixels
from arli_core.theory.consensus import check_row_stochastic
from arli_core.world import World

CPU = torch.device("cpu")
RATE = 0.3
TASKS, UNITS, SHAPE = 3, 6, (2, 3, 3)
SIZES = (2, 2, 2)  # classes of each task


@pytest.fixture(params=[SIZES, (3, 1, 2)], ids=str)
def sizes(request, monkeypatch):
    """Tasks that are alike, and tasks that are not."""
    monkeypatch.setattr(sys.modules[__name__], "SIZES", request.param)
    return request.param


either = pytest.mark.usefixtures("sizes")


def task_of(label):
    return next(task for task in range(1, TASKS + 1) if label < sum(SIZES[:task]))


class Tiny(nn.Module):
    """A = sigmoid(c * sum of channels), logits = W (x A) + b: small enough for derivatives by hand."""

    def __init__(self):
        super().__init__()
        self.c = nn.Parameter(torch.zeros(()))
        self.weight = nn.Parameter(torch.zeros(UNITS, int(np.prod(SHAPE))))
        self.bias = nn.Parameter(torch.zeros(UNITS))

    def forward(self, x):
        attention = torch.sigmoid(self.c * x.sum(1, keepdim=True))
        return (x * attention).flatten(1) @ self.weight.T + self.bias, attention


def toy_stream():
    rng = np.random.default_rng(0)

    def split(count):
        images = rng.integers(0, 256, size=(count, *SHAPE), dtype=np.uint8)
        images[:, 1] //= 2  # the channels have means and deviations of their own
        return Split(images, np.arange(count, dtype=np.int64) % UNITS)

    dataset = Dataset("toy", tuple("abcdef"), split(60), split(12))
    config = parse({"method": "ari"}, **{"data.classes_per_task": SIZES})
    return Stream(dataset, config.data, CPU)


def configured(**settings):
    base = {"data.classes_per_task": SIZES, "attack.epsilon": 0.1, "fusion.beta": 0.7,
            "fusion.eta": 0.85}  # fmt: skip
    method = "ari-adam" if "fusion.base_rate" in settings else "ari"
    return parse({"method": method, "seed": 3}, **(base | settings))


def in_float64(config, task, epoch=1):
    """ARI on the tiny network, at some phi_b, in float64."""
    stream, model = toy_stream(), Model(Tiny())
    phi = 0.7 * torch.randn(sum(model.sizes), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    method = create(config, World(stream, model, CPU), phi)
    expected = Pixels.of(stream.mean, stream.std, config.attack.epsilon)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(method.pixels, expected, strict=True))
    method.pixels = Pixels.of(stream.mean.double(), stream.std.double(), config.attack.epsilon)
    method.begin(task, epoch)
    return method, stream


def batch_of(stream, tasks, count, seed):
    """`count` samples of the given tasks, shuffled, in float64."""
    allowed = torch.isin(stream.task_of(stream.train.labels), torch.tensor(tasks)).nonzero().flatten()
    index = allowed[torch.randperm(len(allowed), generator=torch.Generator().manual_seed(seed))[:count]]
    picked = stream.train[index]
    return Samples(picked.images.double(), picked.labels)


# Alg. 1 and 2, in numpy


def derivatives(phi, x, y, loss, classes):
    """(loss, A, d loss / d phi, d loss / d x) of the tiny network, by hand. phi = (c, W, b)."""
    c, weight, bias = phi
    count = len(x)
    total = x.sum(1, keepdims=True)
    a = 1 / (1 + np.exp(-c * total))
    hidden = (x * a).reshape(count, -1)
    value, toward = 0.0, np.zeros((count, UNITS))
    for k in range(count):
        logits = weight @ hidden[k] + bias
        if loss == "seen":
            probability = np.exp(logits[:classes]) / np.exp(logits[:classes]).sum()
            value -= np.log(probability[y[k]]) / count
            toward[k, :classes] = probability / count
            toward[k, y[k]] -= 1 / count
        else:
            own = range(sum(SIZES[: task_of(y[k]) - 1]), sum(SIZES[: task_of(y[k])]))
            for unit in own:
                probability = 1 / (1 + np.exp(-logits[unit]))
                target = float(unit == y[k])
                likelihood = probability if target else 1 - probability
                value -= np.log(likelihood) / (count * len(own))
                toward[k, unit] = (probability - target) / (count * len(own))
    into = (toward @ weight).reshape(x.shape)
    through = (into * x).sum(1, keepdims=True) * a * (1 - a)
    by_phi = ((through * total).sum(), toward.T @ hidden, toward.sum(0))
    return value, a, by_phi, into * a + through * c


class LiteralAdam:
    def __init__(self):
        self.moments, self.steps = None, 0

    def __call__(self, phi, gradient, rate):
        self.steps += 1
        self.moments = self.moments or [(0.0, 0.0)] * len(phi)
        self.moments = [
            (0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g) for (m, v), g in zip(self.moments, gradient, strict=True)
        ]
        corrected = [(m / (1 - 0.9**self.steps), v / (1 - 0.999**self.steps)) for m, v in self.moments]
        return tuple(p - rate * m / (v**0.5 + 1e-8) for p, (m, v) in zip(phi, corrected, strict=True))


class LiteralRAdam:
    """Liu et al., ICLR 2020: plain momentum while the variance of the adaptive rate has no finite value."""

    def __init__(self):
        self.moments, self.steps = None, 0

    def __call__(self, phi, gradient, rate):
        self.steps += 1
        t, longest = self.steps, 2 / (1 - 0.999) - 1
        self.moments = self.moments or [(0.0, 0.0)] * len(phi)
        self.moments = [
            (0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g) for (m, v), g in zip(self.moments, gradient, strict=True)
        ]
        length = longest - 2 * t * 0.999**t / (1 - 0.999**t)
        moved = []
        for p, (m, v) in zip(phi, self.moments, strict=True):
            step = m / (1 - 0.9**t)
            if length > 5:
                r = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
                step = step * r**0.5 * (1 - 0.999**t) ** 0.5 / (v**0.5 + 1e-8)
            moved.append(p - rate * step)
        return tuple(moved)


class LiteralDescent:
    def __call__(self, phi, gradient, rate):
        return tuple(p - rate * g for p, g in zip(phi, gradient, strict=True))


UPDATES = {"sgd": LiteralDescent, "adam": LiteralAdam, "radam": LiteralRAdam}
TENSORS = [slice(0, 1), slice(1, 1 + UNITS * 18), slice(1 + UNITS * 18, None)]  # c, W and b in phi


def literal_weights(stack, fusion):
    """(D, dif*) of models or of one tensor of each."""
    size = len(stack)
    distance = np.zeros((size, size))
    for r in range(size):
        for s in range(size):
            gap = abs(stack[r] - stack[s])
            distance[r, s] = (gap**2).sum() ** 0.5 if fusion.distance == "l2" else gap.sum()
    if fusion.distance == "relative":
        distance /= abs(stack).sum() / size
    table = distance**2 + fusion.eta
    return distance, np.stack([row / row.sum() for row in table])


def literal_step(config, stream, phi_b, x, y, task, generator, base=None):
    """Alg. 1 and 2 of method.md, section 2. Returns all that an iteration reports. base: the base's own Adam."""
    mean, std = (values.double().numpy().reshape(-1, 1, 1) for values in (stream.mean, stream.std))
    epsilon = config.attack.epsilon / std
    classes, kind = sum(SIZES[:task]), config.train.loss
    of_task = np.array([task_of(label) for label in y])
    start = (phi_b[0], phi_b[1 : 1 + UNITS * 18].reshape(UNITS, 18), phi_b[1 + UNITS * 18 :])

    models, first_losses, clean_losses, attacked_losses, present = [], [], [], [], []
    for i in range(1, task + 1):
        mine = of_task == i
        if not mine.any():
            continue
        present.append(i)
        x_i, y_i = x[mine], y[mine]
        if config.fusion.reset or len(present) == 1:
            phi = start  # 1. reset
        update = UPDATES[config.train.optimiser]()
        first_losses.append(mine.mean() * derivatives(phi, x_i, y_i, kind, classes)[0])
        for _ in range(config.fusion.inner_steps):
            clean, _, gradient, _ = derivatives(phi, x_i, y_i, kind, classes)  # a. clean step
            phi = update(phi, gradient, RATE)
            if config.attack.epsilon == 0:  # a second clean step
                attacked, _, gradient, _ = derivatives(phi, x_i, y_i, kind, classes)
                phi = update(phi, gradient, RATE)
                continue
            noise = torch.rand(x_i.shape, generator=generator, dtype=torch.float64).numpy()  # b. attack
            delta0 = (2 * noise - 1) * epsilon
            _, a, _, by_x = derivatives(phi, x_i + delta0, y_i, kind, classes)
            delta = np.clip(delta0 + epsilon * np.sign(by_x), -epsilon, epsilon)
            struck = np.clip(x_i + (1 - a * a) * delta, (0 - mean) / std, (1 - mean) / std)
            attacked, _, gradient, _ = derivatives(phi, struck, y_i, kind, classes)  # c. attacked step
            phi = update(phi, gradient, RATE)
        models.append(np.concatenate([np.ravel(part) for part in phi]))
        clean_losses.append(clean)
        attacked_losses.append(attacked)

    stack = np.stack([*models, phi_b])
    size = len(stack)
    distance, weights = literal_weights(stack, config.fusion)
    fused = np.zeros_like(phi_b)
    for part in [slice(None)] if config.fusion.over == "model" else TENSORS:
        row = literal_weights(stack[:, part], config.fusion)[1][-1]
        if config.fusion.weights == "uniform":
            row = np.full(size, 1 / size)
        if config.fusion.weights == "last":
            row = np.eye(size)[size - 2]  # the newest task's model
        fused[part] = sum(row[j] * stack[j, part] for j in range(size))
    if config.fusion.reset:  # then it is that of the whole batch under phi_b
        np.testing.assert_allclose(sum(first_losses), derivatives(start, x, y, kind, classes)[0])
    alpha = np.exp(-config.fusion.beta * (task - 1) / TASKS)
    shifted = stack - phi_b
    following = alpha * fused + (1 - alpha) * phi_b
    if base:
        rate = alpha * config.fusion.base_rate * RATE / config.train.learning_rate
        (following,) = base((phi_b,), ((phi_b - fused) / RATE,), rate)
    return {
        "phi": following,
        "loss": sum(first_losses),  # before any update, over the whole batch
        "present": tuple(present),
        "distance": distance,
        "dif_star": weights,
        "gram": shifted @ shifted.T,
        "norm": (stack**2).sum() ** 0.5,
        "alpha": alpha,
        "losses": np.array(clean_losses),
        "attacked_losses": np.array(attacked_losses),
    }


def equals_the_algorithm(config):
    """Three iterations in a row: all tasks, one task absent, the newest alone."""
    method, stream = in_float64(config, task=3)
    generator = generator_for(config.seed, ATTACK, 3, 1)
    base = LiteralAdam() if config.method == "ari-adam" else None
    for seed, tasks in enumerate([(1, 2, 3), (1, 3), (3,)]):
        batch = batch_of(stream, tasks, 11, seed)
        before = method.phi.numpy().copy()
        images, labels = batch.images.numpy(), batch.labels.numpy()
        expected = literal_step(config, stream, before, images, labels, 3, generator, base)
        value, fused = method.step(batch, RATE, recorded=True)
        assert abs(expected["phi"] - before).max() > 1e-3
        close = {"rtol": 1e-9, "atol": 1e-11}
        np.testing.assert_allclose(method.phi.numpy(), expected["phi"], **close)
        assert value == pytest.approx(expected["loss"], rel=1e-10)
        assert fused.present == expected["present"] == tasks
        for name in ("distance", "dif_star", "gram", "norm", "alpha", "losses", "attacked_losses"):
            np.testing.assert_allclose(getattr(fused, name), expected[name], err_msg=name, **close)
        power = 2 if config.fusion.distance == "l2" else 1
        np.testing.assert_allclose((fused.layers**power).sum(0), expected["distance"] ** power, **close)
    assert torch.equal(method.noise.get_state(), generator.get_state())  # as many draws


@either
@pytest.mark.parametrize("loss", ["seen", "task"])
@pytest.mark.parametrize("inner_steps", [1, 2])
@pytest.mark.parametrize(
    ("distance", "optimiser"),
    [("l1", "sgd"), ("l2", "sgd"), ("relative", "sgd"), ("l1", "adam"), ("l1", "radam")],
)
def test_iterations_equal_the_algorithm_written_out(distance, inner_steps, loss, optimiser):
    settings = {"fusion.distance": distance, "fusion.inner_steps": inner_steps, "train.loss": loss}
    equals_the_algorithm(configured(**settings, **{"train.optimiser": optimiser}))


@either
@pytest.mark.parametrize(
    "settings",
    [
        {"fusion.reset": False},
        {"fusion.reset": False, "train.optimiser": "adam", "fusion.inner_steps": 2},
        {"fusion.weights": "uniform"},
        {"fusion.weights": "uniform", "fusion.over": "tensor"},
        {"fusion.weights": "last"},
        {"fusion.weights": "last", "fusion.reset": False},
        {"fusion.over": "tensor"},
        {"fusion.over": "tensor", "fusion.distance": "l2"},
        {"fusion.over": "tensor", "fusion.distance": "relative", "fusion.eta": 0.01},
        {"fusion.base_rate": 0.02},
        {"fusion.base_rate": 0.02, "fusion.weights": "uniform", "train.learning_rate": 0.6},
        {"attack.epsilon": 0.0},
        {"attack.epsilon": 0.0, "fusion.inner_steps": 3, "train.optimiser": "radam"},
    ],
    ids=lambda settings: " ".join(f"{key.split('.')[1]}={value}" for key, value in settings.items()),
)
def test_every_switch_equals_the_algorithm_with_that_change(settings):
    equals_the_algorithm(configured(**settings))


def test_radam_long_enough_to_adapt_equals_its_equations():
    """The first five steps of a fresh optimiser are momentum alone; only then is the rate rectified."""
    equals_the_algorithm(configured(**{"train.optimiser": "radam", "fusion.inner_steps": 4}))


@either
@pytest.mark.parametrize("task", [1, 2])
def test_earlier_tasks_equal_the_algorithm_too(task):
    """Where not all classes are seen, and alpha is nearer to 1."""
    config = configured()
    method, stream = in_float64(config, task)
    batch = batch_of(stream, tuple(range(1, task + 1)), 9, 5)
    plain = (method.phi.numpy().copy(), batch.images.numpy(), batch.labels.numpy())
    expected = literal_step(config, stream, *plain, task, generator_for(config.seed, ATTACK, task, 1))
    _, fused = method.step(batch, RATE, recorded=True)
    np.testing.assert_allclose(method.phi.numpy(), expected["phi"], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(fused.dif_star, expected["dif_star"], rtol=1e-9)
    assert fused.alpha == pytest.approx(np.exp(-0.7 * (task - 1) / 3))


# What went wrong in the released code


class Spy:
    """ARI on the tiny network, which keeps every model that was called and every task model that was trained."""

    def __init__(self, **settings):
        self.called, self.first, self.trained = [], [], []
        self.stream, spy = toy_stream(), self

        class Watched(Model):
            def train(self, phi, images):
                spy.called.append(phi.detach().clone())
                return super().train(phi, images)

        model = Watched(Tiny())
        phi = 0.7 * torch.randn(sum(model.sizes), generator=torch.Generator().manual_seed(1))
        self.method = create(configured(**settings), World(self.stream, model, CPU), phi)
        self.method.begin(3, 0)
        train = self.method.train_task_model

        def train_task_model(*args):
            self.first.append(len(self.called))
            result = yield from train(*args)
            self.trained.append(result[0])
            return result

        self.method.train_task_model = train_task_model
        self.batch = self.stream.train[torch.arange(24)]

    def step(self, batch=None, recorded=True):
        self.first.clear()
        self.called.clear()
        self.trained.clear()
        return self.method.step(batch or self.batch, RATE, recorded)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_each_task_model_starts_from_the_base_bit_for_bit(optimiser):
    spy = Spy(**{"train.optimiser": optimiser})
    for _ in range(2):
        phi_b = spy.method.phi.clone()
        spy.step()
        assert len(spy.first) == 3
        for first in spy.first:
            assert torch.equal(spy.called[first], phi_b)
            assert not torch.equal(spy.called[first + 1], phi_b)  # and then it moves
        assert not torch.equal(spy.method.phi, phi_b)


def test_task_models_share_no_storage_with_each_other_nor_with_the_base():
    spy = Spy()
    before = spy.method.phi
    copy = before.clone()
    spy.step()
    everything = [*spy.trained, before, spy.method.phi]
    assert len({tensor.untyped_storage().data_ptr() for tensor in everything}) == len(everything) == 5
    assert torch.equal(before, copy)  # phi_b is replaced, never changed in place
    for i, first in enumerate(spy.trained):
        assert all(not torch.equal(first, second) for second in spy.trained[i + 1 :])
    trained, copies = list(spy.trained), [phi.clone() for phi in spy.trained]
    spy.step()
    assert all(torch.equal(first, copy) for first, copy in zip(trained, copies, strict=True))


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("inner_steps", [1, 2])
def test_a_task_model_does_not_depend_on_the_other_tasks(optimiser, inner_steps):
    """No chain, and no moments that leak: trained alone it is the same. (Without noise, which has one stream.)"""
    settings = {"train.optimiser": optimiser, "fusion.inner_steps": inner_steps, "attack.epsilon": 0.0}
    together = Spy(**settings)
    together.step()
    for task in (1, 2, 3):
        alone = Spy(**settings)
        alone.step(alone.batch[alone.stream.task_of(alone.batch.labels) == task])
        assert len(alone.trained) == 1
        assert torch.equal(alone.trained[0], together.trained[task - 1])


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_without_strength_the_attack_is_a_second_clean_step(inner_steps):
    """With as many updates, and without use of the noise generator."""
    settings = {"fusion.inner_steps": inner_steps, "train.optimiser": "sgd"}
    attacked, clean = Spy(**settings), Spy(**settings, **{"attack.epsilon": 0.0})
    before = clean.method.noise.get_state()
    for spy in (attacked, clean):
        spy.step()
    assert torch.equal(clean.method.noise.get_state(), before)
    assert not torch.equal(attacked.method.noise.get_state(), before)
    # Of each task model: two passes a round that descend, and one that attacks.
    assert len(clean.called) == 3 * 2 * inner_steps and len(attacked.called) == 3 * 3 * inner_steps
    starts = [*clean.first, len(clean.called)]
    for first, end in pairwise(starts):
        models = clean.called[first:end]
        assert all(not torch.equal(one, other) for one, other in pairwise(models))


def test_without_a_reset_task_models_are_a_chain():
    spy = Spy(**{"fusion.reset": False})
    phi_b = spy.method.phi
    spy.step()
    starts = [spy.called[first] for first in spy.first]
    for start, end in zip(starts, [phi_b, *spy.trained[:-1]], strict=True):
        assert torch.equal(start, end)


def test_permuting_the_tasks_permutes_the_models_and_their_matrices():
    settings = {"attack.epsilon": 0.0}
    plain, turned = Spy(**settings), Spy(**settings)
    original = turned.stream.task_of
    turned.stream.task_of = lambda labels: 4 - original(labels)  # tasks 3, 2, 1
    (_, one), (_, other) = plain.step(), turned.step()
    for ours, theirs in zip(plain.trained, reversed(turned.trained), strict=True):
        assert torch.equal(ours, theirs)
    order = np.ix_([2, 1, 0, 3], [2, 1, 0, 3])
    np.testing.assert_allclose(other.distance, one.distance[order], rtol=1e-12)
    np.testing.assert_allclose(other.dif_star, one.dif_star[order], rtol=1e-12)
    np.testing.assert_allclose(other.gram, one.gram[order], rtol=1e-9)
    np.testing.assert_array_equal(other.losses, one.losses[::-1])
    torch.testing.assert_close(plain.method.phi, turned.method.phi, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("distance", ["l1", "l2", "relative"])
def test_the_weights_that_fuse_are_the_recorded_last_row(distance, monkeypatch):
    used, fuse = [], weighing.fuse
    monkeypatch.setattr(weighing, "fuse", lambda weights, models: used.append(weights) or fuse(weights, models))
    spy = Spy(**{"fusion.distance": distance})
    _, fused = spy.step()
    np.testing.assert_allclose(fused.dif_star[-1], used[0][-1].numpy(), atol=1e-5)
    assert check_row_stochastic(fused.dif_star) is None
    assert abs(fused.dif_star - 0.25).max() > 1e-3  # the models do differ


def test_recording_does_not_alter_training():
    with_frames, without = Spy(), Spy()
    for _ in range(3):
        (one, fused), (other, none) = with_frames.step(recorded=True), without.step(recorded=False)
        assert one == other and fused is not None and none is None
        assert torch.equal(with_frames.method.phi, without.method.phi)


def test_absent_tasks_take_no_part():
    spy = Spy()
    members = spy.stream.task_of(spy.batch.labels) != 2
    _, fused = spy.step(spy.batch[members])
    assert fused.present == (1, 3)
    assert fused.distance.shape == fused.dif_star.shape == fused.gram.shape == (3, 3)
    assert fused.losses.shape == fused.attacked_losses.shape == (2,)
    assert all(array.dtype == np.float64 for array in (fused.distance, fused.dif_star, fused.gram, fused.losses))


def test_the_attack_is_part_of_training():
    """epsilon has an effect, and so do more inner steps: every setting does."""
    bases = []
    for settings in ({}, {"attack.epsilon": 0.2}, {"fusion.inner_steps": 2}, {"fusion.eta": 5.0},
                     {"fusion.distance": "l2"}, {"fusion.beta": 0.0}, {"train.loss": "task"},
                     {"attack.epsilon": 0.0}, {"fusion.reset": False}, {"fusion.weights": "uniform"},
                     {"fusion.weights": "last"}, {"fusion.over": "tensor"},
                     {"train.optimiser": "radam"}):  # fmt: skip
        spy = Spy(**settings)
        spy.step()
        bases.append(spy.method.phi)
    for number, first in enumerate(bases):
        assert all(not torch.equal(first, second) for second in bases[number + 1 :])


def test_noise_is_that_of_seed_task_and_epoch():
    def after(seed, epoch):
        spy = Spy()
        spy.method.config = spy.method.config.model_copy(update={"seed": seed})
        spy.method.begin(3, epoch)
        spy.step()
        return spy.method.phi

    assert torch.equal(after(0, 0), after(0, 0))
    assert not torch.equal(after(0, 0), after(0, 1))
    assert not torch.equal(after(0, 0), after(1, 0))


def test_state_restores_the_base_model():
    spy, restored = Spy(), Spy()
    spy.step()
    state = {name: value.clone() for name, value in spy.method.state().items()}
    restored.method.restore(state)
    for spied in (spy, restored):
        spied.method.begin(3, 1)
        spied.step()
    assert torch.equal(spy.method.phi, restored.method.phi)


# Running statistics


class Normed(nn.Module):
    """The same with a BatchNorm before the head: two float buffers of two entries each."""

    def __init__(self):
        super().__init__()
        self.c = nn.Parameter(torch.zeros(()))
        self.norm = nn.BatchNorm2d(SHAPE[0])
        self.head = nn.Linear(int(np.prod(SHAPE)), UNITS)

    def forward(self, x):
        attention = torch.sigmoid(self.c * x.sum(1, keepdim=True))
        return self.head(self.norm(x * attention).flatten(1)), attention


def normed(**settings):
    """ARI on it, with statistics far from any batch's; records each task model's first pass and its end."""
    stream, firsts, ends = toy_stream(), [], []
    model = Model(Normed())
    phi = model.initial(torch.Generator().manual_seed(1))
    phi[0] = 0.5  # or attention would be flat
    phi[model.learnable :] = torch.tensor([3.0, -2.0, 5.0, 0.5])
    method = create(configured(**settings), World(stream, model, CPU), phi)
    method.begin(3, 0)
    inner, train = method.train_task_model, model.train

    def first_pass(phi, images):
        if len(firsts) == len(ends):
            firsts.append(phi.detach().clone())
        return train(phi, images)

    def train_task_model(*args):
        result = yield from inner(*args)
        ends.append(result[0])
        return result

    model.train, method.train_task_model = first_pass, train_task_model
    return method, model, stream, firsts, ends


@pytest.mark.parametrize("reset", [True, False])
def test_statistics_are_reset_with_the_parameters(reset):
    method, model, stream, firsts, ends = normed(**{"fusion.reset": reset})
    phi_b = method.phi.clone()
    method.step(stream.train[torch.arange(24)], RATE, True)
    assert len(firsts) == len(ends) == 3
    for first, start in zip(firsts, [phi_b] * 3 if reset else [phi_b, *ends[:-1]], strict=True):
        assert torch.equal(first, start)
    assert all(not torch.equal(end[model.learnable :], phi_b[model.learnable :]) for end in ends)


@pytest.mark.parametrize("inner_steps", [1, 2])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_statistics_of_a_task_model_are_of_its_two_steps_a_round_and_not_of_the_attack(inner_steps, epsilon):
    """running <- 0.9 running + 0.1 batch, once for each step that descends."""
    method, model, stream, _, ends = normed(**{"fusion.inner_steps": inner_steps, "attack.epsilon": epsilon})
    descended, descend = [], objective.Trainee.descend

    def watched(trainee, loss, buffers):
        descended.append(buffers.clone())
        return descend(trainee, loss, buffers)

    objective.Trainee.descend = watched
    try:
        method.step(stream.train[torch.arange(24)], RATE, True)
    finally:
        objective.Trainee.descend = descend
    assert len(descended) == 3 * 2 * inner_steps
    for number, end in enumerate(ends):
        assert torch.equal(end[model.learnable :], descended[(number + 1) * 2 * inner_steps - 1])
    batch = stream.train[torch.arange(24)]
    own = batch.images[stream.task_of(batch.labels) == 1]
    attended = own * torch.sigmoid(0.5 * own.sum(1, keepdim=True))
    mean = 0.9 * torch.tensor([3.0, -2.0]) + 0.1 * attended.mean((0, 2, 3))
    variance = 0.9 * torch.tensor([5.0, 0.5]) + 0.1 * attended.transpose(0, 1).flatten(1).var(1)
    torch.testing.assert_close(descended[0], torch.cat([mean, variance]))


@pytest.mark.parametrize("weights", ["adaptive", "uniform", "last"])
@pytest.mark.parametrize("over", ["model", "tensor"])
def test_fused_statistics_are_the_mean_weighted_as_the_whole_model(weights, over):
    """Distances count only the learnable entries."""
    method, model, stream, _, ends = normed(**{"fusion.weights": weights, "fusion.over": over})
    phi_b = method.phi.double().numpy()
    _, fused = method.step(stream.train[torch.arange(24)], RATE, True)
    stack = np.stack([*(end.double().numpy() for end in ends), phi_b])
    distance, dif_star = literal_weights(stack[:, : model.learnable], method.config.fusion)
    np.testing.assert_allclose(fused.distance, distance, rtol=1e-6)
    row = {"adaptive": dif_star[-1], "uniform": np.full(4, 0.25), "last": np.array([0, 0, 1, 0])}[weights]
    alpha = np.exp(-0.7 * 2 / 3)
    expected = alpha * row @ stack + (1 - alpha) * phi_b
    np.testing.assert_allclose(method.phi[model.learnable :].numpy(), expected[model.learnable :], rtol=1e-5)
    assert (method.phi[model.learnable :][2:] > 0).all()
    if weights == "adaptive" and over == "tensor":
        assert abs(method.phi.numpy() - expected)[: model.learnable].max() > 1e-4
    else:
        np.testing.assert_allclose(method.phi.numpy(), expected, rtol=1e-4, atol=1e-5)
