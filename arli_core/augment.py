"""Random shifts, flips and crops of images, drawn for each sample, on the device where the images are.

An output pixel at x shows the input at x' = s f x + t - d, in coordinates of [-1, 1] over the image, where

    d   the shift, a whole number of pixels up to `shift` either way, for each axis
    f   1, or -1 on the horizontal axis for a half of the samples where `flip`
    s   the share of the side that the crop keeps, uniform between `zoom` and 1
    t   the crop's centre, uniform where the crop stays within the image

So a flip and a shift alone move pixels without changing them. Outside the image, the value is `fill`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(
    images: Tensor, shift: float, flip: bool, zoom: float, generator: torch.Generator, fill: Tensor
) -> Tensor:
    """Images [B, C, H, W], each changed in its own way; the input itself where all changes are off.

    shift      pixels, at least 0; a fraction has no effect
    zoom       in (0, 1]; 1: no crops
    generator  on the CPU, for the same choices on every device; six numbers a sample are drawn, whatever the
               settings, so that one setting does not change the draws of another
    fill       [C, 1, 1]; for normalised images, black is -mean / std

    Raises ValueError for a shift or zoom out of range.
    """
    if not shift >= 0:
        raise ValueError(f"a shift is at least 0 pixels, not {shift}")
    if not 0 < zoom <= 1:
        raise ValueError(f"a crop keeps more than 0 and at most 1 of the side, not {zoom}")
    if shift < 1 and not flip and zoom == 1:
        return images
    samples, _, height, width = images.shape
    size = torch.tensor([width, height])  # in the order (x, y) of grids
    draws = torch.rand(samples, 6, generator=generator)  # [0, 1)

    furthest = int(shift)
    d = ((draws[:, 0:2] * (2 * furthest + 1)).floor() - furthest) * 2 / size  # [B, 2]
    s = zoom + (1 - zoom) * draws[:, 2:3]  # [B, 1]
    # Between the centres of the outermost pixels, so that a crop alone never mixes the fill in.
    t = (1 - s) * (1 - 1 / size) * (2 * draws[:, 3:5] - 1)  # [B, 2]
    f = torch.ones(samples, 2)
    if flip:
        f[:, 0] = torch.where(draws[:, 5] < 0.5, -1.0, 1.0)

    theta = torch.cat([torch.diag_embed(s * f), (t - d)[:, :, None]], dim=2)  # [B, 2, 3]
    grid = F.affine_grid(theta.to(images), [samples, 1, height, width], align_corners=False)
    # Where pixels only move, rounded coordinates must not blur them.
    mode = "nearest" if zoom == 1 else "bilinear"
    return F.grid_sample(images - fill, grid, mode=mode, padding_mode="zeros", align_corners=False) + fill
