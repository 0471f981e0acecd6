"""The background attack against a literal float64 version, and the bounds it promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arli_core.analysis.bench import varied_attack
from arli_core.theory.attack import MASKS, Pixels, background_attack, background_mask

light = settings(max_examples=25, deadline=None, derandomize=True)
MEAN, STD = torch.tensor([0.5, 0.2]), torch.tensor([0.25, 0.4])
SHAPE = (3, 2, 4, 5)
WEIGHTS = torch.linspace(-1, 1, 2 * 4 * 5, dtype=torch.float64).view(2, 4, 5)


def pixels(epsilon, dtype=torch.float64):
    return Pixels(*(bound.to(dtype) for bound in Pixels.of(MEAN, STD, epsilon)))


def images(seed, dtype=torch.float64):
    """Valid images in normalised units, black and white pixels among them."""
    generator = torch.Generator().manual_seed(seed)
    raw = (1.4 * torch.rand(SHAPE, generator=generator, dtype=torch.float64) - 0.2).clamp(0, 1)
    return ((raw - MEAN.view(-1, 1, 1)) / STD.view(-1, 1, 1)).to(dtype)


def loss_and_attention(x):
    """loss = sum over pixels of w x A^2 + x^3, A = sigmoid(sum over channels of x)."""
    attention = torch.sigmoid(x.sum(1, keepdim=True))
    return (WEIGHTS.to(x.dtype) * x * attention**2).sum() + (x**3).sum(), attention


def literal_attack(x, epsilon, noise, steps=1, mask=lambda a: 1 - a * a):
    """One pixel at a time in plain numbers: images, perturbation and mask."""
    mean, std, weights = MEAN.tolist(), STD.tolist(), WEIGHTS.numpy()
    attacked, delta = np.zeros(SHAPE), np.zeros(SHAPE)
    background = np.zeros((SHAPE[0], 1, *SHAPE[2:]))
    for b in range(SHAPE[0]):
        for h in range(SHAPE[2]):
            for w in range(SHAPE[3]):
                strength = [epsilon / std[c] for c in range(2)]
                moved = [(2 * noise[b, c, h, w] - 1) * strength[c] for c in range(2)]
                for _ in range(steps):
                    z = [x[b, c, h, w] + moved[c] for c in range(2)]
                    a = 1 / (1 + np.exp(-sum(z)))
                    through_attention = sum(weights[c, h, w] * z[c] for c in range(2)) * 2 * a * a * (1 - a)
                    for c in range(2):
                        gradient = weights[c, h, w] * a * a + through_attention + 3 * z[c] ** 2
                        step = 2 * strength[c] / (steps + 1) * np.sign(gradient)
                        moved[c] = min(max(moved[c] + step, -strength[c]), strength[c])
                background[b, 0, h, w] = mask(a)
                for c in range(2):
                    delta[b, c, h, w] = moved[c]
                    value = x[b, c, h, w] + background[b, 0, h, w] * moved[c]
                    attacked[b, c, h, w] = min(max(value, (0 - mean[c]) / std[c]), (1 - mean[c]) / std[c])
    return attacked, delta, background


@pytest.mark.parametrize("epsilon", [1 / 255, 0.03, 0.3])
@pytest.mark.parametrize(
    ("steps", "name", "mask"),
    [
        (1, "1 − A∘A", lambda a: 1 - a * a),
        (3, "1 − A∘A", lambda a: 1 - a * a),
        (1, "1 − A", lambda a: 1 - a),
        (4, "A < 1/2", lambda a: float(a < 0.5)),
    ],
)
def test_equal_to_the_literal_attack(epsilon, steps, name, mask):
    x = images(0)
    attacked = varied_attack(loss_and_attention, x, pixels(epsilon), torch.Generator().manual_seed(7), steps, name)
    noise = torch.rand(SHAPE, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    for ours, literal in zip(attacked, literal_attack(x.numpy(), epsilon, noise.numpy(), steps, mask), strict=True):
        np.testing.assert_allclose(ours.numpy(), literal, rtol=1e-6, atol=1e-7)  # mean and std are float32
    assert (attacked.delta[0] != attacked.delta[1]).any()
    if (steps, name) == (1, next(iter(MASKS))):  # the method's own
        method = background_attack(loss_and_attention, x, pixels(epsilon), torch.Generator().manual_seed(7))
        assert all(map(torch.equal, method, attacked))


@light
@given(seed=st.integers(0, 10**6), epsilon=st.floats(0, 1), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_attacked_images_are_valid_and_within_epsilon_of_the_background(seed, epsilon, dtype):
    x, bounds = images(seed, dtype), pixels(epsilon, dtype)
    attacked, delta, background = background_attack(
        loss_and_attention, x, bounds, torch.Generator().manual_seed(seed)
    )
    assert (attacked >= bounds.low).all() and (attacked <= bounds.high).all()
    raw = attacked * STD.view(-1, 1, 1) + MEAN.view(-1, 1, 1)
    assert raw.min() > -1e-5 and raw.max() < 1 + 1e-5
    assert (abs(delta) <= bounds.epsilon).all()
    assert ((background >= 0) & (background < 1)).all() and background.shape == (3, 1, 4, 5)
    assert (abs(attacked - x) <= bounds.epsilon * background + 1e-6).all()
    assert attacked.dtype == dtype and attacked.shape == x.shape


def test_the_attack_reaches_epsilon_in_each_channels_own_units():
    """Far from black and white and without attention, |X~ - X| goes up to epsilon/std of each channel."""
    x = torch.zeros(SHAPE, dtype=torch.float64)  # the mean colour
    attacked = background_attack(
        lambda probe: (probe.sum(), torch.zeros(3, 1, 4, 5)), x, pixels(0.1), torch.Generator().manual_seed(0)
    )
    largest = abs(attacked.images - x).amax((0, 2, 3))
    torch.testing.assert_close(largest, (0.1 / STD).double(), rtol=1e-5, atol=0)
    assert (attacked.images >= 0).all()  # the gradient is positive everywhere: no random start outweighs the step


def test_nothing_is_changed_where_attention_is_full():
    full = torch.ones(3, 1, 4, 5)
    full[:, :, 0] = 0
    attacked = background_attack(
        lambda probe: (probe.sum(), full), images(2), pixels(0.3), torch.Generator().manual_seed(0)
    )
    assert torch.equal(attacked.images[:, :, 1:], images(2)[:, :, 1:])
    assert (attacked.images[:, :, 0] != images(2)[:, :, 0]).any()


def test_the_attack_raises_the_loss():
    x = images(3)
    attacked = background_attack(loss_and_attention, x, pixels(0.02), torch.Generator().manual_seed(0)).images
    assert loss_and_attention(attacked)[0] > loss_and_attention(x)[0]


def test_epsilon_zero_changes_nothing():
    for dtype in (torch.float32, torch.float64):
        x = images(1, dtype)
        attacked = background_attack(loss_and_attention, x, pixels(0.0, dtype), torch.Generator().manual_seed(0))
        assert torch.equal(attacked.images, x) and not attacked.delta.any()


def test_the_generator_determines_the_attack_and_the_global_state_is_not_touched():
    x, state = images(4), torch.random.get_rng_state()

    def attacked(seed):
        return background_attack(loss_and_attention, x, pixels(0.1), torch.Generator().manual_seed(seed)).images

    assert torch.equal(attacked(0), attacked(0))
    assert not torch.equal(attacked(0), attacked(1))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_graph_is_released_and_no_gradient_remains():
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    weight.grad = torch.tensor(3.0, dtype=torch.float64)
    x = images(5)
    copy = x.clone()

    def weighted(probe):
        attention = torch.sigmoid(weight * probe.sum(1, keepdim=True))
        return (weight * probe * attention).sum(), attention

    attacked = background_attack(weighted, x, pixels(0.1), torch.Generator().manual_seed(0))
    assert not any(tensor.requires_grad for tensor in attacked)
    assert weight.grad.item() == 3
    assert torch.equal(x, copy) and not x.requires_grad


def test_the_background_is_one_minus_attention_squared():
    assert background_mask(0.5) == 0.75
    attention = torch.linspace(0, 1, 11).view(1, 1, 1, 11)
    torch.testing.assert_close(background_mask(attention), 1 - attention**2)
    np.testing.assert_allclose(background_mask(attention.numpy()), 1 - attention.numpy() ** 2, rtol=1e-6)
    assert background_mask(torch.tensor(1.0)) == 0 and background_mask(torch.tensor(0.0)) == 1


def test_pixels_are_those_of_zero_to_one_under_the_datas_mean_and_std():
    bounds = Pixels.of(torch.tensor([0.5, 0.25]), torch.tensor([0.25, 0.5]), 0.1)
    assert bounds.low.flatten().tolist() == [-2, -0.5]
    assert bounds.high.flatten().tolist() == [2, 1.5]
    torch.testing.assert_close(bounds.epsilon.flatten(), torch.tensor([0.4, 0.2]))
    assert all(bound.shape == (2, 1, 1) for bound in bounds)
