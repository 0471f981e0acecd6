"""Attributions are Captum's own, and modules that are not ours are used unchanged."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Occlusion, Saliency
from torch import nn

from arli_core.analysis.attribution import METHODS, attribute, blurred, last_convolution, look, with_attention
from arli_core.networks import ATTENTIONS, build


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(shape=(3, 20, 20), count=4):
    return torch.randn(count, *shape, generator=seeded(1))


@pytest.fixture(scope="module")
def module():
    model = build("conv", (3, 20, 20), 5)
    return model.module(model.initial(seeded()))


class LogitsAlone(nn.Module):
    """A user's network: it returns no attention, but computes a map inside."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Dropout(0.5))
        self.gate = nn.Sequential(nn.Conv2d(4, 1, 1), nn.Sigmoid())
        self.head = nn.Linear(4, 6)

    def forward(self, x):
        features = self.body(x)
        return self.head((features * self.gate(features)).mean((2, 3)))


TARGETS = [0, 3, 1, 4]


def test_every_method_equals_captum_called_directly(module):
    batch = images()

    def logits(x):
        return module(x)[0]

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = module

        def forward(self, x):
            return logits(x)

    targets = torch.tensor(TARGETS)
    inputs = batch.clone().requires_grad_()
    cam = LayerGradCam(Logits(), module.third).attribute(inputs, target=targets, relu_attributions=True)
    direct = {
        "saliency": Saliency(logits).attribute(inputs, target=targets),
        "occlusion": Occlusion(logits).attribute(batch, (3, 4, 4), (3, 2, 2), target=targets),
        "Grad-CAM": LayerAttribution.interpolate(cam, (20, 20), "bilinear"),
    }
    for method, values in direct.items():
        attribution = attribute(module, batch, TARGETS, method)
        np.testing.assert_allclose(attribution.values, values.detach().sum(1).numpy(), rtol=1e-5, atol=1e-6)
        assert attribution.delta is None and attribution.converged is None

    attribution = attribute(module, batch, TARGETS, "integrated gradients")
    for number, steps in enumerate(attribution.steps):
        one = slice(number, number + 1)
        values, delta = IntegratedGradients(logits).attribute(
            inputs[one], blurred(batch)[one], target=TARGETS[number],
            n_steps=int(steps), method="riemann_middle", return_convergence_delta=True,
        )  # fmt: skip
        np.testing.assert_allclose(attribution.values[number], values[0].detach().sum(0).numpy(), atol=1e-6)
        assert attribution.delta[number] == pytest.approx(delta.item(), abs=1e-5)


def test_integrated_gradients_sum_to_the_difference_of_logits_or_say_that_they_do_not(module):
    batch = images()
    attribution = attribute(module, batch, TARGETS, "integrated gradients")
    with torch.no_grad():
        rows = torch.arange(4)
        change = module(batch)[0][rows, TARGETS] - module(blurred(batch))[0][rows, TARGETS]
    np.testing.assert_allclose(attribution.values.sum((1, 2)) - attribution.delta, change.numpy(), atol=1e-4)
    np.testing.assert_allclose(attribution.tolerance, np.maximum(0.01 * abs(change.numpy()), 1e-3), rtol=1e-5)
    assert np.isin(attribution.steps, [16, 32, 64, 128, 256, 512, 1024]).all()
    np.testing.assert_array_equal(attribution.converged, abs(attribution.delta) <= attribution.tolerance)
    assert (attribution.converged | (attribution.steps == 1024)).all()


def test_steps_that_cannot_suffice_end_at_1024():
    class Cliff(nn.Module):
        """All of the change at one point, where no gradient is evaluated."""

        def forward(self, x):
            level = x.mean((1, 2, 3))
            return torch.stack([(level > level.detach() - 1e-9) + 0 * level, 5 * x.std((1, 2, 3)).round()], 1), x[
                :, :1
            ]

    attribution = attribute(Cliff(), images(), [1, 1, 1, 1], "integrated gradients")
    assert (attribution.steps == 1024).all() and not attribution.converged.any()


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_in_0_to_1_with_the_largest_at_1(module, method):
    attribution = attribute(module, images(), TARGETS, method)
    assert attribution.values.shape == attribution.scores.shape == (4, 20, 20)
    assert attribution.scores.min() >= 0
    for values, scores in zip(attribution.values, attribution.scores, strict=True):
        assert scores.max() == pytest.approx(1 if values.any() else 0)


@pytest.mark.parametrize("method", METHODS)
def test_an_image_has_the_same_attribution_alone_and_in_a_batch(module, method):
    batch = images()
    whole = attribute(module, batch, TARGETS, method)
    alone = attribute(module, batch[2:3], TARGETS[2:3], method)
    np.testing.assert_allclose(alone.values[0], whole.values[2], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_users_network_is_left_as_it_was(method):
    torch.manual_seed(0)
    network = LogitsAlone().train()
    network.head.eval()
    modes = [part.training for part in network.modules()]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    batch = images()
    copy = batch.clone()
    user = with_attention(network, "gate")
    one, two = (attribute(user, batch, TARGETS, method) for _ in range(2))
    np.testing.assert_array_equal(one.values, two.values)  # dropout is off
    assert [part.training for part in network.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(not part._forward_hooks and not part._backward_hooks for part in network.modules())
    assert torch.equal(batch, copy) and not batch.requires_grad


def test_attention_is_taken_from_an_inner_module():
    torch.manual_seed(0)
    network = LogitsAlone().eval()
    batch = images()
    with torch.no_grad():
        features = network.body(batch)
        answer = look(with_attention(network, "gate"), batch)
        np.testing.assert_allclose(answer.attention, network.gate(features)[:, 0].numpy(), atol=1e-6)
        np.testing.assert_allclose(answer.logits, network(batch).numpy(), atol=1e-6)
    np.testing.assert_allclose(answer.background, 1 - answer.attention**2, atol=1e-6)
    with pytest.raises(ValueError, match=r"layer 'gates': choose from body, body\.0"):
        with_attention(network, "gates")
    network.unused = nn.Identity()
    with pytest.raises(ValueError, match="'unused' was not called"):
        look(with_attention(network, "unused"), batch)


def test_errors_of_a_foreign_module_are_named():
    class Wrong(nn.Module):
        def __init__(self, output):
            super().__init__()
            self.output = output

        def forward(self, x):
            return self.output

    logits, batch = torch.zeros(4, 2), images()
    for output, message in (
        (logits, r"must return \(logits, A\)"),
        ((logits, torch.zeros(4, 3, 5, 5)), r"A must be \[4, 1, h, w\], got \[4, 3, 5, 5\]"),
        ((logits, torch.full((4, 1, 5, 5), 2.0)), r"A must lie in \[0, 1\], got 2 to 2"),
        ((logits, torch.full((4, 1, 5, 5), torch.nan)), r"A must lie in \[0, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            look(Wrong(output), batch)
    assert look(Wrong((logits, torch.rand(4, 1, 5, 5))), batch).attention.shape == (4, 20, 20)


def test_invalid_arguments_are_named(module):
    with pytest.raises(ValueError, match=r"method 'lime': choose from saliency, .*, occlusion"):
        attribute(module, images(), TARGETS, "lime")
    with pytest.raises(ValueError, match=r"one class per image, \[4\], got \[2\]"):
        attribute(module, images(), [0, 1], "saliency")
    with pytest.raises(ValueError, match=r"layer 'fourth': choose from .*third"):
        attribute(module, images(), TARGETS, "Grad-CAM", layer="fourth")
    mlp = build("mlp", (3, 20, 20), 5)
    with pytest.raises(ValueError, match="needs a convolution"):
        attribute(mlp.module(mlp.initial(seeded())), images(), TARGETS, "Grad-CAM")


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_last_convolution_is_not_the_attentions(attention):
    last = {"conv": "third", "masked-conv": "third", "mlp": None, "residual": "stages.3.1.second"}
    for name, layer in {**last, "resnet18": "trunk.layer4.1.conv2"}.items():
        model = build(name, (3, 40, 40), 5, attention)
        assert last_convolution(model.module(model.initial(seeded())), images((3, 40, 40))) == layer


def test_blurred_images_keep_their_mean_colour_and_lose_their_detail():
    batch = images((3, 24, 40))
    blur = blurred(batch)
    assert blur.shape == batch.shape
    assert blur.std() < 0.2 * batch.std()
    level = torch.full((1, 1, 8, 8), 0.3)
    torch.testing.assert_close(blurred(level), level)
    assert blurred(torch.zeros(1, 1, 1, 1)).shape == (1, 1, 1, 1)
