"""The paper's network for CIFAR-100."""

from collections import OrderedDict
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (21, 42, 85, 170)


class Block(nn.Module):
    """y = ReLU(f(x) + s(x)), f = conv3x3-BN-ReLU-conv3x3-BN; the skip s is the identity, or conv3x3-BN where the
    width changes (He et al., CVPR 2016, with the released code's skip).

    [B, from, H, W] -> [B, to, H, W].
    """

    def __init__(self, width: int, to: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, to, 3, padding=1)
        self.first_norm = nn.BatchNorm2d(to)
        self.second = nn.Conv2d(to, to, 3, padding=1)
        self.second_norm = nn.BatchNorm2d(to)
        self.skip = nn.Identity()
        if to != width:
            self.skip = nn.Sequential(OrderedDict(conv=nn.Conv2d(width, to, 3, padding=1), norm=nn.BatchNorm2d(to)))

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(hidden)) + self.skip(x))


class ResidualNet(nn.Module):
    """Attention after the first convolution, eight residual blocks of widths 21, 42, 85 and 170, generalised-mean
    pooling, a linear head without bias: 1.40 M parameters at 100 classes.

    The architecture of the released code for CIFAR-100. The map is halved after the second and the third stage of
    two blocks. [B, C, H, W], any size from 8x8 -> logits [B, classes], A [B, 1, H, W].
    """

    def __init__(self, channels: int, classes: int, attention: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, WIDTHS[0], 3, padding=1)
        self.attention = attention
        self.first_norm = nn.BatchNorm2d(WIDTHS[0])
        self.stages = nn.ModuleList(
            nn.Sequential(Block(width, to), Block(to, to)) for width, to in pairwise((WIDTHS[0], *WIDTHS))
        )
        self.head = nn.Linear(WIDTHS[-1], classes, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.first(images)
        attention = self.attention(features)
        hidden = F.relu(self.first_norm(features * attention))
        for number, stage in enumerate(self.stages, start=1):
            hidden = stage(hidden)
            if number in (2, 3):
                hidden = F.max_pool2d(hidden, 2)
        return self.head(generalised_mean(hidden)), attention


def generalised_mean(features: Tensor, p: float = 3.0) -> Tensor:
    """(mean_hw x^p)^(1/p), x at least 1e-6 (Radenovic et al., TPAMI 2019): p = 1 is the mean, large p the maximum.

    [B, C, H, W] -> [B, C].
    """
    return features.clamp(min=1e-6).pow(p).mean((2, 3)).pow(1 / p)
