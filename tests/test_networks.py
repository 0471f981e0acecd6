"""Networks as functions of one flat vector, and an attention that belongs to its image alone."""

import pytest
import torch
from torch import nn

from arli_core.networks import Model, SpatialAttention, build

SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "scenes": (3, 40, 40)}


each_network = pytest.mark.parametrize("name", ["conv", "mlp"])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(shape, count=5, seed=1):
    return torch.randn(count, *shape, generator=seeded(seed))


def varied(model, seed=0):
    """Initial parameters and a little more, so that none of them is where it was built."""
    phi = model.initial(seeded(seed))
    return phi + 0.1 * torch.randn(phi.shape, generator=seeded(seed + 1))


@each_network
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_logits_per_class_and_one_attention_map_per_image(name, shape):
    model = build(name, shape, 7)
    logits, attention = model(varied(model), images(shape))
    assert logits.shape == (5, 7)
    assert attention.shape == (5, 1, *shape[1:])
    assert (attention > 0).all() and (attention < 1).all()
    assert (attention.amax((1, 2, 3)) - attention.amin((1, 2, 3)) > 0.1).all()


@each_network
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_attention_of_an_image_does_not_depend_on_its_batch(name, training, shape):
    model = build(name, shape, 4)
    model.network.train(training)
    phi, batch = varied(model), images(shape, 8)
    batch[1:] *= torch.logspace(-2, 2, 7).view(-1, 1, 1, 1)  # batch-mates of every contrast
    logits, attention = model(phi, batch)
    for number in range(8):
        alone = model(phi, batch[number : number + 1])
        torch.testing.assert_close(alone[1][0], attention[number], atol=1e-6, rtol=0)
        torch.testing.assert_close(alone[0][0], logits[number], atol=1e-4, rtol=1e-4)


@each_network
@pytest.mark.parametrize("value", [0.0, -1.5, 3.0])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_constant_images_give_finite_attention_and_finite_gradients(name, value, shape):
    model = build(name, shape, 4)
    phi = varied(model).requires_grad_()
    batch = torch.full((3, *shape), value, requires_grad=True)
    logits, attention = model(phi, batch)
    assert torch.isfinite(attention).all() and torch.isfinite(logits).all()
    for gradient in torch.autograd.grad(logits.square().sum() + attention.sum(), (phi, batch)):
        assert torch.isfinite(gradient).all()


def test_attention_of_constant_features_is_level():
    attention = SpatialAttention()
    with torch.no_grad():
        found = attention(torch.full((2, 4, 9, 9), 5.0))
    torch.testing.assert_close(found, torch.full((2, 1, 9, 9), 0.5), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_dark_objects_draw_the_attention_that_light_ones_draw(shape):
    """A(-X) = A(X): the response is taken of absolute values less their mean, whatever the biases."""
    model = build("conv", shape, 4)
    phi, batch = varied(model), images(shape)
    torch.testing.assert_close(model(phi, -batch)[1], model(phi, batch)[1], atol=1e-5, rtol=0)
    pixels = build("mlp", shape, 4)  # attention on the pixels: brightness of the whole does not matter either
    phi = varied(pixels)
    torch.testing.assert_close(pixels(phi, 2 - batch)[1], pixels(phi, batch)[1], atol=1e-5, rtol=0)


def test_attention_does_not_depend_on_contrast():
    model = build("mlp", SHAPES["mnist"], 4)
    phi, batch = varied(model), images(SHAPES["mnist"])
    torch.testing.assert_close(model(phi, 7 * batch)[1], model(phi, batch)[1], atol=1e-4, rtol=0)


def test_attention_equals_its_formula_in_float64_loops():
    attention = SpatialAttention().double()
    features = torch.randn(2, 3, 9, 8, generator=seeded(3), dtype=torch.float64)
    with torch.no_grad():  # away from its start, which is symmetric
        attention.mix += torch.randn(attention.mix.shape, generator=seeded(4), dtype=torch.float64)
        found = attention(features)
    kernel = attention.mix[0].detach()  # [2, 7, 7]
    for b in range(2):
        response = torch.stack([abs(f - f.mean()) for f in features[b]])
        pooled = torch.stack([response.mean(0), response.max(0).values])  # [2, 9, 8]
        mixed = torch.zeros(9, 8, dtype=torch.float64)
        for y in range(9):
            for x in range(8):
                for v in range(7):
                    for u in range(7):
                        row, column = min(max(y + v - 3, 0), 8), min(max(x + u - 3, 0), 7)
                        mixed[y, x] += (kernel[:, v, u] * pooled[:, row, column]).sum()
        level = (mixed - mixed.mean()) / (mixed.var(correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(found[b, 0], torch.sigmoid(level), rtol=1e-10, atol=1e-10)


@each_network
def test_the_networks_own_values_do_not_matter(name):
    """phi is all there is: nothing learned hides in the module, and nothing there is changed by a call."""
    model = build(name, (1, 8, 8), 4)
    phi, batch = varied(model), images((1, 8, 8))
    before = model(phi, batch)
    assert not list(model.network.buffers())
    for parameter in model.network.parameters():
        parameter.fill_(float("nan"))
    for ours, again in zip(before, model(phi, batch), strict=True):
        assert torch.equal(ours, again)


@each_network
def test_pack_and_unpack_are_inverse(name):
    model = build(name, (1, 8, 8), 4)
    phi = varied(model)
    parts = model.unpack(phi)
    assert {n: p.shape for n, p in parts.items()} == {n: p.shape for n, p in model.network.named_parameters()}
    assert torch.equal(model.pack(parts), phi)
    shuffled = dict(reversed(parts.items()))
    assert torch.equal(model.pack(shuffled), phi)


def test_unpack_gives_views_and_pack_a_copy():
    model = build("conv", (1, 8, 8), 4)
    phi = varied(model)
    parts, kept = model.unpack(phi), phi.clone()
    packed = model.pack(parts)
    packed.zero_()
    assert torch.equal(phi, kept)
    parts["head.bias"].zero_()
    assert not torch.equal(phi, kept)


def test_foreign_weights_are_named():
    model = build("conv", (1, 8, 8), 4)
    parts = model.unpack(varied(model))
    other = build("conv", (1, 8, 8), 6)
    with pytest.raises(ValueError, match=r"another network: head\.bias, head\.weight differ"):
        other.pack(parts)
    with pytest.raises(ValueError, match=r"second\.bias"):
        model.pack({name: value for name, value in parts.items() if name != "second.bias"})
    with pytest.raises(ValueError, match=r"fourth\.weight"):
        model.pack({**parts, "fourth.weight": torch.zeros(3)})


@each_network
def test_initial_parameters_come_from_their_generator_alone(name):
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first = build(name, (1, 8, 8), 4)
    one = first.initial(seeded(5))
    assert torch.equal(torch.random.get_rng_state(), state)  # nothing of the process's own generator was used
    torch.manual_seed(1)
    second = build(name, (1, 8, 8), 4)
    assert torch.equal(second.initial(seeded(5)), one)
    assert not torch.equal(second.initial(seeded(6)), one)


@each_network
def test_initial_parameters_are_uniform_within_one_over_the_root_of_fan_in(name):
    model = build(name, (3, 40, 40), 10)
    parts = model.unpack(model.initial(seeded()))
    for prefix, module in model.network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = module.weight[0].numel() ** -0.5
            for each, _ in module.named_parameters():
                values = parts[f"{prefix}.{each}"]
                assert abs(values).max() <= bound
                if values.numel() > 90:
                    assert abs(values).max() > 0.9 * bound
                    assert values.std() == pytest.approx(bound / 3**0.5, rel=0.2)


@each_network
def test_the_attention_starts_as_a_blur_of_both_channels_alike(name):
    model = build(name, (1, 8, 8), 4)
    mean, largest = model.unpack(model.initial(seeded()))["attention.mix"][0]
    assert torch.equal(mean, largest) and (mean > 0).all()
    assert torch.equal(mean, mean.T) and torch.equal(mean, mean.flip(0))
    assert mean.argmax() == 24 and mean[3].diff().sign().tolist() == [1, 1, 1, -1, -1, -1]


@each_network
def test_no_parameter_is_idle(name):
    """Every tensor of them, the attention's included, is reached by the loss."""
    model = build(name, (1, 8, 8), 4)
    phi = varied(model).requires_grad_()
    logits, _ = model(phi, images((1, 8, 8), 16))
    (gradient,) = torch.autograd.grad(logits.square().sum(), phi)
    for part in model.unpack(gradient).values():
        assert abs(part).max() > 0


@pytest.mark.parametrize(
    ("name", "shape", "classes", "count"),
    [
        ("conv", (1, 28, 28), 10, 160 + 98 + 32 + 4640 + 64 + 9248 + 64 + 2890),
        ("conv", (3, 40, 40), 4, 448 + 98 + 32 + 4640 + 64 + 9248 + 64 + 1156),
        ("mlp", (1, 28, 28), 10, 98 + 784 * 400 + 400 + 400 * 400 + 400 + 4010),
    ],
)
def test_parameter_counts(name, shape, classes, count):
    model = build(name, shape, classes)
    assert len(model.initial(seeded())) == sum(model.sizes) == count


def test_a_model_calls_any_network_of_logits_and_attention():
    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor([2.0, 3.0]))

        def forward(self, x):
            return x.mean((1, 2, 3))[:, None] * self.scale, torch.sigmoid(x)

    model = Model(Tiny())
    logits, attention = model(torch.tensor([5.0, 7.0]), torch.ones(1, 1, 2, 2))
    assert logits.tolist() == [[5, 7]] and attention.shape == (1, 1, 2, 2)
