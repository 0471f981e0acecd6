"""The methods that ARI is compared with: each against itself written out with plain modules, in float64.

The literal versions use no flat vectors: they train torch modules with torch's optimisers, BatchNorm keeps its own
statistics, and losses are sums over samples and classes.
"""

import copy
import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

from arli_core.config import METHODS, keys, parse
from arli_core.datasets import Dataset, Split
from arli_core.methods import create, ewc
from arli_core.methods.baselines import Descent
from arli_core.networks import Model
from arli_core.schedule import exemplars
from arli_core.stream import ATTACK, AUGMENT, IMPORTANCE, REPLAY, Samples, Stream, generator_for
from arli_core.theory.attack import Pixels
from arli_core.world import World
from tests.helpers import KINDS_OF_METHODS

CPU = torch.device("cpu")
TASKS, UNITS, SHAPE = 3, 6, (2, 3, 3)
SIZES = (2, 2, 2)  # classes of each task
OPTIMISERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "radam": torch.optim.RAdam}
each_optimiser = pytest.mark.parametrize("optimiser", OPTIMISERS)
CLOSE = {"rtol": 1e-8, "atol": 1e-11}


@pytest.fixture(params=[SIZES, (3, 1, 2)], ids=str)
def sizes(request, monkeypatch):
    """Tasks that are alike, and tasks that are not."""
    monkeypatch.setattr(sys.modules[__name__], "SIZES", request.param)
    return request.param


either = pytest.mark.usefixtures("sizes")


def classes_up_to(task):
    return sum(SIZES[:task])


def task_of(label):
    return next(task for task in range(1, TASKS + 1) if label < classes_up_to(task))


def of_task(labels, task):
    """Which of them are the task's."""
    return torch.tensor([task_of(label) == task for label in labels.tolist()])


class Normed(nn.Module):
    """Attention, a 1x1 convolution, BatchNorm, a linear head."""

    def __init__(self):
        super().__init__()
        self.c = nn.Parameter(torch.zeros(()))
        self.mix = nn.Conv2d(SHAPE[0], 2, 1, bias=False)  # whose gradient before BatchNorm would be rounding
        self.norm = nn.BatchNorm2d(2)
        self.head = nn.Linear(2 * 9, UNITS)

    def forward(self, x):
        attention = torch.sigmoid(self.c * x.sum(1, keepdim=True))
        return self.head(torch.tanh(self.norm(self.mix(x * attention))).flatten(1)), attention


def toy_stream(**settings):
    """Fifteen samples a class, one more for some, whose images come in float64."""
    rng = np.random.default_rng(0)

    def split(count):
        images = rng.integers(0, 256, size=(count, *SHAPE), dtype=np.uint8)
        images[:, 1] //= 2
        return Split(images, np.arange(count, dtype=np.int64) % UNITS)

    config = parse({"method": "finetune"}, **{"data.classes_per_task": SIZES}, **settings)
    stream = Stream(Dataset("toy", tuple("abcdef"), split(93), split(12)), config.data, CPU, config.augmentation)
    for pool in (stream.train, stream.test):
        pool.mean, pool.std = pool.mean.double(), pool.std.double()
    return stream


def network_at(seed=1):
    """A module in float64, with random parameters."""
    network, generator = Normed().double(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.7 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
        network.norm.running_mean.copy_(torch.tensor([0.3, -0.2]))
        network.norm.running_var.copy_(torch.tensor([1.5, 0.6]))
    return network


def statistics(network):
    return torch.cat([network.norm.running_mean, network.norm.running_var])


def flat(network):
    """phi: parameters, then running mean and variance."""
    return torch.cat([*(weight.detach().flatten() for weight in network.parameters()), statistics(network)])


def created(name, stream=None, **settings):
    """(the method, its stream, a module with the same phi, configuration)."""
    stream = stream or toy_stream()
    base = {"data.classes_per_task": SIZES, "memory.budget": 16, "fusion.beta": 0.7}
    own = {key: value for key, value in base.items() if key in keys(name)}
    config = parse({"method": name, "seed": 3}, **(own | settings))
    network = network_at()
    return create(config, World(stream, Model(Normed()), CPU), flat(network)), stream, network, config


def test_one_method_of_each_class_stands_for_all():
    """Wherever a test tries `KINDS_OF_METHODS` alone."""
    classes = [type(created(method)[0]) for method in KINDS_OF_METHODS]
    assert len(set(classes)) == len(classes)
    assert set(classes) == {type(created(method)[0]) for method in METHODS}


def batch_of(stream, tasks, count, seed):
    allowed = torch.isin(stream.task_of(stream.train.labels), torch.tensor(tasks)).nonzero().flatten()
    index = allowed[torch.randperm(len(allowed), generator=torch.Generator().manual_seed(seed))[:count]]
    return stream.train[index]


def literal_loss(kind, logits, labels, task):
    """Cross-entropy over the classes seen, or binary cross-entropy on those of each sample's task."""
    total = 0.0
    for row, label in zip(logits, labels.tolist(), strict=True):
        if kind == "seen":
            total = total - torch.log(torch.exp(row[label]) / torch.exp(row[: classes_up_to(task)]).sum())
            continue
        own = range(classes_up_to(task_of(label) - 1), classes_up_to(task_of(label)))
        for unit in own:
            chance = 1 / (1 + torch.exp(-row[unit]))
            total = total - torch.log(chance if unit == label else 1 - chance) / len(own)
    return total / len(labels)


def descend(network, optimiser, loss):
    """One step of a module down a loss."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()


def optimised(network, config, rate):
    return OPTIMISERS[config.train.optimiser](network.parameters(), lr=rate)


def agree(method, network):
    np.testing.assert_allclose(method.phi.numpy(), flat(network).numpy(), **CLOSE)


# One model


@either
@each_optimiser
@pytest.mark.parametrize("loss", ["seen", "task"])
@pytest.mark.parametrize("name", ["finetune", "joint", "replay", "replay-balanced"])
def test_descent_is_one_optimiser_a_task(name, loss, optimiser):
    """The four differ in their batches alone; the rate comes with each step."""
    method, stream, network, config = created(name, **{"train.optimiser": optimiser, "train.loss": loss})
    assert type(method) is Descent
    for task in (1, 2):
        own = optimised(network, config, 1.0)
        for epoch in (0, 1):
            method.begin(task, epoch)
            for number, rate in enumerate((0.05, 0.02)):
                own.param_groups[0]["lr"] = rate
                batch = batch_of(stream, tuple(range(1, task + 1)), 12, 10 * task + number)
                network.train()
                value = descend(network, own, literal_loss(loss, network(batch.images)[0], batch.labels, task))
                assert method.step(batch, rate, True) == (pytest.approx(value, rel=1e-10), None)
                agree(method, network)


# Task models of equal weight


@either
@each_optimiser
@pytest.mark.parametrize("loss", ["seen", "task"])
@pytest.mark.parametrize("inner_steps", [1, 2, 3])
def test_itaml_is_the_mean_of_task_models(inner_steps, loss, optimiser):
    """K clean steps of each from the base; then the base moves to their mean by alpha, its statistics too."""
    settings = {"train.optimiser": optimiser, "train.loss": loss, "fusion.inner_steps": inner_steps}
    method, stream, network, config = created("itaml", **settings)
    for number, (task, tasks) in enumerate([(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (3, (1, 3)), (3, (3,))]):
        method.begin(task, number)
        batch = batch_of(stream, tasks, 13, number)
        before, models, first = flat(network), [], 0.0
        for i in tasks:
            mine = of_task(batch.labels, i)
            model = copy.deepcopy(network).train()
            own = optimised(model, config, 0.1)
            for step in range(inner_steps):
                logits = model(batch.images[mine])[0]
                value = descend(model, own, literal_loss(loss, logits, batch.labels[mine], task))
                first += value * int(mine.sum()) / 13 if step == 0 else 0
            models.append(flat(model))
        alpha = math.exp(-0.7 * (task - 1) / TASKS)
        expected = alpha * sum(models) / len(models) + (1 - alpha) * before
        value, fused = method.step(batch, 0.1, True)
        assert fused is None and value == pytest.approx(first, rel=1e-10)
        np.testing.assert_allclose(method.phi.numpy(), expected.numpy(), **CLOSE)
        assert abs(expected - before).max() > 1e-3
        set_to(network, expected)


def set_to(network, phi):
    """The module's own parameters and statistics set to those of a flat vector."""
    with torch.no_grad():
        start = 0
        for values in [*network.parameters(), network.norm.running_mean, network.norm.running_var]:
            values.copy_(phi[start : start + values.numel()].view(values.shape))
            start += values.numel()


# Weights that mattered


def literal_fisher(network, images, labels, classes):
    """mean over samples of (d log p(y|x) / d phi)^2, one sample after the other, in evaluation mode."""
    network = copy.deepcopy(network).eval()
    squares = [torch.zeros_like(weight) for weight in network.parameters()]
    for image, label in zip(images, labels, strict=True):
        row = network(image[None])[0][0]
        gradients = torch.autograd.grad(torch.log(torch.exp(row[label]) / torch.exp(row[:classes]).sum()),
                                        list(network.parameters()))  # fmt: skip
        for square, gradient in zip(squares, gradients, strict=True):
            square += gradient**2 / len(images)
    return squares


def drawn_for_fisher(network, stream, task, seed, most):
    """Up to `most` samples of the task and labels drawn from the model's own answer, in the order of the method."""
    generator = generator_for(seed, IMPORTANCE, task)
    members = stream.of_task(stream.train, task)
    indices = members[torch.randperm(len(members), generator=generator)[:most]]
    images = stream.train[indices].images
    network = copy.deepcopy(network).eval()
    with torch.no_grad():
        chances = network(images)[0][:, : classes_up_to(task)].softmax(1)
    return images, torch.multinomial(chances, 1, generator=generator)[:, 0].tolist()


@either
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize(("strength", "most"), [(0.0, 200), (3.0, 200), (50.0, 7)])
def test_ewc_descends_on_the_loss_and_a_penalty_for_every_task_before(strength, most, optimiser, monkeypatch):
    """lambda/2 sum_k F_k (phi - phi*_k)^2, each square by itself; statistics of BatchNorm are free."""
    monkeypatch.setattr(ewc, "SAMPLES", most)
    settings = {"consolidation.strength": strength, "train.optimiser": optimiser}
    method, stream, network, config = created("ewc", **settings)
    anchors = []  # (F_k, phi*_k) of every task before
    for task in (1, 2, 3):
        if task > 1:
            sample = drawn_for_fisher(network, stream, task - 1, config.seed, most)
            fisher = literal_fisher(network, *sample, classes_up_to(task - 1))
            anchors.append((fisher, [weight.detach().clone() for weight in network.parameters()]))
        own = optimised(network, config, 0.03)
        for epoch in (0, 1):
            method.begin(task, epoch)
            batch = batch_of(stream, (task,), 12, 10 * task + epoch)
            network.train()
            loss = literal_loss("seen", network(batch.images)[0], batch.labels, task)
            for fisher, anchor in anchors:
                for weight, square, star in zip(network.parameters(), fisher, anchor, strict=True):
                    loss = loss + strength / 2 * (square * (weight - star) ** 2).sum()
            value = descend(network, own, loss)
            assert method.step(batch, 0.03, False)[0] == pytest.approx(value, rel=1e-8)
            agree(method, network)
    assert len(anchors) == 2 and all(float(square.max()) > 0 for square in anchors[0][0])


def test_importance_is_measured_once_a_task_and_not_of_statistics():
    method, _, _, _ = created("ewc")
    method.begin(1, 0)
    assert not method.importance.any()
    method.begin(1, 1)
    assert not method.importance.any()
    method.begin(2, 0)
    first = method.importance
    assert (first >= 0).all() and first[: Normed().c.numel()].all()
    assert not first[method.world.model.learnable :].any()
    method.begin(2, 1)
    assert method.importance is first
    method.begin(3, 0)
    assert (method.importance >= first).all() and not torch.equal(method.importance, first)


def test_consolidated_weights_move_less_the_more_they_mattered():
    method, stream, _, _ = created("ewc", **{"consolidation.strength": 5.0, "train.optimiser": "sgd"})
    loose, _, _, _ = created("ewc", stream, **{"consolidation.strength": 0.0, "train.optimiser": "sgd"})
    moved = []
    for learner in (method, loose):
        learner.begin(2, 0)
        before = learner.phi
        for number in range(20):
            learner.step(batch_of(stream, (2,), 20, number), 0.02, False)
        moved.append((learner.phi - before).abs()[: learner.world.model.learnable])
    important = method.importance[: len(moved[0])].argsort(descending=True)[:5]
    assert (moved[0][important] < moved[1][important]).all()


# Agreeing with the model before


@either
@pytest.mark.parametrize("loss", ["seen", "task"])
@pytest.mark.parametrize(("strength", "temperature"), [(0.0, 2.0), (1.0, 2.0), (3.0, 1.0), (0.5, 7.0)])
def test_lwf_descends_on_the_loss_and_the_distillation_of_the_model_before(strength, temperature, loss):
    """-sum_c y'_c log p'_c over the old classes, both sides softmax at the temperature, y' of a model in evaluation
    mode that stays as it was when the task began."""
    settings = {"distillation.strength": strength, "distillation.temperature": temperature, "train.loss": loss}
    method, stream, network, config = created("lwf", **settings, **{"train.optimiser": "adam"})
    for task in (1, 2, 3):
        before = copy.deepcopy(network).eval()
        own = optimised(network, config, 0.03)
        for epoch in (0, 1):
            method.begin(task, epoch)
            batch = batch_of(stream, (task,), 12, 10 * task + epoch)
            network.train()
            logits, old = network(batch.images)[0], classes_up_to(task - 1)
            total = literal_loss(loss, logits, batch.labels, task)
            for row, image in zip(logits, batch.images, strict=True):
                target = before(image[None])[0][0].detach()
                for unit in range(old):
                    old_share = torch.exp(target[unit] / temperature) / torch.exp(target[:old] / temperature).sum()
                    new_share = torch.exp(row[unit] / temperature) / torch.exp(row[:old] / temperature).sum()
                    total = total - strength * old_share * torch.log(new_share) / 12
            value = descend(network, own, total)
            assert method.step(batch, 0.03, False)[0] == pytest.approx(value, rel=1e-10)
            agree(method, network)


# Exemplars that keep their logits


class LiteralMemory:
    """{index into the training samples: logits when it entered the memory}."""

    def __init__(self):
        self.stored = {}

    def after(self, network, stream, task, budget, seed):
        network = copy.deepcopy(network).eval()
        stored = {}
        for index in exemplars(stream, task, budget, seed).tolist():
            with torch.no_grad():
                now = network(stream.train[torch.tensor([index])].images)[0][0]
            stored[index] = self.stored.get(index, now)
        self.stored = stored


@either
@pytest.mark.parametrize("loss", ["seen", "task"])
@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (2.0, 0.0), (0.0, 1.0)])
def test_dark_replay_equals_its_equation(alpha, beta, loss):
    """L(new) + alpha mean (z' - h(x'))^2 + beta L(h(x''), y''), two draws of a batch's size, one pass for all."""
    settings = {"replay.alpha": alpha, "replay.beta": beta, "train.loss": loss, "train.optimiser": "adam"}
    method, stream, network, config = created("der++", **settings)
    memory = LiteralMemory()
    for task in (1, 2, 3):
        if task > 1:
            memory.after(network, stream, task - 1, 16, config.seed)
        own = optimised(network, config, 0.03)
        for epoch in (0, 1):
            method.begin(task, epoch)
            draws = generator_for(config.seed, REPLAY, task, epoch)
            for number in (0, 1):
                batch = batch_of(stream, (task,), 11, 100 * task + 10 * epoch + number)
                images = batch.images
                if task > 1:
                    picks = torch.randint(len(memory.stored), (22,), generator=draws).tolist()
                    picked = [sorted(memory.stored)[pick] for pick in picks]
                    rehearsed = stream.train[torch.tensor(picked)]
                    images = torch.cat([images, rehearsed.images])
                network.train()
                logits = network(images)[0]
                total = literal_loss(loss, logits[:11], batch.labels, task)
                if task > 1:
                    for row, index in zip(logits[11:22], picked[:11], strict=True):
                        for unit in range(UNITS):
                            total = total + alpha * (row[unit] - memory.stored[index][unit]) ** 2 / (11 * UNITS)
                    total = total + beta * literal_loss(loss, logits[22:], rehearsed.labels[11:], task)
                value = descend(network, own, total)
                assert method.step(batch, 0.03, False)[0] == pytest.approx(value, rel=1e-9)
                agree(method, network)


def test_exemplars_that_stay_keep_their_logits_and_new_ones_get_current_ones():
    method, stream, _, _ = created("der++")
    method.begin(1, 0)
    assert len(method.memory) == len(method.logits) == 0
    method.step(batch_of(stream, (1,), 20, 0), 0.1, False)
    method.begin(2, 0)
    first, then = method.memory.tolist(), method.logits.clone()
    assert first == exemplars(stream, 1, 16, 3).tolist() and then.shape == (16, UNITS)
    for number in range(4):
        method.step(batch_of(stream, (2,), 20, number), 0.1, False)
    method.begin(2, 1)
    assert torch.equal(method.logits, then)  # within a task nothing changes
    method.begin(3, 0)
    second = method.memory.tolist()
    stayed = [index for index in second if index in first]
    assert 0 < len(stayed) < len(second) == 16
    now, _ = method.world.model(method.phi, stream.train[method.memory].images)
    for place, index in enumerate(second):
        if index in stayed:
            assert torch.equal(method.logits[place], then[first.index(index)])
            assert not torch.allclose(method.logits[place], now[place])
        else:
            torch.testing.assert_close(method.logits[place], now[place])
    assert not method.logits.requires_grad


def test_the_draws_of_dark_replay_are_those_of_seed_task_and_epoch():
    def after(seed, epoch):
        method, stream, _, _ = created("der++")
        method.begin(2, 0)
        method.config = method.config.model_copy(update={"seed": seed})
        method.begin(2, epoch)
        method.step(batch_of(stream, (2,), 12, 0), 0.1, False)
        return method.phi

    assert torch.equal(after(0, 1), after(0, 1))
    assert not torch.equal(after(0, 1), after(0, 2)) and not torch.equal(after(0, 1), after(1, 1))


def test_exemplars_of_dark_replay_are_augmented_separately_and_their_logits_are_of_the_image_itself():
    stream = toy_stream(**{"augmentation.flip": True, "augmentation.shift": 1})
    method, _, _, _ = created("der++", stream)
    method.begin(2, 0)
    now, _ = method.world.model(method.phi, stream.train[method.memory].images)
    torch.testing.assert_close(method.logits, now)
    passes, train = [], method.world.model.train
    method.world.model.train = lambda phi, images: passes.append(images) or train(phi, images)
    batch = batch_of(stream, (2,), 12, 0)
    method.step(batch, 0.1, False)
    picks = torch.randint(16, (24,), generator=generator_for(3, REPLAY, 2, 0))
    plain = stream.train[method.memory[picks]]
    assert torch.equal(passes[0][:12], batch.images)  # what learn has augmented already
    moved = stream.augmented(plain, generator_for(3, AUGMENT, REPLAY, 2, 0))
    assert torch.equal(passes[0][12:], moved.images) and not torch.equal(moved.images, plain.images)


# What the released code does


def literal_attack(network, stream, images, labels, epsilon, generator):
    """Cross-entropy over all classes, unseen ones included; statistics of the model stay as they are."""
    probe = copy.deepcopy(network).train()
    mean, std = stream.mean.double().view(-1, 1, 1), stream.std.double().view(-1, 1, 1)
    bound = epsilon / std
    delta0 = (2 * torch.rand(images.shape, generator=generator, dtype=torch.float64) - 1) * bound
    struck = (images + delta0).requires_grad_()
    logits, attention = probe(struck)
    loss = sum(-torch.log(torch.exp(row[label]) / torch.exp(row).sum())
               for row, label in zip(logits, labels.tolist(), strict=True)) / len(labels)  # fmt: skip
    (gradient,) = torch.autograd.grad(loss, struck)
    delta = torch.max(torch.min(delta0 + bound * gradient.sign(), bound), -bound)
    moved = images + (1 - attention.detach() ** 2) * delta
    return torch.max(torch.min(moved, (1 - mean) / std), (0 - mean) / std)


def released(**settings):
    method, stream, network, config = created("ari-released", **{"attack.epsilon": 0.1, **settings})
    method.pixels = Pixels.of(stream.mean.double(), stream.std.double(), config.attack.epsilon)
    return method, stream, network, config


@either
@each_optimiser
@pytest.mark.parametrize("loss", ["seen", "task"])
@pytest.mark.parametrize("inner_steps", [1, 2])
def test_released_ari_is_a_chain_of_steps_of_one_model_with_one_optimiser(inner_steps, loss, optimiser):
    """A chain of steps remains, without task models, distances and weights; then the base is mixed in by alpha."""
    settings = {"train.optimiser": optimiser, "train.loss": loss, "fusion.inner_steps": inner_steps}
    method, stream, network, config = released(**settings)
    network.train()
    for task in (1, 2, 3):
        own = optimised(network, config, 0.03)
        for epoch in (0, 1):
            method.begin(task, epoch)
            noise = generator_for(config.seed, ATTACK, task, epoch)
            for number in (0, 1):
                batch = batch_of(stream, tuple(range(1, task + 1)), 13, 100 * task + 10 * epoch + number)
                before = [weight.detach().clone() for weight in network.parameters()]
                first = 0.0
                for i in range(1, task + 1):
                    mine = of_task(batch.labels, i)
                    x, y = batch.images[mine], batch.labels[mine]
                    for step in range(inner_steps):
                        value = descend(network, own, literal_loss(loss, network(x)[0], y, task))
                        first += value * len(y) / 13 if step == 0 else 0
                        struck = literal_attack(network, stream, x, y, 0.1, noise)
                        descend(network, own, literal_loss(loss, network(struck)[0], y, task))
                alpha = math.exp(-0.7 * (task - 1) / TASKS)
                with torch.no_grad():
                    for weight, start in zip(network.parameters(), before, strict=True):
                        weight.copy_(alpha * weight + (1 - alpha) * start)
                value, fused = method.step(batch, 0.03, True)
                assert fused is None and value == pytest.approx(first, rel=1e-9)
                agree(method, network)  # its statistics too: those of the chain's end


@pytest.mark.parametrize("seed", range(5))
def test_the_fusion_weights_of_the_released_code_have_no_effect(seed):
    """Random weights in place of the computed ones give the same model, to rounding."""
    method, stream, _, _ = released()
    other, _, _, _ = released()
    generator, computed, fused = torch.Generator().manual_seed(seed), [], other.fused

    def random(weights):
        computed.append(weights)
        random_weights = torch.rand(weights.shape, generator=generator, dtype=torch.float64)
        return fused(random_weights / random_weights.sum(0))

    other.fused = random
    for learner in (method, other):
        learner.begin(3, 0)
        for number in range(3):
            learner.step(batch_of(stream, (1, 2, 3), 13, number), 0.05, False)
    np.testing.assert_allclose(other.phi.numpy(), method.phi.numpy(), rtol=1e-10, atol=1e-13)
    tensors = len(list(Normed().parameters()))
    assert all(weights.shape == (3, tensors) for weights in computed)
    for weights in computed:
        np.testing.assert_allclose(weights.sum(0).numpy(), 1)
    assert max(float((weights - 1 / 3).abs().max()) for weights in computed) > 0.05  # they were not equal


@pytest.mark.parametrize("optimiser", ["adam", "radam"])
def test_moments_leak_from_task_to_task_in_the_released_code(optimiser):
    """A fresh optimiser for the second task of a batch gives another result."""
    settings = {"train.optimiser": optimiser, "attack.epsilon": 0.0, "fusion.beta": 0.0}
    method, stream, network, config = released(**settings)
    method.begin(2, 0)
    batch = batch_of(stream, (1, 2), 13, 0)
    method.step(batch, 0.03, False)
    network.train()
    for i in (1, 2):
        mine = of_task(batch.labels, i)
        own = optimised(network, config, 0.03)
        for _ in range(2):
            loss = literal_loss(config.train.loss, network(batch.images[mine])[0], batch.labels[mine], 2)
            descend(network, own, loss)
    assert (method.phi - flat(network)).abs().max() > 1e-3


def test_the_attack_of_the_released_code_reaches_classes_not_seen_yet():
    """Other weights of an unseen class give other images; ARI's attack ignores them."""
    struck = {}
    for name in ("ari-released", "ari"):
        for gap in (0.0, 3.0):
            method, stream, network, _ = created(name, **{"attack.epsilon": 0.1, "train.loss": "seen"})
            method.pixels = Pixels.of(stream.mean.double(), stream.std.double(), 0.1)
            with torch.no_grad():
                network.head.weight[UNITS - 1] += gap * torch.linspace(-1, 1, 18)
            phi = flat(network)
            method.begin(1, 0)
            batch = batch_of(stream, (1,), 10, 0)
            if name == "ari":
                struck[name, gap] = method.attacked(phi, batch).images
            else:
                method.trainee.phi = phi.requires_grad_()
                struck[name, gap] = method.attacked(batch)
    assert not torch.allclose(struck["ari-released", 0.0], struck["ari-released", 3.0])
    assert torch.equal(struck["ari", 0.0], struck["ari", 3.0])


# All of them


@pytest.mark.parametrize("name", ["itaml", "ewc", "lwf", "der++", "ari-released", "replay", "ari", "ari-adam"])
def test_statistics_of_batchnorm_move_and_stay_sound(name):
    """So that evaluation, which uses them, is of the model that was trained."""
    method, stream, network, _ = created(name, **({"attack.epsilon": 0.1} if "attack.epsilon" in keys(name) else {}))
    if name.startswith("ari"):
        method.pixels = Pixels.of(stream.mean.double(), stream.std.double(), 0.1)
    before, learnable = statistics(network).clone(), method.world.model.learnable
    for task in (1, 2):
        method.begin(task, 0)
        for number in range(3):
            method.step(batch_of(stream, tuple(range(1, task + 1)), 12, number), 0.05, False)
    now = method.phi[learnable:]
    assert now.isfinite().all() and (now[2:] > 0).all() and (now - before).abs().min() > 1e-4


@pytest.mark.parametrize("name", ["itaml", "ewc", "lwf", "der++", "ari-released", "replay", "ari", "ari-adam"])
def test_a_reference_to_the_base_is_never_changed(name):
    """phi is replaced: a reference to it is a snapshot."""
    method, stream, _, _ = created(name, **({"attack.epsilon": 0.0} if name in ("ari", "ari-adam") else {}))
    if name == "ari-released":
        method.pixels = Pixels.of(stream.mean.double(), stream.std.double(), 0.1)
    bases = []
    for task in (1, 2):
        method.begin(task, 0)
        for number in range(2):
            bases.append((method.phi, method.phi.clone()))
            method.step(batch_of(stream, tuple(range(1, task + 1)), 12, number), 0.05, False)
    assert all(torch.equal(base, snapshot) for base, snapshot in bases)
    assert not any(torch.equal(base, method.phi) or base.requires_grad for base, _ in bases)


@pytest.mark.parametrize("name", ["itaml", "ewc", "lwf", "der++", "ari-released", "replay"])
def test_numbers_that_are_not_finite_are_reported_as_nan(name):
    method, stream, _, _ = created(name, **{"train.optimiser": "sgd", "train.loss": "seen"})
    if name == "ari-released":
        method.pixels = Pixels.of(stream.mean.double(), stream.std.double(), 0.1)
    method.begin(1, 0)
    batch = batch_of(stream, (1,), 12, 0)
    assert isinstance(batch, Samples)
    losses = [method.step(batch, 1e300, False)[0] for _ in range(3)]
    assert not math.isfinite(losses[-1])
