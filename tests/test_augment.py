"""Augmentation against literal slicing and against what a crop is."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from arli_core.augment import augment

MEAN, STD = torch.tensor([0.5, 0.3, 0.1]).view(3, 1, 1), torch.tensor([0.2, 0.4, 0.3]).view(3, 1, 1)
BLACK = -MEAN / STD


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 64, height: int = 9, width: int = 12, seed: int = 1) -> Tensor:
    return (torch.rand(count, 3, height, width, generator=gen(seed)) - MEAN) / STD


def moved(image: Tensor, down: int, right: int, flipped: bool, margin: int) -> Tensor:
    """By slices of the padded image, and a flip of the result."""
    _, height, width = image.shape
    padded = BLACK.expand(3, height + 2 * margin, width + 2 * margin).clone()
    padded[:, margin : margin + height, margin : margin + width] = image
    y, x = margin - down, margin - right
    slice_ = padded[:, y : y + height, x : x + width]
    return slice_.flip(2) if flipped else slice_


@pytest.mark.parametrize("size", [(8, 8), (9, 12), (32, 32), (224, 224)])
@pytest.mark.parametrize(("shift", "flip"), [(2, False), (2, True), (4.9, True), (0, True), (7, False)])
def test_shifts_and_flips_move_pixels_exactly(size, shift, flip):
    count = 200 if size[0] < 100 else 12
    images = pictures(count, *size)
    result = augment(images, shift, flip, 1, gen(), BLACK)
    most, moves = int(shift), set()
    for before, after in zip(images, result, strict=True):
        choices = [
            (down, right, flipped)
            for down in range(-most, most + 1)
            for right in range(-most, most + 1)
            for flipped in {False, flip}
        ]
        errors = [float((moved(before, *choice, most) - after).abs().max()) for choice in choices]
        assert min(errors) < 1e-6
        moves.add(choices[int(np.argmin(errors))])
    if count == 200:
        assert {s[0] for s in moves} == {s[1] for s in moves} == set(range(-most, most + 1))
        assert {s[2] for s in moves} == {False, flip}


def test_shifts_are_uniform_and_half_is_flipped():
    image = torch.zeros(1, 1, 1, 7)
    image[..., 2] = 1  # at 2 + d; flipped, at 6 - (2 + d)
    result = augment(image.expand(6000, 1, 1, 7), 1, True, 1, gen(), torch.zeros(1, 1, 1))
    # d in x is uniform in -1, 0, 1; d in y leaves the only row in a third of all cases
    counts = result.sum(dim=(0, 1, 2))
    np.testing.assert_allclose(counts / 6000 * 18, [0, 1, 1, 2, 1, 1, 0], atol=0.25)


def test_without_settings_nothing_changes():
    images = pictures()
    assert augment(images, 0, False, 1, gen(), BLACK) is images
    assert augment(images, 0.9, False, 1.0, gen(), BLACK) is images


@pytest.mark.parametrize("settings", [(3, False, 1), (0, True, 1), (0, False, 0.5), (3, True, 0.5)])
def test_the_generator_determines_the_result(settings):
    images = pictures()
    first, again, different = (augment(images, *settings, gen(seed), BLACK) for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, different)
    assert first.shape == images.shape and first.dtype == images.dtype


def test_every_setting_draws_as_many_numbers():
    states = []
    for settings in ((3, False, 1), (0, True, 1), (0, False, 0.5), (3, True, 0.5)):
        generator = gen()
        augment(pictures(), *settings, generator, BLACK)
        states.append(generator.get_state())
    assert all(torch.equal(states[0], state) for state in states)


def test_a_sample_does_not_depend_on_its_neighbours():
    images = pictures(8)
    whole = augment(images, 2, True, 0.7, gen(), BLACK)
    others = images.clone()
    others[1:] = 0
    assert torch.equal(augment(others, 2, True, 0.7, gen(), BLACK)[0], whole[0])


@pytest.mark.parametrize("flip", [False, True])
def test_a_crop_alone_never_shows_what_lies_outside(flip):
    images = torch.full((500, 3, 9, 12), 0.25)
    result = augment(images, 0, flip, 0.3, gen(), torch.full((3, 1, 1), 100.0))
    torch.testing.assert_close(result, images, atol=1e-3, rtol=0)


def test_a_crop_shows_a_part_of_its_share_of_the_side():
    """On a ramp, whose value is the position, an output row shows which part it is and how far it was spread."""
    width, zoom = 33, 0.4
    ramp = torch.arange(width).float().expand(2000, 1, width, width)
    result = augment(ramp, 0, False, zoom, gen(), torch.zeros(1, 1, 1))
    first, last = result[:, 0, 5, 0], result[:, 0, 5, -1]
    share = (last - first) / (width - 1)
    assert zoom - 1e-4 <= share.min() < zoom + 0.02 and 0.98 < share.max() <= 1 + 1e-4
    assert abs(share.mean() - (1 + zoom) / 2) < 0.02
    assert first.min() >= -1e-3 and last.max() <= width - 1 + 1e-3
    place = first / (width - 1 - (last - first)).clamp_min(1e-6)  # where in its room the crop lies
    inner = place[share < 0.9]
    assert inner.min() < 0.02 and inner.max() > 0.98 and abs(inner.mean() - 0.5) < 0.03
    steps = result[:, 0, 5].diff(dim=1)
    torch.testing.assert_close(steps, share[:, None].expand_as(steps), atol=1e-3, rtol=0)


def test_all_together_is_the_definition_pixel_by_pixel():
    """A slow reading of x' = s f x + t - d, bilinear between pixel centres, beyond them the fill."""
    images, (shift, zoom) = pictures(12, 6, 7), (2, 0.6)
    result = augment(images, shift, True, zoom, gen(3), BLACK)
    draws = torch.rand(12, 6, generator=gen(3)).double()
    padded = F.pad((images - BLACK).double(), (8, 8, 8, 8))
    for n in range(12):
        s = zoom + (1 - zoom) * draws[n, 2]
        for row in range(6):
            for column in range(7):
                at = []
                for axis, (place, size) in enumerate(((column, 7), (row, 6))):
                    x = (2 * place + 1) / size - 1
                    f = -1 if axis == 0 and draws[n, 5] < 0.5 else 1
                    t = (1 - s) * (1 - 1 / size) * (2 * draws[n, 3 + axis] - 1)
                    d = (torch.floor(draws[n, axis] * 5) - 2) * 2 / size
                    at.append(float(((s * f * x + t - d + 1) * size - 1) / 2) + 8)
                (x0, wx), (y0, wy) = ((int(v // 1), v % 1) for v in at)
                corner = padded[n, :, y0 : y0 + 2, x0 : x0 + 2]
                weights = torch.tensor([[(1 - wy) * (1 - wx), (1 - wy) * wx], [wy * (1 - wx), wy * wx]])
                value = (corner * weights).sum(dim=(1, 2)) + BLACK.flatten()
                torch.testing.assert_close(result[n, :, row, column].double(), value, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("shift", "zoom"), [(-1, 1), (float("nan"), 1), (0, 0), (0, 1.1), (0, float("nan"))])
def test_values_out_of_range_are_refused(shift, zoom):
    with pytest.raises(ValueError, match=r"at least 0|more than 0"):
        augment(pictures(2), shift, False, zoom, gen(), BLACK)


@pytest.mark.cuda
def test_a_gpu_makes_the_same_choices():
    images = pictures(32, 32, 32)
    for settings in ((3, True, 1), (3, True, 0.6)):
        on_cpu = augment(images, *settings, gen(), BLACK)
        on_gpu = augment(images.cuda(), *settings, gen(), BLACK.cuda()).cpu()
        torch.testing.assert_close(on_cpu, on_gpu, atol=1e-4, rtol=0)
