"""Three networks small enough for a laptop's processor."""

import math

import torch.nn.functional as F
from torch import Tensor, nn


class ConvNet(nn.Module):
    """Attention after the first of three convolutions, 3x3 cells of average pooling, one linear head.

    About 17,000 parameters. The first convolution repeats the image's edge: black around it would be an edge in
    every image, and draw attention. Groups of channels are normalised per image (GroupNorm), so there are no running
    statistics. [B, C, H, W], any size from 8x8 -> logits [B, classes], A [B, 1, H, W].
    """

    def __init__(self, channels: int, classes: int, attention: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 16, 3, padding=1, padding_mode="replicate")
        self.attention = attention
        self.first_norm = nn.GroupNorm(4, 16)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.second_norm = nn.GroupNorm(4, 32)
        self.third = nn.Conv2d(32, 32, 3, padding=1)
        self.third_norm = nn.GroupNorm(4, 32)
        self.head = nn.Linear(32 * 3 * 3, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.first(images)
        attention = self.attention(features)
        hidden = F.max_pool2d(F.relu(self.first_norm(features * attention)), 2)
        hidden = F.max_pool2d(F.relu(self.second_norm(self.second(hidden))), 2)
        hidden = F.relu(self.third_norm(self.third(hidden)))
        return self.head(F.adaptive_avg_pool2d(hidden, 3).flatten(1)), attention


class MaskedConvNet(nn.Module):
    """ConvNet with two more convolutions before its attention, 1x1 and 3x3, and its head behind a mask.

    For objects in front of photographs, where one convolution cannot tell a stroke from a bright spot. A multiplies
    the features that it was computed from, as in ConvNet. The largest A∘A = 1 - B of each cell multiplies those that
    go to the head: an A that leaves the object costs the answer. About 20,000 parameters.
    [B, C, H, W], any size from 8x8 -> logits [B, classes], A [B, 1, H, W].
    """

    def __init__(self, channels: int, classes: int, attention: nn.Module) -> None:
        super().__init__()
        self.early = nn.ModuleList(
            [
                nn.Conv2d(channels, 16, 3, padding=1, padding_mode="replicate"),
                nn.Conv2d(16, 16, 1),
                nn.Conv2d(16, 16, 3, padding=1, padding_mode="replicate"),
            ]
        )
        self.early_norms = nn.ModuleList(nn.GroupNorm(4, 16) for _ in range(3))
        self.attention = attention
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.second_norm = nn.GroupNorm(4, 32)
        self.third = nn.Conv2d(32, 32, 3, padding=1)
        self.third_norm = nn.GroupNorm(4, 32)
        self.head = nn.Linear(32 * 3 * 3, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.early[0](images)
        for norm, convolution in zip(self.early_norms[:-1], self.early[1:], strict=True):
            features = convolution(F.relu(norm(features)))
        attention = self.attention(features)
        hidden = F.max_pool2d(F.relu(self.early_norms[-1](features * attention)), 2)
        hidden = F.max_pool2d(F.relu(self.second_norm(self.second(hidden))), 2)
        hidden = F.relu(self.third_norm(self.third(hidden))) * F.max_pool2d(attention * attention, 4)
        return self.head(F.adaptive_avg_pool2d(hidden, 3).flatten(1)), attention


class MLP(nn.Module):
    """Attention on the pixels, then pixels-400-400-classes (784-400-400-10 on MNIST)."""

    def __init__(self, shape: tuple[int, int, int], classes: int, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.first = nn.Linear(math.prod(shape), 400)
        self.second = nn.Linear(400, 400)
        self.head = nn.Linear(400, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        attention = self.attention(images)
        hidden = F.relu(self.first((images * attention).flatten(1)))
        return self.head(F.relu(self.second(hidden))), attention
