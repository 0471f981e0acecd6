"""Networks that return (logits, A), each called as a function of one flat vector phi (model.py).

    model = build("conv", (1, 28, 28), classes=10)
    logits, attention = model(model.initial(generator), images)

`conv`, `masked-conv` and `mlp` train in minutes on a laptop; `residual` and `resnet18` are the paper's, for CIFAR-100
and ImageNet-100.
"""

import torch

from .attention import (
    BorderAttention,
    LocalAttention,
    NoAttention,
    ReleasedAttention,
    SpatialAttention,
    at_image_size,
)
from .model import Model
from .residual import ResidualNet
from .resnet18 import ResNet18
from .small import MLP, ConvNet, MaskedConvNet

__all__ = [
    "ATTENTIONS",
    "NAMES",
    "BorderAttention",
    "LocalAttention",
    "Model",
    "NoAttention",
    "ReleasedAttention",
    "SpatialAttention",
    "at_image_size",
    "build",
]

NAMES = ("conv", "masked-conv", "mlp", "residual", "resnet18")
ATTENTIONS = {
    "per-image": SpatialAttention,
    "border": BorderAttention,
    "local": LocalAttention,
    "released": ReleasedAttention,
    "none": NoAttention,
}


def build(name: str, shape: tuple[int, int, int], classes: int, attention: str = "per-image") -> Model:
    """The network `name` (one of NAMES), with the attention (one of ATTENTIONS), for images of `shape` (C, H, W).

    ValueError, which lists the valid names, for any other name.
    """
    if name not in NAMES:
        raise ValueError(f"network {name!r}: choose from {', '.join(NAMES)}")
    if attention not in ATTENTIONS:
        raise ValueError(f"attention {attention!r}: choose from {', '.join(ATTENTIONS)}")
    channels = shape[0]
    # Building draws initial values that are thrown away; the fork protects the global generator from these draws.
    with torch.random.fork_rng(devices=[]):
        module = ATTENTIONS[attention]()
        match name:
            case "conv":
                return Model(ConvNet(channels, classes, module))
            case "masked-conv":
                return Model(MaskedConvNet(channels, classes, module))
            case "mlp":
                return Model(MLP(shape, classes, module))
            case "residual":
                return Model(ResidualNet(channels, classes, module), he=True)
            case _:
                return Model(ResNet18(channels, classes, module), he=True)
