"""Networks as functions of one flat vector, and an attention that belongs to its image alone."""

import copy
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from arli_core import datasets
from arli_core.errors import ConfigError
from arli_core.networks import (
    ATTENTIONS,
    NAMES,
    BorderAttention,
    LocalAttention,
    Model,
    ReleasedAttention,
    SpatialAttention,
    at_image_size,
    build,
)
from arli_core.theory.attack import background_mask

SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "scenes": (3, 40, 40)}


every_network = pytest.mark.parametrize("name", NAMES)
each_network = pytest.mark.parametrize("name", ["conv", "masked-conv", "mlp"])  # those without BatchNorm
each_attention = pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("conv", "per-image"),
        ("masked-conv", "per-image"),
        ("mlp", "per-image"),
        ("conv", "border"),
        ("masked-conv", "local"),
    ],
)
with_batchnorm = pytest.mark.parametrize(
    ("name", "attention"),
    [("conv", "released"), ("mlp", "released"), ("residual", "per-image"), ("residual", "released")],
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(shape, count=5, seed=1):
    return torch.randn(count, *shape, generator=seeded(seed))


def with_mates_of_every_contrast(shape):
    batch = images(shape, 8)
    batch[1:] *= torch.logspace(-2, 2, 7).view(-1, 1, 1, 1)
    return batch


def varied(model, seed=0):
    """Initial parameters with a little noise, so that none has its initial value; less in deep networks, whose
    responses grow with it layer by layer."""
    phi = model.initial(seeded(seed))
    noise = 0.01 if len(model.sizes) > 20 else 0.1
    return phi + noise * torch.randn(phi.shape, generator=seeded(seed + 1))


@each_network
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_logits_per_class_and_one_attention_map_per_image(name, shape):
    model = build(name, shape, 7)
    logits, attention = model(varied(model), images(shape))
    assert logits.shape == (5, 7)
    assert attention.shape == (5, 1, *shape[1:])
    assert (attention > 0).all() and (attention < 1).all()
    assert (attention.amax((1, 2, 3)) - attention.amin((1, 2, 3)) > 0.1).all()


@each_attention
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("data", ["digits", "mnist-5k", "scenes"])
def test_attention_of_an_image_does_not_depend_on_its_batch(name, kind, training, data):
    """In float64, among images of any contrast, to its rounding; in float32, on real images, to 1e-6, and three times
    that where responses are divided by a strength down to sqrt(FLOOR), a third, of their mean."""
    dataset = datasets.load(data)
    model = build(name, dataset.shape, 4, kind)
    call = model.train if training else model
    for batch, phi, most in (
        (with_mates_of_every_contrast(dataset.shape).double(), varied(model).double(), 1e-12),
        (
            torch.tensor(dataset.test.images[:8]).float() / 127.5 - 1,
            model.initial(seeded()),
            3e-6 if kind == "local" else 1e-6,
        ),
    ):
        logits, attention = call(phi, batch)[:2]
        for number in range(8):
            alone = call(phi, batch[number : number + 1])
            torch.testing.assert_close(alone[1][0], attention[number], atol=most, rtol=0)
            torch.testing.assert_close(alone[0][0], logits[number], atol=100 * most, rtol=1e-4)


@each_attention
@pytest.mark.parametrize("value", [0.0, -1.5, 3.0])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_constant_images_give_finite_attention_and_finite_gradients(name, kind, value, shape):
    model = build(name, shape, 4, kind)
    phi = varied(model).requires_grad_()
    batch = torch.full((3, *shape), value, requires_grad=True)
    logits, attention = model(phi, batch)
    assert torch.isfinite(attention).all() and torch.isfinite(logits).all()
    for gradient in torch.autograd.grad(logits.square().sum() + attention.sum(), (phi, batch)):
        assert torch.isfinite(gradient).all()


OURS = pytest.mark.parametrize("kind", [SpatialAttention, BorderAttention, LocalAttention])


@OURS
def test_attention_of_constant_features_is_level(kind):
    attention = kind()
    with torch.no_grad():
        maps = attention(torch.full((2, 4, 9, 9), 5.0))
    torch.testing.assert_close(maps, torch.full((2, 1, 9, 9), 0.5), atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_dark_objects_draw_as_much_attention_as_light_ones(shape):
    """A(-X) = A(X): the response is the absolute value of features minus their mean, whatever the biases."""
    model = build("conv", shape, 4)
    phi, batch = varied(model), images(shape)
    torch.testing.assert_close(model(phi, -batch)[1], model(phi, batch)[1], atol=1e-5, rtol=0)
    pixels = build("mlp", shape, 4)  # attention on the pixels: brightness of the whole does not matter either
    phi = varied(pixels)
    torch.testing.assert_close(pixels(phi, 2 - batch)[1], pixels(phi, batch)[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", [SpatialAttention, BorderAttention])
@pytest.mark.parametrize("seed", range(5))
def test_more_response_is_never_less_attention_whatever_is_learned(seed, kind):
    """Raising one response raises, before the normalisation, every place within its 7x7 window: a lone spot on a
    uniform background has the highest A of its image near it."""
    attention = kind()
    features = torch.zeros(1, 3, 21, 21)
    features[:, :, 10, 10] = 1
    with torch.no_grad():
        attention.log_mix += 3 * torch.randn(attention.log_mix.shape, generator=seeded(seed))
        maps = attention(features)[0, 0]
    window = maps[7:14, 7:14].clone()
    maps[7:14, 7:14] = 0
    assert window.min() > maps.max()


@pytest.mark.parametrize("value", [-1.5, 3.0])
def test_the_edge_of_an_image_draws_no_attention_by_itself(value):
    model = build("conv", SHAPES["scenes"], 4)
    maps = model(varied(model), torch.full((2, *SHAPES["scenes"]), value))[1]
    torch.testing.assert_close(maps, torch.full_like(maps, 0.5), atol=1e-4, rtol=0)


def test_attention_does_not_depend_on_contrast():
    model = build("mlp", SHAPES["mnist"], 4)
    phi, batch = varied(model), images(SHAPES["mnist"])
    torch.testing.assert_close(model(phi, 7 * batch)[1], model(phi, batch)[1], atol=1e-4, rtol=0)


@OURS
def test_attention_equals_its_formula_in_float64_loops(kind):
    attention = kind().double()
    features = torch.randn(2, 3, 9, 8, generator=seeded(3), dtype=torch.float64)
    with torch.no_grad():  # away from its start, which is symmetric
        attention.log_mix += torch.randn(attention.log_mix.shape, generator=seeded(4), dtype=torch.float64)
        maps = attention(features)
    log_kernel = attention.log_mix[0].detach()  # [2, 7, 7]
    if kind is LocalAttention:
        turned = [log_kernel.rot90(turn, (1, 2)) for turn in range(4)]
        log_kernel = sum([*turned, *(kernel.transpose(1, 2) for kernel in turned)]) / 8
    kernel = math.e**log_kernel
    for b in range(2):
        edge = torch.tensor([[y in (0, 8) or x in (0, 7) for x in range(8)] for y in range(9)])
        background = [f[edge].mean() if kind is BorderAttention else f.mean() for f in features[b]]
        response = torch.stack([abs(f - level) for f, level in zip(features[b], background, strict=True)])
        if kind is LocalAttention:  # 9 // 6 = 1: a window of 3 x 3
            q = (response**2).mean(0)
            for y in range(9):
                for x in range(8):
                    rows, columns = (
                        [min(max(at + step, 0), end) for step in (-1, 0, 1)] for at, end in ((y, 8), (x, 7))
                    )
                    around = sum(q[row, column] for row in rows for column in columns) / 9
                    response[:, y, x] /= (around + 0.1 * q.mean()) ** 0.5
        pooled = torch.stack([response.mean(0), response.max(0).values])  # [2, 9, 8]
        mixed = torch.zeros(9, 8, dtype=torch.float64)
        for y in range(9):
            for x in range(8):
                for v in range(7):
                    for u in range(7):
                        row, column = min(max(y + v - 3, 0), 8), min(max(x + u - 3, 0), 7)
                        mixed[y, x] += (kernel[:, v, u] * pooled[:, row, column]).sum()
        level = (mixed - mixed.mean()) / (mixed.var(correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(maps[b, 0], torch.sigmoid(level), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_a_stroke_on_a_uniform_background_outdoes_a_texture_of_stronger_contrast(seed):
    """Relative to its surroundings, and only so: over the whole image the texture responds more."""
    generator = seeded(seed)
    features = torch.zeros(1, 1, 40, 40)
    features[..., 20:] = 3 * torch.randn(40, 20, generator=generator).sign()
    stroke = torch.zeros(40, 40, dtype=torch.bool)
    stroke[12:28, 8:10] = True
    features[0, 0, stroke] = 2
    with torch.no_grad():
        local, whole = (kind()(features)[0, 0].flatten() for kind in (LocalAttention, SpatialAttention))
    assert stroke.flatten()[local.argmax()] and whole.argmax() % 40 >= 20


@pytest.mark.parametrize("seed", range(3))
def test_local_attention_is_the_same_in_all_directions_whatever_it_has_learned(seed):
    attention = LocalAttention()
    features = torch.randn(2, 3, 18, 18, generator=seeded(seed))
    with torch.no_grad():
        attention.log_mix += torch.randn(attention.log_mix.shape, generator=seeded(seed + 10))
        maps = attention(features)
        for turned in (lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.transpose(-1, -2)):
            torch.testing.assert_close(attention(turned(features)), turned(maps), atol=1e-5, rtol=0)


@pytest.mark.parametrize("share", [0.25, 0.6, 0.75])
def test_with_border_attention_an_object_may_fill_most_of_the_image(share):
    """The border's level separates object and background whatever the object's size; the mean does up to half."""
    features = torch.zeros(1, 1, 20, 20)
    side = round(20 * share**0.5)
    begin = (20 - side) // 2
    features[:, :, begin : begin + side, begin : begin + side] = 1
    inside = features[0, 0].bool()
    with torch.no_grad():
        border, mean = (kind()(features)[0, 0] for kind in (BorderAttention, SpatialAttention))
    assert border[inside].mean() > border[~inside].mean() + 0.3
    assert (mean[inside].mean() > mean[~inside].mean() + 0.3) == (share < 0.5)


@every_network
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_networks_own_values_do_not_matter(name, attention):
    """phi is all there is: the module holds nothing learned, and a call changes nothing in it."""
    model = build(name, (1, 8, 8), 4, attention)
    values = copy.deepcopy(model.network.state_dict())
    phi, batch = varied(model), images((1, 8, 8))
    before = (*model(phi, batch), *model.train(phi, batch))
    assert all(torch.equal(value, values[key]) for key, value in model.network.state_dict().items())
    for value in (*model.network.parameters(), *model.network.buffers()):
        value.fill_(float("nan") if value.is_floating_point() else 7)
    for ours, again in zip(before, (*model(phi, batch), *model.train(phi, batch)), strict=True):
        assert torch.equal(ours, again)


@every_network
def test_pack_and_unpack_are_inverse(name):
    model = build(name, (1, 8, 8), 4)
    phi = varied(model)
    parts = model.unpack(phi)
    state = model.network.state_dict()
    assert {n: p.shape for n, p in parts.items()} == {n: v.shape for n, v in state.items() if v.is_floating_point()}
    assert torch.equal(model.pack(parts), phi)
    shuffled = dict(reversed(parts.items()))
    assert torch.equal(model.pack(shuffled), phi)


def test_unpack_gives_views_and_pack_a_copy():
    model = build("conv", (1, 8, 8), 4)
    phi = varied(model)
    parts, snapshot = model.unpack(phi), phi.clone()
    packed = model.pack(parts)
    packed.zero_()
    assert torch.equal(phi, snapshot)
    parts["head.bias"].zero_()
    assert not torch.equal(phi, snapshot)


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


@every_network
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
            for key, _ in module.named_parameters():
                values = parts[f"{prefix}.{key}"]
                assert abs(values).max() <= bound
                if values.numel() > 90:
                    assert abs(values).max() > 0.9 * bound
                    assert values.std() == pytest.approx(bound / 3**0.5, rel=0.2)


@every_network
def test_the_attention_starts_as_a_blur_of_both_channels_alike(name):
    model = build(name, (1, 8, 8), 4)
    mean, largest = model.unpack(model.initial(seeded()))["attention.log_mix"][0]
    assert torch.equal(mean, largest) and mean.isfinite().all()
    assert torch.equal(mean, mean.T) and torch.equal(mean, mean.flip(0))
    assert mean.argmax() == 24 and mean[3].diff().sign().tolist() == [1, 1, 1, -1, -1, -1]


@every_network
def test_no_parameter_is_idle(name):
    """Every tensor of them, the attention's included, is reached by the loss; running statistics are not trained."""
    model = build(name, (1, 8, 8), 4)
    phi = varied(model).requires_grad_()
    logits, _ = model(phi, images((1, 8, 8), 16))
    (gradient,) = torch.autograd.grad(logits.square().sum(), phi)
    for key, part in model.unpack(gradient).items():
        assert (abs(part).max() > 0) == (key not in model.buffers), key


# A residual stage by hand: two blocks of two convolutions, each with a bias, a gain and a shift per channel; the
# first block of a wider stage has a third convolution for its skip.
STAGES = (
    4 * (21 * 21 * 9 + 21 + 42)
    + (2 * (21 * 42 * 9 + 42 + 84) + 3 * (42 * 42 * 9 + 42 + 84))
    + (2 * (42 * 85 * 9 + 85 + 170) + 3 * (85 * 85 * 9 + 85 + 170))
    + (2 * (85 * 170 * 9 + 170 + 340) + 3 * (170 * 170 * 9 + 170 + 340))
)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "count", "buffers"),
    [
        ("conv", (1, 28, 28), 10, 160 + 98 + 32 + 4640 + 64 + 9248 + 64 + 2890, 0),
        ("conv", (3, 40, 40), 4, 448 + 98 + 32 + 4640 + 64 + 9248 + 64 + 1156, 0),
        ("masked-conv", (3, 40, 40), 10, 448 + 272 + 2320 + 96 + 98 + 4640 + 64 + 9248 + 64 + 2890, 0),
        ("mlp", (1, 28, 28), 10, 98 + 784 * 400 + 400 + 400 * 400 + 400 + 4010, 0),
        ("residual", (3, 32, 32), 100, 588 + 98 + 42 + STAGES + 17000, 2 * (5 * 21 + 5 * 42 + 5 * 85 + 5 * 170)),
        ("resnet18", (3, 224, 224), 1000, 11_689_512 + 98, 2 * (64 + 4 * 64 + 5 * 128 + 5 * 256 + 5 * 512)),
        ("resnet18", (3, 224, 224), 100, 11_689_512 - 900 * 513 + 98, 9600),
        ("resnet18", (1, 28, 28), 10, 11_689_512 - 990 * 513 + 98 - 2 * 64 * 49, 9600),
    ],
)
def test_parameter_counts(name, shape, classes, count, buffers):
    model = build(name, shape, classes)
    assert model.learnable == count
    assert len(model.initial(seeded())) == sum(model.sizes) == count + buffers
    released = build(name, shape, classes, "released")  # a gain and a shift more, a mean and a variance
    assert (released.learnable, sum(released.sizes)) == (count + 2, count + buffers + 4)


def test_the_papers_cifar_network_has_1_40_million_parameters():
    for attention in ATTENTIONS:
        assert round(build("residual", (3, 32, 32), 100, attention).learnable / 1e6, 2) == 1.40


@pytest.mark.parametrize("size", [(8, 8), (13, 10)])
def test_masked_conv_equals_its_description(size):
    """What B = 1 - A∘A calls background is masked from the head, cell by cell."""
    model = build("masked-conv", (3, *size), 5)
    phi, batch = varied(model).double(), images((3, *size), 2).double()
    logits, attention = model(phi, batch)
    part = model.unpack(phi)

    def normalised(x, name):
        groups = x.view(len(x), 4, -1)
        flat = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
        return flat.view_as(x) * part[f"{name}.weight"].view(-1, 1, 1) + part[f"{name}.bias"].view(-1, 1, 1)

    def convolved(x, name, mode="constant"):
        weight = part[f"{name}.weight"]
        pad = weight.shape[-1] // 2
        padded = nn.functional.pad(x, (pad,) * 4, mode=mode)
        return nn.functional.conv2d(padded, weight, part[f"{name}.bias"])

    x = convolved(batch, "early.0", "replicate")
    x = convolved(normalised(x, "early_norms.0").clamp(min=0), "early.1")
    x = convolved(normalised(x, "early_norms.1").clamp(min=0), "early.2", "replicate")
    look = SpatialAttention().double()
    look.load_state_dict({"log_mix": part["attention.log_mix"]})
    torch.testing.assert_close(attention, look(x))
    x = nn.functional.max_pool2d(normalised(x * attention, "early_norms.2").clamp(min=0), 2)
    x = nn.functional.max_pool2d(normalised(convolved(x, "second"), "second_norm").clamp(min=0), 2)
    x = normalised(convolved(x, "third"), "third_norm").clamp(min=0)
    for h in range(x.shape[2]):
        for w in range(x.shape[3]):
            cell = attention[:, :, 4 * h : 4 * h + 4, 4 * w : 4 * w + 4]
            x[:, :, h, w] *= (1 - background_mask(cell)).amax((2, 3))
    pooled = nn.functional.adaptive_avg_pool2d(x, 3).flatten(1)
    torch.testing.assert_close(logits, pooled @ part["head.weight"].T + part["head.bias"])


def test_recorded_weights_keep_their_names_and_their_start():
    """Runs recorded before are read by these names; the same seed starts the same run."""
    conv = build("conv", (1, 8, 8), 4)
    assert list(conv.shapes) == [
        *("first.weight", "first.bias", "attention.log_mix", "first_norm.weight", "first_norm.bias"),
        *("second.weight", "second.bias", "second_norm.weight", "second_norm.bias"),
        *("third.weight", "third.bias", "third_norm.weight", "third_norm.bias", "head.weight", "head.bias"),
    ]
    mlp = build("mlp", (1, 8, 8), 4)
    assert list(mlp.shapes) == [
        *(
            "attention.log_mix",
            "first.weight",
            "first.bias",
            "second.weight",
            "second.bias",
            "head.weight",
            "head.bias",
        )
    ]
    expected = (2 * torch.rand(16, 1, 3, 3, generator=seeded(5)) - 1) * (1 / 3)
    assert torch.equal(conv.unpack(conv.initial(seeded(5)))["first.weight"], expected)
    expected = (2 * torch.rand(400, 64, generator=seeded(5)) - 1) * (1 / 8)
    assert torch.equal(mlp.unpack(mlp.initial(seeded(5)))["first.weight"], expected)


@pytest.mark.parametrize("name", ["residual", "resnet18"])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_deep_networks_start_by_he(name, attention):
    """Convolutions N(0, 2 / fan-out), the attention's and the head as in the small ones; biases and shifts 0, gains
    1, mean 0, variance 1."""
    model = build(name, (3, 32, 32), 10, attention)
    parts = model.unpack(model.initial(seeded()))
    for prefix, module in model.network.named_modules():
        if prefix == "attention.mix" or isinstance(module, nn.Linear):
            bound = module.weight[0].numel() ** -0.5
            assert 0.9 * bound < abs(parts[f"{prefix}.weight"]).max() <= bound
        elif isinstance(module, nn.Conv2d):
            weight = parts[f"{prefix}.weight"]
            deviation = (2 / (weight.shape[0] * weight.shape[2] * weight.shape[3])) ** 0.5
            assert weight.std() == pytest.approx(deviation, rel=0.1)
            assert abs(weight.mean()) < 0.2 * deviation and abs(weight).max() > 2.5 * deviation
            assert module.bias is None or not parts[f"{prefix}.bias"].any()
        elif isinstance(module, nn.BatchNorm2d):
            assert (parts[f"{prefix}.weight"] == 1).all() and not parts[f"{prefix}.bias"].any()
            assert (parts[f"{prefix}.running_var"] == 1).all() and not parts[f"{prefix}.running_mean"].any()


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


@every_network
def test_without_attention_a_is_one_and_nothing_else_changes(name):
    """The same parameters but the attention's, which see the plain features."""
    model, with_one = build(name, (3, 16, 16), 4, "none"), build(name, (3, 16, 16), 4)
    assert set(with_one.shapes) - set(model.shapes) == {"attention.log_mix"}
    phi, batch = varied(model), images((3, 16, 16))
    logits, attention = model(phi, batch)
    assert (attention == 1).all() and attention.shape[:2] == (5, 1)
    network = with_one.module(with_one.pack(model.unpack(phi) | {"attention.log_mix": torch.zeros(1, 2, 7, 7)}))
    network.attention.register_forward_hook(lambda module, inputs, output: torch.ones_like(output))
    with torch.no_grad():
        torch.testing.assert_close(network(batch)[0], logits)


def test_unknown_names_are_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match="'vgg': choose from conv, masked-conv, mlp, residual, resnet18"):
        build("vgg", (1, 8, 8), 4)
    with pytest.raises(ValueError, match="'bam': choose from per-image, border, local, released, none"):
        build("conv", (1, 8, 8), 4, "bam")


def test_the_other_networks_do_not_import_torchvision():
    code = (
        "import sys; from arli_core.networks import build; build('residual', (3, 8, 8), 2);"
        "assert 'torchvision' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


@with_batchnorm
def test_training_equals_a_plain_module_in_training_mode(name, attention):
    """Three steps of gradient descent by phi, and by the module itself: the same logits, A, gradients, weights,
    running statistics; then the same in evaluation mode."""
    model = build(name, (2, 8, 8), 3, attention)
    phi = varied(model).double()
    plain = copy.deepcopy(model.network).double().requires_grad_()
    plain.load_state_dict(model.unpack(phi), strict=False)
    batches = images((2, 8, 8), 12).double().split(4)
    plain.train()
    for batch in batches:
        phi.requires_grad_()
        logits, maps, buffers = model.train(phi, batch)
        (gradient,) = torch.autograd.grad(logits.square().sum() + maps.sum(), phi)
        assert not buffers.requires_grad and not gradient[model.learnable :].any()
        phi = phi.detach() - 0.01 * gradient
        phi[model.learnable :] = buffers

        expected, expected_attention = plain(batch)
        torch.testing.assert_close(logits, expected)
        torch.testing.assert_close(maps, expected_attention)
        slopes = torch.autograd.grad(expected.square().sum() + expected_attention.sum(), list(plain.parameters()))
        torch.testing.assert_close(gradient[: model.learnable], torch.cat([slope.flatten() for slope in slopes]))
        with torch.no_grad():
            for parameter, slope in zip(plain.parameters(), slopes, strict=True):
                parameter -= 0.01 * slope
        for key, value in model.unpack(phi).items():
            torch.testing.assert_close(value, plain.state_dict()[key])
    plain.eval()
    for ours, theirs in zip(model(phi, batches[0]), plain(batches[0]), strict=True):
        torch.testing.assert_close(ours, theirs)


@with_batchnorm
def test_several_models_at_once(name, attention):
    """vmap over a stack of phi is each of them in turn, the running statistics included."""
    model = build(name, (2, 8, 8), 3, attention)
    models = torch.stack([varied(model, seed).double() for seed in range(3)])
    batches = images((2, 8, 8), 12).double().view(3, 4, 2, 8, 8)
    for call in (model, model.train):
        for number, outputs in enumerate(zip(*torch.func.vmap(call)(models, batches), strict=True)):
            for ours, alone in zip(outputs, call(models[number], batches[number]), strict=True):
                torch.testing.assert_close(ours, alone)


@with_batchnorm
def test_the_attacks_gradient_equals_a_plain_modules(name, attention):
    model = build(name, (2, 8, 8), 3, attention)
    phi = varied(model).double()
    plain = copy.deepcopy(model.network).double()
    plain.load_state_dict(model.unpack(phi), strict=False)
    batch = images((2, 8, 8), 4).double().requires_grad_()
    for call, module in ((model, plain.eval()), (model.train, copy.deepcopy(plain).train())):
        (ours,) = torch.autograd.grad(call(phi, batch)[0].square().sum(), batch)
        (theirs,) = torch.autograd.grad(module(batch)[0].square().sum(), batch)
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs)


@every_network
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_no_call_writes_phi(name, attention):
    model = build(name, (1, 8, 8), 4, attention)
    phi, batch = varied(model).requires_grad_(), images((1, 8, 8))
    snapshot, version = phi.detach().clone(), phi._version
    model(phi, batch)
    _, _, buffers = model.train(phi, batch)
    buffers += 1  # nor does what comes back share its memory
    assert torch.equal(phi, snapshot) and phi._version == version


@each_network
def test_without_batchnorm_training_is_evaluation(name):
    model = build(name, (1, 8, 8), 4)
    phi, batch = varied(model), images((1, 8, 8))
    logits, attention, buffers = model.train(phi, batch)
    assert buffers.shape == (0,) and model.learnable == len(phi)
    assert torch.equal(logits, model(phi, batch)[0]) and torch.equal(attention, model(phi, batch)[1])


def test_running_statistics_by_hand():
    """0.9 running + 0.1 of the batch, with its unbiased variance; normalised by the biased one in training, by the
    running ones in evaluation."""

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(1)

        def forward(self, x):
            x = self.norm(x)
            return x.mean((2, 3)), torch.sigmoid(x)

    model = Model(Tiny())
    assert list(model.shapes) == ["norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"]
    assert model.learnable == 2 and model.sizes == [1, 1, 1, 1]
    phi = torch.tensor([3.0, 5.0, 1.0, 4.0], dtype=torch.float64)
    batch = torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64).view(3, 1, 1, 1)  # mean 2, variance 8/3, unbiased 4
    logits, _, buffers = model.train(phi, batch)
    torch.testing.assert_close(buffers, torch.tensor([0.9 * 1 + 0.1 * 2, 0.9 * 4 + 0.1 * 4], dtype=torch.float64))
    torch.testing.assert_close(logits, 3 * (batch.flatten(1) - 2) / (8 / 3 + 1e-5) ** 0.5 + 5)
    torch.testing.assert_close(model(phi, batch)[0], 3 * (batch.flatten(1) - 1) / (4 + 1e-5) ** 0.5 + 5)
    with pytest.raises(ConfigError, match="images of 1x1 are too small"):
        model.train(phi, batch[:1])


@with_batchnorm
def test_fused_running_statistics_stay_valid(name, attention):
    """A mean of models, as a row of dif* makes it, has variances no smaller than the least of them."""
    model = build(name, (2, 8, 8), 3, attention)
    phi = model.initial(seeded())
    models = phi.repeat(3, 1)
    for number, batch in enumerate(images((2, 8, 8), 12).split(4)):
        models[number, model.learnable :] = model.train(phi, (number + 1) * batch)[2]
    fused = torch.tensor([0.2, 0.3, 0.5]) @ models
    parts, lowest = model.unpack(fused), model.unpack(models.amin(0))
    for key in model.buffers:
        if key.endswith("running_var"):
            assert (parts[key] >= lowest[key] - 1e-6).all() and (parts[key] > 0).all()
    assert torch.isfinite(model(fused, images((2, 8, 8)))[0]).all()


@every_network
def test_attention_alone_is_attention_in_a_batch_though_batchnorm_follows(name):
    """In training mode too, where the logits of networks with BatchNorm move with the batch."""
    shape = (3, 40, 40)
    model = build(name, shape, 4)
    phi, batch = varied(model), with_mates_of_every_contrast(shape)
    for call in (model, model.train):
        together = call(phi, batch)[1]
        for number in (0, 4, 7):
            alone = call(phi, batch[number : number + 1])[1]
            torch.testing.assert_close(alone[0], together[number], atol=1e-6, rtol=0)


@every_network
def test_released_attention_depends_on_the_batch_in_training(name):
    """Why the default is another: in training, A of an image depends on its batch. In evaluation it does not."""
    shape = (3, 40, 40)
    model = build(name, shape, 4, "released")
    phi, batch = model.initial(seeded()), with_mates_of_every_contrast(shape)
    difference = model.train(phi, batch)[1][0] - model.train(phi, batch[:1])[1][0]
    # Before the attention of masked-conv, GroupNorm has taken out the contrasts of the mates: it moves less there.
    assert abs(difference).max() > (0.02 if name == "masked-conv" else 0.05)
    torch.testing.assert_close(model(phi, batch)[1][0], model(phi, batch[:1])[1][0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_released_attention_equals_its_formula_in_float64_loops(training):
    attention = ReleasedAttention().double().requires_grad_(False).train(training)
    gain, shift, mean, variance = 1.5, -0.3, 0.4, 0.02
    attention.mix.weight.copy_(torch.randn(1, 2, 7, 7, generator=seeded(4)))
    for key, value in {"weight": gain, "bias": shift, "running_mean": mean, "running_var": variance}.items():
        getattr(attention.norm, key).fill_(value)
    features = torch.randn(2, 3, 9, 8, generator=seeded(3), dtype=torch.float64)
    mixed = torch.zeros(2, 9, 8, dtype=torch.float64)
    for b in range(2):
        pooled = torch.stack([features[b].mean(0), features[b].max(0).values])
        for y in range(9):
            for x in range(8):
                for v in range(7):
                    for u in range(7):
                        row, column = y + v - 3, x + u - 3
                        if 0 <= row < 9 and 0 <= column < 8:
                            mixed[b, y, x] += (attention.mix.weight[0, :, v, u] * pooled[:, row, column]).sum()
    once = 1 / (1 + (-mixed).exp())
    if training:
        mean, variance = once.mean(), once.var(correction=0)
    level = gain * (once - mean) / (variance + 1e-5) ** 0.5 + shift
    torch.testing.assert_close(attention(features)[:, 0], 1 / (1 + (-level).exp()), rtol=1e-10, atol=1e-10)


def test_attention_at_image_size():
    attention = torch.rand(2, 1, 4, 5, generator=seeded())
    assert at_image_size(attention, torch.zeros(2, 3, 4, 5)) is attention
    large = at_image_size(attention, torch.zeros(2, 3, 8, 11))
    assert large.shape == (2, 1, 8, 11)
    assert attention.amin() <= large.amin() and large.amax() <= attention.amax()
    row = at_image_size(torch.tensor([[[[0.0, 1.0]]]]), torch.zeros(1, 1, 1, 4))  # between the centres of pixels
    assert row.flatten().tolist() == [0, 0.25, 0.75, 1]
