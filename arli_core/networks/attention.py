"""Spatial attention: features [B, C, H, W] -> A [B, 1, H, W] in [0, 1], in four forms, and its absence."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpatialAttention(nn.Module):
    """A = sigmoid(normalise(conv7x7([mean_c |f|, max_c |f|]))), f = features minus their spatial mean.

    Channel mean and max are as in the released code; these choices are ours. Absolute responses, minus the spatial
    mean: an object darker than its background stands out as much as a lighter one. Normalised per image, not per
    batch: A of an image does not depend on the other images. The 7x7 weights are exponentials, so more response never
    means less attention: with weights of either sign A leaves the object as tasks go by. They start as a blur, the
    same in both channels: from a random start, chance decides whether A begins on the object or around it.
    Features [B, C, H, W] -> A [B, 1, H, W] in (0, 1).
    """

    def __init__(self) -> None:
        super().__init__()
        offset = torch.arange(7) - 3.0
        blur = torch.exp(-(offset[:, None] ** 2 + offset**2) / 2).expand(1, 2, 7, 7)
        self.log_mix = nn.Parameter((blur / blur.norm()).log())

    def forward(self, features: Tensor) -> Tensor:
        response = self.scaled((features - self.reference(features)).abs())
        pooled = torch.cat([response.mean(1, keepdim=True), response.amax(1, keepdim=True)], 1)
        mixed = F.conv2d(F.pad(pooled, (3, 3, 3, 3), mode="replicate"), self.log_kernel().exp())
        return torch.sigmoid(F.instance_norm(mixed, eps=1e-5))

    def reference(self, features: Tensor) -> Tensor:
        """The level from which responses are measured, [B, C, 1, 1]."""
        return features.mean((2, 3), keepdim=True)

    def scaled(self, response: Tensor) -> Tensor:
        return response

    def log_kernel(self) -> Tensor:
        """The logarithm of the 7x7 convolution's kernel, [1, 2, 7, 7]."""
        return self.log_mix


class BorderAttention(SpatialAttention):
    """The same, with features minus the mean over the image's outermost pixels.

    Background is what the border shows. The mean over the whole image lies between object and background, and where
    an object fills half of the image, as clothes do, the background responds as much as the object.
    """

    def reference(self, features: Tensor) -> Tensor:
        sides = (features[..., 0, :], features[..., -1, :], features[..., 1:-1, 0], features[..., 1:-1, -1])
        return torch.cat(sides, -1).mean(-1)[..., None, None]


class LocalAttention(SpatialAttention):
    """The same, with responses r divided by their strength around each pixel, and a kernel without a direction:

        r / sqrt(box(q) + FLOOR mean(q)),   q = mean_c r^2,   box: the mean over a window of a third of the height

    On photographs a texture responds everywhere, an object in one place: compared with its surroundings, a stroke on
    water stands out as much as one on leaves, and a leaf among leaves does not. FLOOR keeps down the noise of uniform
    areas. A kernel with a direction could move A off the object without a change of the loss: the head takes the
    largest A∘A of each cell.
    """

    FLOOR = 0.1

    def scaled(self, response: Tensor) -> Tensor:
        strength = response.square().mean(1, keepdim=True)
        reach = max(response.shape[2] // 6, 1)
        around = F.pad(strength, (reach,) * 4, mode="replicate")
        around = F.avg_pool2d(around, 2 * reach + 1, stride=1)
        return response / (around + self.FLOOR * strength.mean((2, 3), keepdim=True) + 1e-12).sqrt()

    def log_kernel(self) -> Tensor:
        kernel = (self.log_mix + self.log_mix.flip(-1)) / 2
        kernel = (kernel + kernel.flip(-2)) / 2
        return (kernel + kernel.transpose(-1, -2)) / 2


class ReleasedAttention(nn.Module):
    """A = sigmoid(BatchNorm(sigmoid(conv7x7([mean_c f, max_c f])))), as in the authors' released code.

    Raw responses, zero padding, a bias-free convolution from a random start, a learnable gain and shift. BatchNorm
    takes mean and variance of the maps of a whole batch: in training mode, A of an image depends on the other images;
    in evaluation mode the running statistics stand in, and it does not.
    Features [B, C, H, W] -> A [B, 1, H, W] in (0, 1).
    """

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, features: Tensor) -> Tensor:
        pooled = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], 1)
        return torch.sigmoid(self.norm(torch.sigmoid(self.mix(pooled))))


class NoAttention(nn.Module):
    """A = 1: the same network without attention. B = 1 - A∘A = 0, so the background attack strikes nowhere.

    Features [B, C, H, W] -> A [B, 1, H, W].
    """

    def forward(self, features: Tensor) -> Tensor:
        return torch.ones_like(features[:, :1])


def at_image_size(attention: Tensor, images: Tensor) -> Tensor:
    """A at the height and width of its images, bilinear; unchanged where it has them already.

    The background mask 1 - A∘A multiplies a perturbation of the image, and A has the size of the features it was
    computed from: half the image's in ResNet-18. Interpolated values are means of A, so they stay in (0, 1).
    A [B, 1, h, w], images [B, C, H, W] -> [B, 1, H, W].
    """
    size = images.shape[-2:]
    if attention.shape[-2:] == size:
        return attention
    return F.interpolate(attention, size=size, mode="bilinear", align_corners=False)
