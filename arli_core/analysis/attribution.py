"""Beside A: where an answer comes from, according to four methods of Captum.

For any torch.nn.Module whose forward maps images [N, C, H, W] to (logits [N, K], A [N, 1, h, w] in [0, 1]); for one
that returns logits alone, `with_attention` takes A from an inner module. Networks are called in evaluation mode and
left as they were (foreign.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..networks import at_image_size
from ..theory.attack import background_mask
from ..theory.metrics import is_level
from ..theory.precision import float64
from .foreign import (
    Trace,
    answers,
    check_layer,
    checked,
    evaluating,
    last_convolution,
    layer_of,
    naming_misfits,
    trace,
    unwrapped,
    with_attention,
)

__all__ = [
    "METHODS",
    "Attribution",
    "Look",
    "attribute",
    "blurred",
    "class_indices",
    "last_convolution",
    "layer_of",
    "look",
    "with_attention",
]

METHODS = ("saliency", "integrated gradients", "Grad-CAM", "occlusion")
FEWEST_STEPS, MOST_STEPS = 16, 1024
AT_ONCE = 16  # occlusions of each image in one pass
POINTS_AT_ONCE = (
    64  # of the integral, over all images: 512 take twice the time, since the caches are too small for them
)
RELATIVE, ABSOLUTE = 0.01, 1e-3  # how far integrated gradients may miss the difference of logits they should sum to

Targets = Tensor | NDArray[np.integer] | Sequence[int]


@dataclass(frozen=True, eq=False)
class Attribution:
    """A method's attributions for N images, as Captum returns them, summed over the channels."""

    method: str
    values: NDArray[np.float32]  # [N, H, W]
    delta: NDArray[np.float64] | None = None  # [N] of integrated gradients: their sum minus the difference of logits
    tolerance: NDArray[np.float64] | None = None  # [N] what |delta| should not exceed
    steps: NDArray[np.int64] | None = None  # [N] of the integral
    layer: str | None = None  # of Grad-CAM

    @property
    def scores(self) -> NDArray[np.float32]:
        """|values| divided by the largest of the image: [N, H, W] in [0, 1], drawn and measured as A is.

        0 for an image without a finite map; `note` names the images whose map says nothing.
        """
        size = np.where(self._finite, abs(self.values), 0)
        largest = size.max((1, 2), keepdims=True)
        return np.divide(size, largest, out=np.zeros_like(size), where=largest > 0)

    @property
    def _finite(self) -> NDArray[np.bool_]:  # [N, 1, 1]
        return np.asarray(np.isfinite(self.values).all((1, 2), keepdims=True))

    @property
    def level(self) -> NDArray[np.bool_]:
        """[N] where |values| are the same everywhere, or not finite: such a map singles out no place."""
        return is_level(self.scores)

    @property
    def note(self) -> str:
        """A sentence about the maps that single out no place; empty where there are none."""
        if not self.level.any():
            return ""
        which = ", ".join(str(number) for number in np.flatnonzero(self.level) + 1)
        of = f"{self.method} of {self.layer}" if self.layer else self.method
        why = "the same everywhere" if self._finite.all() else "the same everywhere, or not finite"
        where = f"{self.level.sum()} of {len(self.level)} images ({which})" if len(self.level) > 1 else "this image"
        return f"{of} singles out no place in {where}: the map is {why}."

    @property
    def converged(self) -> NDArray[np.bool_] | None:
        """[N], of integrated gradients: whether |delta| is within the tolerance; None of other methods."""
        return None if self.delta is None or self.tolerance is None else abs(self.delta) <= self.tolerance


@dataclass(frozen=True, eq=False)
class Look:
    """Answers and attention for N images."""

    logits: NDArray[np.float32]  # [N, K]
    attention: NDArray[np.float32]  # [N, H, W], at the images' size
    background: NDArray[np.float32]  # [N, H, W], B = 1 - A∘A


def look(module: nn.Module, images: Tensor) -> Look:
    """Answers, A and B of finite images [N, C, H, W], N >= 1, of the type and on the device that the network takes.

    ValueError, which says what is wrong, for other images, and where the network does not return logits [N, K] and
    A [N, 1, h, w] in [0, 1].
    """
    module = unwrapped(module)
    with evaluating(module), torch.no_grad():
        logits, returned = answers(module, images)
        attention = _as_numpy(at_image_size(checked(returned, images).float(), images)[:, 0])
    return Look(_as_numpy(logits), attention, background_mask(attention))


def attribute(
    module: nn.Module,
    images: Tensor,
    targets: Targets,
    method: str,
    layer: str | None = None,
    window: int | None = None,
) -> Attribution:
    """The attribution by `method` (one of METHODS) of the logits `targets` [N], 0 to K - 1, for images [N, C, H, W].

    saliency              |gradient| of the logit (Simonyan et al. 2014)
    integrated gradients  from `blurred` images to the sharp ones, midpoint rule (Sundararajan et al. 2017); per image
                          the steps are doubled, 16 to 1,024, until |delta| <= max(1% of the whole change, 1e-3)
    Grad-CAM              of the inner module named `layer` (dotted), ReLU, bilinear at the images' size (Selvaraju
                          et al. 2017). By default the last convolution that is called, has a map of more than one
                          place and channel, and reaches the logits other than through A. Where a block ends in
                          parallel branches, that is one of them; the block's own name covers all.
    occlusion             drop of the logit when a square of `window` pixels, 1 to the shorter side (by default a
                          fifth of it), is set to zero; the square moves by half its side (Zeiler and Fergus 2014)

    The network may return (logits [N, K], A) or the logits alone; A tells which convolutions are the gate's own.
    ValueError, which says what is wrong, for an unknown method or layer, a layer without a map that the logits depend
    on, targets or a window out of range, a network without a gradient (occlusion needs none), and for images or
    logits as `look`.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r}: choose from {', '.join(METHODS)}")
    network = unwrapped(module)
    layers = {} if layer is None else {layer: layer_of(module, layer)}
    with evaluating(network):
        forward = trace(network, images, layers)
        classes = class_indices(targets, forward.logits)
        shorter = min(images.shape[2:])
        if window is None:
            window = max(1, round(shorter / 5))
        elif not (isinstance(window, Integral) and 1 <= window <= shorter):
            raise ValueError(f"window must be a whole number of pixels from 1 to {shorter}, got {window!r}")
        cam_layer = _layer(network, images, layer, forward) if method == "Grad-CAM" else None
        if method in ("saliency", "integrated gradients") and not forward.reaches_logits(forward.images):
            raise ValueError(f"{method} needs a gradient, and none leads from the logits to the images")
        logits, inputs = _Logits(network), images.detach().clone().requires_grad_()  # else Captum sets it, and warns
        with naming_misfits(f"{method} fails in this network, although it answers"):
            if method == "integrated gradients":
                return _integrated(logits, inputs, classes)
            if cam_layer is not None:
                values = _grad_cam(logits, inputs, classes, layer_of(module, cam_layer))
            elif method == "occlusion":
                values = _occluded(logits, inputs, classes, window)
            else:
                values = _saliency(logits, inputs, classes)
    return Attribution(method, _summed(values), layer=cam_layer)


def _layer(network: nn.Module, images: Tensor, name: str | None, forward: Trace) -> str:
    """`name`, checked, or the default."""
    if name is not None:
        check_layer(name, forward)
        return name
    if (last := last_convolution(network, images)) is None:
        raise ValueError(
            "Grad-CAM needs a convolution with a map of more than one place, not the gate's own, and this network "
            "calls none; give a layer by its name"
        )
    return last


def class_indices(targets: Targets, logits: Tensor) -> Tensor:
    """`targets` [N] as indices into logits [N, K], on their device; ValueError where they are not N of 0 to K - 1."""
    count, classes = logits.shape
    try:
        indices = torch.as_tensor(targets)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"targets must be {count} whole numbers from 0 to {classes - 1}: {error}") from None
    if indices.shape != (count,):
        raise ValueError(f"targets must be one class per image, [{count}], got {list(indices.shape)}")
    if indices.dtype == torch.bool or indices.is_floating_point() or indices.is_complex():
        raise ValueError(f"targets must be whole numbers from 0 to {classes - 1}, got {indices.dtype}")
    indices = indices.to(logits.device, torch.int64)
    if ((indices < 0) | (indices >= classes)).any():
        raise ValueError(f"targets must be classes from 0 to {classes - 1}, got {indices.min()} to {indices.max()}")
    return indices


class _Logits(nn.Module):
    """The logits alone, as Captum wants them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        output = self.module(images.clone())  # a network may write into its input
        return output[0] if isinstance(output, tuple) else output


def _integrated(logits: nn.Module, images: Tensor, targets: Tensor) -> Attribution:
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(logits)
    start = blurred(images.detach())
    with torch.no_grad():
        rows = torch.arange(len(images), device=targets.device)
        difference = float64(logits(images)[rows, targets] - logits(start)[rows, targets]).cpu().numpy()
    tolerance = np.maximum(RELATIVE * abs(difference), ABSOLUTE)
    values = np.zeros((len(images), *images.shape[2:]), np.float32)
    delta, steps = np.zeros(len(images)), np.full(len(images), FEWEST_STEPS)
    pending = np.arange(len(images))
    while len(pending):
        count = steps[pending].min()
        batch = pending[steps[pending] == count]
        index = torch.as_tensor(batch, device=images.device)
        attributions, error = method.attribute(
            images[index], start[index], target=targets[index], n_steps=int(count),
            method="riemann_middle", internal_batch_size=POINTS_AT_ONCE, return_convergence_delta=True,
        )  # fmt: skip
        values[batch], delta[batch] = _summed(attributions), float64(error.detach()).cpu().numpy()
        excess = abs(delta[batch]) / tolerance[batch]
        unconverged = (excess > 1) & (count < MOST_STEPS)
        # At best, doubling the steps leaves a quarter of the error: counts that cannot suffice are skipped.
        doublings = np.ceil(np.log(np.minimum(excess[unconverged], MOST_STEPS**2)) / np.log(4)).astype(np.int64)
        steps[batch[unconverged]] = np.minimum(count * 2**doublings, MOST_STEPS)
        pending = np.setdiff1d(pending, batch[~unconverged])
    return Attribution("integrated gradients", values, delta, tolerance, steps)


def _saliency(logits: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    from captum.attr import Saliency

    return Saliency(logits).attribute(images, target=targets)


def _grad_cam(logits: nn.Module, images: Tensor, targets: Tensor, layer: nn.Module) -> Tensor:
    from captum.attr import LayerAttribution, LayerGradCam

    coarse = LayerGradCam(logits, layer).attribute(images, target=targets, relu_attributions=True)
    assert isinstance(coarse, Tensor)
    return LayerAttribution.interpolate(coarse.detach().float(), (images.shape[2], images.shape[3]), "bilinear")


def _occluded(logits: nn.Module, images: Tensor, targets: Tensor, window: int) -> Tensor:
    from captum.attr import Occlusion

    channels, stride = images.shape[1], max(1, window // 2)
    with torch.no_grad():
        return Occlusion(logits).attribute(
            images,
            (channels, window, window),
            (channels, stride, stride),
            target=targets,
            perturbations_per_eval=AT_ONCE,
        )


def blurred(images: Tensor) -> Tensor:
    """Images [N, C, H, W] without their detail: blurred by a Gaussian of an eighth of the shorter side.

    Integrated gradients start here. At a constant image they could not: to a network that normalises each image,
    a x looks the same for every a > 0, so all of the integral would lie at a = 0, where no number of steps finds it.
    """
    from torchvision.transforms.functional import gaussian_blur

    height, width = images.shape[2:]
    sigma = min(height, width) / 8
    kernel = [max(1, (min(6 * sigma, length) - 1) // 2 * 2 + 1) for length in (width, height)]
    return gaussian_blur(images, [int(length) for length in kernel], [sigma, sigma])


def _summed(values: Tensor) -> NDArray[np.float32]:
    return float64(values.detach().cpu()).sum(1).float().numpy()


def _as_numpy(values: Tensor) -> NDArray[np.float32]:
    return values.float().cpu().numpy()  # NumPy has no bfloat16
