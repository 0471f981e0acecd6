"""One iteration of ARI against Alg. 1 and 2 written out literally, and the faults that must not come back."""

import numpy as np
import pytest
import torch
from torch import nn

from arli_core.attack import Pixels
from arli_core.config import parse
from arli_core.consensus import check_row_stochastic
from arli_core.datasets import Dataset, Split
from arli_core.methods import Setting, ari, create
from arli_core.networks import Model
from arli_core.tasks import ATTACK, Samples, Stream, generator_for

CPU = torch.device("cpu")
RATE = 0.3
TASKS, PER_TASK, SHAPE = 3, 2, (2, 3, 3)
UNITS = TASKS * PER_TASK


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
    config = parse({"method": "ari"}, **{"data.tasks": TASKS, "data.classes_per_task": PER_TASK})
    return Stream(dataset, config.data, CPU)


def configured(**settings):
    base = {"data.tasks": TASKS, "data.classes_per_task": PER_TASK, "attack.epsilon": 0.1, "fusion.beta": 0.7}
    return parse({"method": "ari", "seed": 3}, **(base | settings))


def in_float64(config, task, epoch=1):
    """ARI on the tiny network, at some phi_b, in float64."""
    stream, model = toy_stream(), Model(Tiny())
    phi = 0.7 * torch.randn(sum(model.sizes), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    method = create(config, Setting(model, stream, CPU), phi)
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


def derivatives(phi, x, y, loss, seen):
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
            probability = np.exp(logits[:seen]) / np.exp(logits[:seen]).sum()
            value -= np.log(probability[y[k]]) / count
            toward[k, :seen] = probability / count
            toward[k, y[k]] -= 1 / count
        else:
            first = y[k] // PER_TASK * PER_TASK
            for unit in range(first, first + PER_TASK):
                probability = 1 / (1 + np.exp(-logits[unit]))
                target = float(unit == y[k])
                likelihood = probability if target else 1 - probability
                value -= np.log(likelihood) / (count * PER_TASK)
                toward[k, unit] = (probability - target) / (count * PER_TASK)
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


class LiteralDescent:
    def __call__(self, phi, gradient, rate):
        return tuple(p - rate * g for p, g in zip(phi, gradient, strict=True))


def literal_step(config, stream, phi_b, x, y, task, generator):
    """Alg. 1 and 2 of method.md, section 2. Returns all that an iteration tells."""
    mean, std = (each.double().numpy().reshape(-1, 1, 1) for each in (stream.mean, stream.std))
    epsilon = config.attack.epsilon / std
    seen, kind = task * PER_TASK, config.train.loss
    of_task = y // PER_TASK + 1
    start = (phi_b[0], phi_b[1 : 1 + UNITS * 18].reshape(UNITS, 18), phi_b[1 + UNITS * 18 :])

    models, clean_losses, attacked_losses, present = [], [], [], []
    for i in range(1, task + 1):
        mine = of_task == i
        if not mine.any():
            continue
        present.append(i)
        x_i, y_i = x[mine], y[mine]
        phi = start  # 1. reset
        update = LiteralAdam() if config.train.optimiser == "adam" else LiteralDescent()
        for _ in range(config.fusion.inner_steps):
            clean, _, gradient, _ = derivatives(phi, x_i, y_i, kind, seen)  # a. clean step
            phi = update(phi, gradient, RATE)
            noise = torch.rand(x_i.shape, generator=generator, dtype=torch.float64).numpy()  # b. attack
            delta0 = (2 * noise - 1) * epsilon
            _, a, _, by_x = derivatives(phi, x_i + delta0, y_i, kind, seen)
            delta = np.clip(delta0 + epsilon * np.sign(by_x), -epsilon, epsilon)
            struck = np.clip(x_i + (1 - a * a) * delta, (0 - mean) / std, (1 - mean) / std)
            attacked, _, gradient, _ = derivatives(phi, struck, y_i, kind, seen)  # c. attacked step
            phi = update(phi, gradient, RATE)
        models.append(np.concatenate([np.ravel(part) for part in phi]))
        clean_losses.append(clean)
        attacked_losses.append(attacked)

    stack = np.stack([*models, phi_b])
    size = len(stack)
    distance = np.zeros((size, size))
    for r in range(size):
        for s in range(size):
            gap = abs(stack[r] - stack[s])
            distance[r, s] = (gap**2).sum() ** 0.5 if config.fusion.distance == "l2" else gap.sum()
    if config.fusion.distance == "relative":
        distance /= abs(stack).sum() / size
    table = distance**2 + config.fusion.eta
    weights = np.stack([row / row.sum() for row in table])
    fused = sum(weights[-1, j] * stack[j] for j in range(size))
    alpha = np.exp(-config.fusion.beta * (task - 1) / TASKS)
    shifted = stack - phi_b
    return {
        "phi": alpha * fused + (1 - alpha) * phi_b,
        "loss": derivatives(start, x, y, kind, seen)[0],  # before any update, over the whole batch
        "present": tuple(present),
        "distance": distance,
        "dif_star": weights,
        "gram": shifted @ shifted.T,
        "norm": (stack**2).sum() ** 0.5,
        "alpha": alpha,
        "losses": np.array(clean_losses),
        "attacked_losses": np.array(attacked_losses),
    }


@pytest.mark.parametrize("loss", ["seen", "task"])
@pytest.mark.parametrize("inner_steps", [1, 2])
@pytest.mark.parametrize(
    ("distance", "optimiser"), [("l1", "sgd"), ("l2", "sgd"), ("relative", "sgd"), ("l1", "adam")]
)
def test_iterations_equal_the_algorithm_written_out(distance, inner_steps, loss, optimiser):
    """Three in a row: all tasks, one task absent, the newest alone."""
    settings = {"fusion.distance": distance, "fusion.inner_steps": inner_steps, "train.loss": loss}
    config = configured(**settings, **{"train.optimiser": optimiser})
    method, stream = in_float64(config, task=3)
    generator = generator_for(config.seed, ATTACK, 3, 1)
    for seed, tasks in enumerate([(1, 2, 3), (1, 3), (3,)]):
        batch = batch_of(stream, tasks, 11, seed)
        before = method.phi.numpy().copy()
        expected = literal_step(config, stream, before, batch.images.numpy(), batch.labels.numpy(), 3, generator)
        value, fused = method.step(batch, RATE, recorded=True)
        assert abs(expected["phi"] - before).max() > 1e-3
        close = {"rtol": 1e-9, "atol": 1e-11}
        np.testing.assert_allclose(method.phi.numpy(), expected["phi"], **close)
        assert value == pytest.approx(expected["loss"], rel=1e-10)
        assert fused.present == expected["present"] == tasks
        for name in ("distance", "dif_star", "gram", "norm", "alpha", "losses", "attacked_losses"):
            np.testing.assert_allclose(getattr(fused, name), expected[name], err_msg=name, **close)


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
            def __call__(self, phi, images):
                spy.called.append(phi.detach().clone())
                return super().__call__(phi, images)

        model = Watched(Tiny())
        phi = 0.7 * torch.randn(sum(model.sizes), generator=torch.Generator().manual_seed(1))
        self.method = create(configured(**settings), Setting(model, self.stream, CPU), phi)
        self.method.begin(3, 0)
        train = self.method.train_task_model

        def train_task_model(*args):
            self.first.append(len(self.called))
            found = train(*args)
            self.trained.append(found[0])
            return found

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
    kept = before.clone()
    spy.step()
    everything = [*spy.trained, before, spy.method.phi]
    assert len({each.untyped_storage().data_ptr() for each in everything}) == len(everything) == 5
    assert torch.equal(before, kept)  # phi_b is replaced, never changed in place
    for i, one in enumerate(spy.trained):
        assert all(not torch.equal(one, other) for other in spy.trained[i + 1 :])
    trained, copies = list(spy.trained), [each.clone() for each in spy.trained]
    spy.step()
    assert all(torch.equal(one, copy) for one, copy in zip(trained, copies, strict=True))


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
    used, fuse = [], ari.fuse
    monkeypatch.setattr(ari, "fuse", lambda weights, models: used.append(weights) or fuse(weights, models))
    spy = Spy(**{"fusion.distance": distance})
    _, fused = spy.step()
    np.testing.assert_allclose(fused.dif_star[-1], used[0][-1].numpy(), atol=1e-5)
    assert check_row_stochastic(fused.dif_star) is None
    assert abs(fused.dif_star - 0.25).max() > 1e-3  # not uniform for want of differences


def test_recording_does_not_alter_training():
    with_frames, without = Spy(), Spy()
    for _ in range(3):
        (one, fused), (other, none) = with_frames.step(recorded=True), without.step(recorded=False)
        assert one == other and fused is not None and none is None
        assert torch.equal(with_frames.method.phi, without.method.phi)


def test_absent_tasks_take_no_part():
    spy = Spy()
    here = spy.stream.task_of(spy.batch.labels) != 2
    _, fused = spy.step(spy.batch[here])
    assert fused.present == (1, 3)
    assert fused.distance.shape == fused.dif_star.shape == fused.gram.shape == (3, 3)
    assert fused.losses.shape == fused.attacked_losses.shape == (2,)
    assert all(array.dtype == np.float64 for array in (fused.distance, fused.dif_star, fused.gram, fused.losses))


def test_the_attack_is_part_of_training():
    """epsilon has an effect, and more inner steps do too: no setting is idle."""
    found = []
    for settings in ({}, {"attack.epsilon": 0.2}, {"fusion.inner_steps": 2}, {"fusion.eta": 5.0},
                     {"fusion.distance": "l2"}, {"fusion.beta": 0.0}, {"train.loss": "task"}):  # fmt: skip
        spy = Spy(**settings)
        spy.step()
        found.append(spy.method.phi)
    for number, one in enumerate(found):
        assert all(not torch.equal(one, other) for other in found[number + 1 :])


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
    spy, other = Spy(), Spy()
    spy.step()
    state = {name: value.clone() for name, value in spy.method.state().items()}
    other.method.restore(state)
    for each in (spy, other):
        each.method.begin(3, 1)
        each.step()
    assert torch.equal(spy.method.phi, other.method.phi)
