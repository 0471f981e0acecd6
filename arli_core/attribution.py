"""Beside A: where four methods of Captum say that an answer comes from, and A of modules that are not ours.

For any torch.nn.Module whose forward maps images [N, C, H, W] to (logits [N, K], A [N, 1, h, w] in [0, 1]); for one
that returns logits alone, `with_attention` takes A from an inner module. Modules are called in evaluation mode and
left in the mode they were in.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .attack import background_mask
from .networks import at_image_size

METHODS = ("saliency", "integrated gradients", "Grad-CAM", "occlusion")
FEWEST_STEPS, MOST_STEPS = 16, 1024
AT_ONCE = 16  # occlusions of every image
POINTS_AT_ONCE = (
    64  # of the integral, of all images together: 512 need twice the time, since the caches are too small
)
RELATIVE, ABSOLUTE = 0.01, 1e-3  # how far integrated gradients may miss the difference of logits they should sum to


@dataclass(frozen=True, eq=False)
class Attribution:
    """What a method says of N images, as Captum returns it, summed over the channels."""

    method: str
    values: NDArray[np.float32]  # [N, H, W]
    delta: NDArray[np.float64] | None = None  # [N] of integrated gradients: their sum less the difference of logits
    tolerance: NDArray[np.float64] | None = None  # [N] what |delta| should not exceed
    steps: NDArray[np.int64] | None = None  # [N] of the integral

    @property
    def scores(self) -> NDArray[np.float32]:
        """|values| over the largest of its image: [N, H, W] in [0, 1], to be drawn and measured as A is."""
        size = abs(self.values)
        largest = size.max((1, 2), keepdims=True)
        return np.divide(size, largest, out=np.zeros_like(size), where=largest > 0)

    @property
    def converged(self) -> NDArray[np.bool_] | None:
        """[N], of integrated gradients."""
        return None if self.delta is None or self.tolerance is None else abs(self.delta) <= self.tolerance


@dataclass(frozen=True, eq=False)
class Look:
    """Answers and attention for N images."""

    logits: NDArray[np.float32]  # [N, K]
    attention: NDArray[np.float32]  # [N, H, W], at the images' size
    background: NDArray[np.float32]  # [N, H, W], B = 1 - A∘A


def look(module: nn.Module, images: Tensor) -> Look:
    """Answers, A and B of images [N, C, H, W], as the module wants them. ValueError where it gives no A in [0, 1]."""
    with _evaluating(module), torch.no_grad():
        logits, attention = _called(module, images)
        found = at_image_size(attention, images)[:, 0].cpu().numpy()
    return Look(logits.cpu().numpy(), found, background_mask(found))


def attribute(
    module: nn.Module,
    images: Tensor,
    targets: Tensor | Sequence[int],
    method: str,
    layer: str | None = None,
    window: int | None = None,
) -> Attribution:
    """What `method` (one of METHODS) says of the logits `targets` [N] for images [N, C, H, W].

    saliency              |gradient| of the logit (Simonyan et al. 2014)
    integrated gradients  from `blurred` images to the sharp ones, midpoint rule (Sundararajan et al. 2017); per image
                          the steps are doubled, 16 to 1,024, until |delta| <= max(1 % of the whole change, 1e-3)
    Grad-CAM              of the module named `layer` (dotted; the last convolution if left out), ReLU, bilinear at
                          the images' size (Selvaraju et al. 2017)
    occlusion             fall of the logit where a square of `window` pixels (a fifth of the side if left out) is
                          zero, moved by half of it (Zeiler and Fergus 2014)
    Raises ValueError for an unknown method or layer, or where targets do not fit.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r}: choose from {', '.join(METHODS)}")
    chosen = torch.as_tensor(targets, device=images.device)
    if chosen.shape != images.shape[:1]:
        raise ValueError(f"targets must be one class per image, [{len(images)}], got {list(chosen.shape)}")
    with _evaluating(module):
        logits, inputs = _Logits(module), images.detach().clone().requires_grad_()  # else Captum sets it, and warns
        if method == "integrated gradients":
            return _integrated(logits, inputs, chosen)
        if method == "saliency":
            from captum.attr import Saliency

            values = Saliency(logits).attribute(inputs, target=chosen)
        elif method == "occlusion":
            from captum.attr import Occlusion

            side = window or max(1, round(min(images.shape[2:]) / 5))
            channels, stride = images.shape[1], max(1, side // 2)
            with torch.no_grad():
                values = Occlusion(logits).attribute(
                    inputs,
                    (channels, side, side),
                    (channels, stride, stride),
                    target=chosen,
                    perturbations_per_eval=AT_ONCE,
                )
        else:
            from captum.attr import LayerAttribution, LayerGradCam

            found = LayerGradCam(logits, layer_of(module, layer)).attribute(
                inputs, target=chosen, relu_attributions=True
            )
            assert isinstance(found, Tensor)
            values = LayerAttribution.interpolate(found, tuple(images.shape[2:]), "bilinear")
    return Attribution(method, _summed(values))


def layer_of(module: nn.Module, name: str | None = None) -> nn.Module:
    """The inner module of a dotted name, the last convolution without one. ValueError where it is not there."""
    if name is None:
        if not (found := convolutions(module)):
            raise ValueError("Grad-CAM needs a convolution, and this network has none; give a layer by its name")
        return found[-1]
    parts = dict(module.named_modules())
    if name not in parts or not name:
        raise ValueError(f"layer {name!r}: choose from {', '.join(key for key in parts if key)}")
    return parts[name]


def convolutions(module: nn.Module) -> list[nn.Module]:
    """In order; not the attention's own: Grad-CAM of a map would show the map."""
    parts = module.named_modules()
    return [part for name, part in parts if isinstance(part, nn.Conv2d) and "attention" not in name.split(".")]


def with_attention(module: nn.Module, inner: str) -> nn.Module:
    """`module`, whose forward returns logits, made to return (logits, A): A is what its inner module `inner` returns.

    A [N, 1, h, w], or [N, h, w]; the two share their weights. ValueError where there is no such inner module.
    """
    return _Hooked(module, inner)


class _Hooked(nn.Module):
    def __init__(self, module: nn.Module, inner: str) -> None:
        super().__init__()
        layer_of(module, inner)
        self.module, self.inner = module, inner

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        seen: list[Any] = []
        handle = layer_of(self.module, self.inner).register_forward_hook(lambda _m, _i, output: seen.append(output))
        try:
            logits = self.module(images)
        finally:
            handle.remove()
        if not seen:
            raise ValueError(f"layer {self.inner!r} was not called in the forward pass")
        attention = seen[-1]
        return logits, attention[:, None] if attention.ndim == 3 else attention


class _Logits(nn.Module):
    """The logits alone, as Captum wants them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        return self.module(images)[0]


def _integrated(logits: nn.Module, images: Tensor, targets: Tensor) -> Attribution:
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(logits)
    start = blurred(images.detach())
    with torch.no_grad():
        rows = torch.arange(len(images))
        difference = (logits(images)[rows, targets] - logits(start)[rows, targets]).double().cpu().numpy()
    tolerance = np.maximum(RELATIVE * abs(difference), ABSOLUTE)
    values = np.zeros((len(images), *images.shape[2:]), np.float32)
    delta, steps = np.zeros(len(images)), np.full(len(images), FEWEST_STEPS)
    todo = np.arange(len(images))
    while len(todo):
        count = steps[todo].min()
        now = todo[steps[todo] == count]
        index = torch.as_tensor(now, device=images.device)
        found, missed = method.attribute(
            images[index], start[index], target=targets[index], n_steps=int(count),
            method="riemann_middle", internal_batch_size=POINTS_AT_ONCE, return_convergence_delta=True,
        )  # fmt: skip
        values[now], delta[now] = _summed(found), missed.detach().double().cpu().numpy()
        excess = abs(delta[now]) / tolerance[now]
        further = (excess > 1) & (count < MOST_STEPS)
        # At best a doubling leaves a quarter of what midpoints miss: counts that could not suffice are left out.
        doublings = np.ceil(np.log(excess[further]) / np.log(4)).astype(np.int64)
        steps[now[further]] = np.minimum(count * 2**doublings, MOST_STEPS)
        todo = np.setdiff1d(todo, now[~further])
    return Attribution("integrated gradients", values, delta, tolerance, steps)


def blurred(images: Tensor) -> Tensor:
    """Images [N, C, H, W] without their detail: a Gaussian of an eighth of the side.

    Where integrated gradients start. Not at a constant image: a network that normalises each image sees the same
    in a x for every a > 0, so all of the integral would lie at a = 0, where no number of steps finds it.
    """
    from torchvision.transforms.functional import gaussian_blur

    height, width = images.shape[2:]
    sigma = min(height, width) / 8
    kernel = [max(1, (min(6 * sigma, length) - 1) // 2 * 2 + 1) for length in (width, height)]
    return gaussian_blur(images, [int(each) for each in kernel], [sigma, sigma])


def _summed(values: Tensor) -> NDArray[np.float32]:
    return values.detach().sum(1).cpu().numpy().astype(np.float32)


def _called(module: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """(logits, A), checked: what a foreign module gets wrong is named."""
    found = module(images)
    if not (isinstance(found, tuple) and len(found) == 2):
        raise ValueError("the module must return (logits, A); with_attention(module, 'name') takes A from inside it")
    logits, attention = found
    if attention.ndim != 4 or attention.shape[:2] != (len(images), 1):
        raise ValueError(f"A must be [{len(images)}, 1, h, w], got {list(attention.shape)}")
    if not (attention.min() >= 0 and attention.max() <= 1):  # also where it is not a number
        raise ValueError(f"A must lie in [0, 1], got {attention.min():g} to {attention.max():g}")
    return logits, attention


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
