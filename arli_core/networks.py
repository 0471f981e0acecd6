"""Networks that return (logits, A), and a network as a function of one flat parameter vector.

The method adds, subtracts and measures whole models, so a model here is its vector phi [P], and `Model` calls the
network with it. Nothing else holds parameters.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call


class SpatialAttention(nn.Module):
    """A = sigmoid(normalise(conv7x7([mean_c |f|, max_c |f|]))), f = features less their spatial mean.

    Channel mean and max as in the released code; these choices are ours. Absolute responses, less the spatial mean:
    an object darker than its background stands out as much as a lighter one. Normalised per image, not per batch:
    A of an image does not depend on its batch-mates. The convolution starts as a blur, both channels alike: from a
    random start, chance decides whether A begins on the object or around it, and few tasks later it is still there.
    Features [B, C, H, W] -> A [B, 1, H, W] in (0, 1).
    """

    def __init__(self) -> None:
        super().__init__()
        offset = torch.arange(7) - 3.0
        blur = torch.exp(-(offset[:, None] ** 2 + offset**2) / 2).expand(1, 2, 7, 7)
        self.mix = nn.Parameter(blur / blur.norm())

    def forward(self, features: Tensor) -> Tensor:
        response = (features - features.mean((2, 3), keepdim=True)).abs()
        pooled = torch.cat([response.mean(1, keepdim=True), response.amax(1, keepdim=True)], 1)
        mixed = F.conv2d(F.pad(pooled, (3, 3, 3, 3), mode="replicate"), self.mix)
        return torch.sigmoid(F.instance_norm(mixed, eps=1e-5))


class ConvNet(nn.Module):
    """Attention after the first of three convolutions, 3x3 cells of average pooling, one linear head.

    About 17,000 parameters. Groups of channels are normalised per image (GroupNorm), so there are no running
    statistics. [B, C, H, W], any size from 8x8 -> logits [B, classes], A [B, 1, H, W].
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 16, 3, padding=1)
        self.attention = SpatialAttention()
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


class MLP(nn.Module):
    """Attention on the pixels, then pixels-400-400-classes (784-400-400-10 on MNIST)."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.attention = SpatialAttention()
        self.first = nn.Linear(math.prod(shape), 400)
        self.second = nn.Linear(400, 400)
        self.head = nn.Linear(400, classes)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        attention = self.attention(images)
        hidden = F.relu(self.first((images * attention).flatten(1)))
        return self.head(F.relu(self.second(hidden))), attention


class Model:
    """A network as a function of its parameters: `model(phi, images) -> (logits, A)`, phi [P] flat."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.shapes = {name: value.shape for name, value in network.named_parameters()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]

    def __call__(self, phi: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        return functional_call(self.network, self.unpack(phi), (images,))

    def unpack(self, phi: Tensor) -> dict[str, Tensor]:
        """The named parameters as views of phi."""
        return {
            name: part.view(shape)
            for (name, shape), part in zip(self.shapes.items(), phi.split(self.sizes), strict=True)
        }

    def pack(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """phi from named parameters, copied; ValueError where names or shapes are another network's."""
        shapes = {name: value.shape for name, value in parameters.items()}
        if shapes != self.shapes:
            odd = sorted({name for name in shapes | self.shapes if shapes.get(name) != self.shapes.get(name)})
            raise ValueError(f"weights of another network: {', '.join(odd)} differ in name or shape")
        return torch.cat([parameters[name].flatten() for name in self.shapes])

    def initial(self, generator: torch.Generator) -> Tensor:
        """A fresh phi on the CPU: weights and biases uniform in +-1/sqrt(fan-in), torch's own default; the
        rest as built. Drawn from `generator` alone."""
        parts = {name: value.detach() for name, value in self.network.named_parameters()}
        for prefix, module in self.network.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = 1 / math.sqrt(module.weight[0].numel())
                for name, value in module.named_parameters(prefix):
                    parts[name] = (2 * torch.rand(value.shape, generator=generator) - 1) * bound
        return self.pack(parts)


def build(name: str, shape: tuple[int, int, int], classes: int) -> Model:
    """The named network (`conv`, `mlp`) for images of `shape` (C, H, W)."""
    # Building draws initial values that are thrown away; a fork keeps them from moving the global generator.
    with torch.random.fork_rng(devices=[]):
        network = ConvNet(shape[0], classes) if name == "conv" else MLP(shape, classes)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return Model(network)
