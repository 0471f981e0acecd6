"""A network as a function of one flat vector phi.

The method adds, subtracts and measures whole models, so a model here is its vector phi [P + Q]: P learnable entries,
then the Q running statistics of BatchNorm, which are reset and fused with the rest. `Model` calls the network with
it. Nothing else holds parameters.
"""

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import ConfigError

Shapes = Mapping[str, torch.Size]


class Model:
    """`model(phi, images) -> (logits, A)`: a network as a function of phi = [parameters; running statistics].

    learnable  P: the leading entries of phi that are trained; `learnable_sizes` tensor by tensor. The Q others are
               float buffers (mean and variance of every BatchNorm); their gradient is 0, and `train` returns their
               next values. P + Q = sum(sizes).
    layers     by name of each part of the network, how many of the P entries are its own; in the order of phi.
    shapes     by name, parameters and then buffers, in the order of phi; `sizes` are their lengths, `buffers` the
               shapes of the buffers alone.

    phi is never written to; the network's own values have no effect and are not changed by a call. A call does set
    the network's mode, so several threads must not use one model at once.
    """

    def __init__(self, network: nn.Module, he: bool = False) -> None:
        """`he`: `initial` starts the convolutions by He et al. instead of torch's default."""
        self.network, self.he = network.requires_grad_(False), he
        parameters = {name: value.shape for name, value in network.named_parameters()}
        self.buffers = {name: value.shape for name, value in network.named_buffers() if value.is_floating_point()}
        self.shapes = parameters | self.buffers
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        self.learnable_sizes = [shape.numel() for shape in parameters.values()]
        self.learnable = sum(self.learnable_sizes)
        self.layers: dict[str, int] = {}
        for name, shape in parameters.items():
            part = name.split(".")[0]
            self.layers[part] = self.layers.get(part, 0) + shape.numel()

    def __call__(self, phi: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """(logits [B, classes], A [B, 1, h, w]) in evaluation mode: BatchNorm by the running statistics in phi."""
        statistics = phi[self.learnable :].detach()
        tensors = self.unpack(phi) | _split(statistics, self.buffers)
        return functional_call(self.network.eval(), tensors, (images,))

    def train(self, phi: Tensor, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(logits [B, classes], A [B, 1, h, w], buffers [Q]) in training mode: BatchNorm by the batch's statistics.

        running <- 0.9 running + 0.1 batch, the batch's variance unbiased (Ioffe & Szegedy, ICML 2015; torch's
        momentum). `buffers` are the new running statistics, detached, for phi[learnable:]. Without BatchNorm, Q = 0
        and the rest is as by `model(phi, images)`.
        ConfigError where a BatchNorm has one value per channel: one sample whose map is a single pixel.
        """
        before = _split(phi[self.learnable :].detach(), self.buffers)
        # BatchNorm writes into these. Each is a tensor of its own: under vmap, writes into a view would be lost.
        statistics = {name: value.clone() for name, value in before.items()}
        counts = {name: value.clone() for name, value in self.network.named_buffers() if name not in self.buffers}
        tensors = self.unpack(phi) | statistics | counts
        try:
            logits, attention = functional_call(self.network.train(), tensors, (images,))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ConfigError(
                f"network.name: images of {images.shape[2]}x{images.shape[3]} are too small for this network where a "
                "task has one sample in a batch; choose a smaller one, or raise data.image_size or train.batch_size"
            ) from None
        return logits, attention, torch.cat([phi.new_empty(0), *(value.flatten() for value in statistics.values())])

    def module(self, phi: Tensor) -> nn.Module:
        """The network as a module of its own that holds phi's values, in evaluation mode."""
        module = copy.deepcopy(self.network)
        module.load_state_dict({**module.state_dict(), **self.unpack(phi.detach())})
        return module.eval()

    def unpack(self, phi: Tensor) -> dict[str, Tensor]:
        """The named parameters and buffers as views of phi."""
        return _split(phi, self.shapes)

    def pack(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """phi from parameters and buffers by name, copied; ValueError where names or shapes are another network's."""
        shapes = {name: value.shape for name, value in tensors.items()}
        if shapes != self.shapes:
            odd = sorted({name for name in shapes | self.shapes if shapes.get(name) != self.shapes.get(name)})
            raise ValueError(f"weights of another network: {', '.join(odd)} differ in name or shape")
        return torch.cat([tensors[name].flatten() for name in self.shapes])

    def initial(self, generator: torch.Generator) -> Tensor:
        """A fresh phi on the CPU, drawn from `generator` alone.

        Weights and biases of linear layers and convolutions are uniform in +-1/sqrt(fan-in), torch's own default.
        With `he`, convolutions have weights ~ N(0, 2/fan-out) (He et al., ICCV 2015) and no bias at first. The rest
        is as built: gains and running variances 1, shifts and running means 0, our attention a blur.
        """
        parts = {name: value.detach() for name, value in self.network.named_parameters()}
        parts |= {name: value for name, value in self.network.named_buffers() if name in self.buffers}
        for prefix, module in self.network.named_modules():
            if not isinstance(module, nn.Conv2d | nn.Linear):
                continue
            # He's variance is that of a convolution before a ReLU; the attention's is before a sigmoid.
            if self.he and isinstance(module, nn.Conv2d) and not prefix.startswith("attention"):
                deviation = math.sqrt(2 / module.weight[:, 0].numel())
                parts[f"{prefix}.weight"] = deviation * torch.randn(module.weight.shape, generator=generator)
                if module.bias is not None:
                    parts[f"{prefix}.bias"] = torch.zeros(module.bias.shape)
                continue
            bound = 1 / math.sqrt(module.weight[0].numel())
            for name, value in module.named_parameters(prefix):
                parts[name] = (2 * torch.rand(value.shape, generator=generator) - 1) * bound
        return self.pack(parts)


def _split(flat: Tensor, shapes: Shapes) -> dict[str, Tensor]:
    """Consecutive parts of `flat` as views of the given shapes."""
    parts = flat.split([shape.numel() for shape in shapes.values()])
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
