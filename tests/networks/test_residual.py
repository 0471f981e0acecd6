"""The residual networks against their descriptions, written out step by step in float64."""

import pytest
import torch
import torch.nn.functional as F

from arli_core.errors import ConfigError
from arli_core.networks import ATTENTIONS, SpatialAttention, build
from arli_core.networks.residual import generalised_mean


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def varied(model):
    phi = model.initial(seeded())
    return (phi + 0.01 * torch.randn(phi.shape, generator=seeded(1))).double()


def images(*shape):
    return torch.randn(shape, generator=seeded(2), dtype=torch.float64)


def formula(parts, x, training):
    """The network as it is described: (logits, A) from named weights."""

    def convolve(name, x):
        return F.conv2d(x, parts[f"{name}.weight"], parts[f"{name}.bias"], padding=1)

    def normalise(name, x):
        mean, variance = parts[f"{name}.running_mean"], parts[f"{name}.running_var"]
        if training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        shape = (1, -1, 1, 1)
        level = (x - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt()
        return parts[f"{name}.weight"].view(shape) * level + parts[f"{name}.bias"].view(shape)

    def relu(x):
        return x * (x > 0)

    def halve(x):
        x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
        return torch.stack([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(0)

    look = SpatialAttention().double()
    look.log_mix.data = parts["attention.log_mix"]
    x = convolve("first", x)
    attention = look(x)
    x = relu(normalise("first_norm", attention * x))
    for stage in range(4):
        for block in range(2):
            at = f"stages.{stage}.{block}"
            skip = x
            if stage > 0 and block == 0:
                skip = normalise(f"{at}.skip.norm", convolve(f"{at}.skip.conv", x))
            x = relu(normalise(f"{at}.first_norm", convolve(f"{at}.first", x)))
            x = relu(normalise(f"{at}.second_norm", convolve(f"{at}.second", x)) + skip)
        if stage in (1, 2):
            x = halve(x)
    pooled = ((x.clamp(min=1e-6) ** 3).flatten(2).sum(2) / (x.shape[2] * x.shape[3])) ** (1 / 3)
    return pooled @ parts["head.weight"].T, attention


@pytest.mark.parametrize("size", [(8, 8), (11, 9)])
def test_the_residual_network_equals_its_description(size):
    model = build("residual", (3, *size), 5)
    phi, batch = varied(model), images(3, 3, *size)
    for outputs, training in ((model(phi, batch), False), (model.train(phi, batch)[:2], True)):
        for ours, literal in zip(outputs, formula(model.unpack(phi), batch, training), strict=True):
            torch.testing.assert_close(ours, literal, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_resnet18_is_torchvisions_with_attention_after_its_first_convolution(attention):
    from torchvision.models import resnet18

    model = build("resnet18", (3, 40, 40), 5, attention)
    phi, batch = varied(model), images(2, 3, 40, 40)
    parts = model.unpack(phi)
    look = ATTENTIONS[attention]().double()
    theirs = resnet18(weights=None, num_classes=5).double()
    for module, prefix in ((look, "attention."), (theirs, "trunk.")):
        own = {name.removeprefix(prefix): value for name, value in parts.items() if name.startswith(prefix)}
        missing, unexpected = module.load_state_dict(own, strict=False)
        assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    maps = []

    def attend(module, inputs, features):
        maps.append(look(features))
        return features * maps[-1]

    theirs.conv1.register_forward_hook(attend)
    for training in (False, True):
        outputs = model.train(phi, batch) if training else model(phi, batch)
        look.train(training)
        torch.testing.assert_close(outputs[0], theirs.train(training)(batch))
        torch.testing.assert_close(outputs[1], maps[-1])
    after = look.state_dict(prefix="attention.") | theirs.state_dict(prefix="trunk.")
    torch.testing.assert_close(outputs[2], torch.cat([after[name] for name in model.buffers]))


def test_resnet18s_attention_has_half_the_images_size():
    model = build("resnet18", (3, 224, 224), 5)
    with torch.no_grad():
        logits, attention = model(model.initial(seeded()), torch.zeros(1, 3, 224, 224))
    assert logits.shape == (1, 5) and attention.shape == (1, 1, 112, 112)


@pytest.mark.parametrize(("name", "channels"), [("residual", 1), ("resnet18", 1), ("residual", 3), ("resnet18", 3)])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_smallest_images_train(name, channels, attention):
    """8x8, of one colour and of noise: logits, A and gradients are finite."""
    model = build(name, (channels, 8, 8), 2, attention)
    phi = model.initial(seeded()).requires_grad_()
    batch = images(3, channels, 8, 8).float()
    batch[0] = 0.5
    for call in (model, model.train):
        logits, attention_map = call(phi, batch)[:2]
        assert attention_map.shape == ((3, 1, 8, 8) if name == "residual" else (3, 1, 4, 4))
        (gradient,) = torch.autograd.grad(logits.square().sum() + attention_map.sum(), phi)
        assert torch.isfinite(logits).all() and torch.isfinite(gradient).all()


@pytest.mark.parametrize(("name", "size"), [("residual", 8), ("resnet18", 33)])
def test_one_image_alone_can_train(name, size):
    """A task with a single sample in its batch; resnet18 below 33x33 leaves BatchNorm a single value."""
    model = build(name, (1, size, size), 2)
    phi = model.initial(seeded())
    assert torch.isfinite(model.train(phi, images(1, 1, size, size).float())[0]).all()
    if name == "resnet18":
        with pytest.raises(ConfigError, match=r"images of 32x32 are too small.*data\.image_size"):
            model.train(phi, images(1, 1, size - 1, size - 1).float())


def test_generalised_mean():
    features = torch.rand(2, 3, 4, 5, generator=seeded(), dtype=torch.float64)
    torch.testing.assert_close(generalised_mean(features, 1.0), features.mean((2, 3)))
    torch.testing.assert_close(generalised_mean(features, 200.0), features.amax((2, 3)), rtol=0.02, atol=0)
    assert (generalised_mean(features) > features.mean((2, 3))).all()
    level = torch.full((1, 2, 4, 4), 0.7, dtype=torch.float64)
    torch.testing.assert_close(generalised_mean(level), torch.full((1, 2), 0.7, dtype=torch.float64))
    zeros = torch.zeros(1, 2, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(generalised_mean(zeros).sum(), zeros)
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(generalised_mean(zeros), torch.full((1, 2), 1e-6))
