"""Networks that are not ours: they are called as they are, their output is checked, their inner modules are traced.

For any torch.nn.Module whose forward maps images [N, C, H, W] to (logits [N, K], A [N, 1, h, w] in [0, 1]), or to the
logits alone. A network is called in evaluation mode, uncompiled and on one device, and left in the mode it was in.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.nn.parallel import DistributedDataParallel

Edge = tuple[Any, int]  # a node of the graph that autograd records, and which of its outputs


def unwrapped(module: nn.Module) -> nn.Module:
    """The network that DataParallel, DistributedDataParallel or torch.compile wraps; itself without them.

    Replicas would each return an A of a part of the batch, and compiled code calls no hooks.
    """
    while True:
        if isinstance(module, nn.DataParallel | DistributedDataParallel):
            module = module.module
        elif "_orig_mod" in module._modules:
            module = module.get_submodule("_orig_mod")
        else:
            return module


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, without compiled parts and outside torch.inference_mode, until the end of the block."""
    parts = list(module.modules())
    modes = [part.training for part in parts]
    # Only where something is compiled: importing the compiler alone takes longer than most answers.
    compiled = any(part._compiled_call_impl is not None or "_orig_mod" in part._modules for part in parts)
    with torch.inference_mode(False), torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        module.eval()
        try:
            yield
        finally:
            for part, mode in zip(parts, modes, strict=True):
                part.training = mode


def answers(module: nn.Module, images: Tensor) -> tuple[Tensor, Any]:
    """(logits [N, K], A as the network returns it), None for A where it returns logits alone.

    ValueError for images that are not [N, C, H, W] and finite or that the network does not take, and for anything
    but logits [N, K]. A is not checked here: see `checked`.
    """
    _check_images(images)
    with naming_misfits(f"the network does not take {_described(module, images)}"):
        output = module(images.clone())  # a network may write into its input
    logits, attention = output if isinstance(output, tuple) and len(output) == 2 else (output, None)
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise ValueError(f"the network must return logits or (logits, A), got {_kind(output)}")
    if logits.ndim != 2 or len(logits) != len(images) or not logits.shape[1]:
        raise ValueError(f"logits must be [{len(images)}, K], got {list(logits.shape)}")
    if logits.isnan().any():
        raise ValueError("logits must be numbers, and some are NaN")
    return logits, attention


def checked(attention: Any, images: Tensor) -> Tensor:
    """A, unchanged, where it is [N, 1, h, w] in [0, 1]; ValueError, which says what is wrong, where it is not."""
    count = len(images)
    if attention is None:
        raise ValueError("the module must return (logits, A); with_attention(module, 'name') takes A from inside it")
    if not isinstance(attention, Tensor) or not attention.is_floating_point():
        raise ValueError(f"A must be a floating-point tensor [{count}, 1, h, w], got {_kind(attention)}")
    if attention.ndim != 4 or attention.shape[:2] != (count, 1) or not attention.numel():
        raise ValueError(f"A must be [{count}, 1, h, w], got {list(attention.shape)}")
    if not (attention.min() >= 0 and attention.max() <= 1):  # also where it is not a number
        raise ValueError(f"A must lie in [0, 1], got {attention.min():g} to {attention.max():g}")
    return attention


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise ValueError(f"images must be a tensor [N, C, H, W], got {type(images).__name__}")
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images must be [N, C, H, W] with at least one of each, got {list(images.shape)}")
    if not (finite := images.detach().isfinite().flatten(1).all(1)).all():
        raise ValueError(f"images must be finite, and image {int((~finite).nonzero()[0])}, counted from 0, is not")


@contextmanager
def naming_misfits(message: str) -> Iterator[None]:
    """The errors with which torch and torchvision report a misfit become a ValueError that begins with `message`."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"{message}: {error}") from error


def _described(module: nn.Module, images: Tensor) -> str:
    weight = next((value for value in module.parameters() if value.is_floating_point()), images)
    of_images, of_weights = (f"{value.dtype} on {value.device}" for value in (images, weight))
    difference = f" (its weights are {of_weights})" if of_weights != of_images else ""
    return f"images {list(images.shape)} of {of_images}{difference}"


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype}"
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, tuple | list) else type(value).__name__


def with_attention(module: nn.Module, inner: str) -> nn.Module:
    """`module`, whose forward returns logits, wrapped to return (logits, A); A is what its module `inner` returns.

    A [N, 1, h, w], or [N, h, w], is copied as `inner` returns it, so later writes do not change it; the weights are
    shared with `module`. ValueError where there is no such inner module, and from a forward pass that does not call
    `inner` exactly once.
    """
    return _WithAttention(module, inner)


class _WithAttention(nn.Module):
    def __init__(self, module: nn.Module, inner: str) -> None:
        super().__init__()
        layer_of(module, inner)
        self.module, self.inner = unwrapped(module), inner

    def forward(self, images: Tensor) -> tuple[Tensor, Any]:
        returned: list[Any] = []

        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            returned.append(output.clone() if isinstance(output, Tensor) else output)

        handle = layer_of(self.module, self.inner).register_forward_hook(keep)
        try:
            logits = self.module(images)
        finally:
            handle.remove()
        if not returned:
            raise ValueError(f"layer {self.inner!r} was not called in the forward pass, so there is no A")
        if len(returned) > 1:
            raise ValueError(
                f"layer {self.inner!r} was called {len(returned)} times in the forward pass, and A is what one call "
                "returns; name a module that is called once"
            )
        if isinstance(logits, tuple):
            raise ValueError("with_attention takes a network that returns logits alone, and this one returns a tuple")
        attention = returned[0]
        three = isinstance(attention, Tensor) and attention.ndim == 3
        return logits, attention[:, None] if three else attention


def layer_of(module: nn.Module, name: str) -> nn.Module:
    """The inner module of a dotted name, as in the network's own `named_modules`. ValueError if there is none."""
    parts = _inner_modules(module)
    # Names that start at the wrapper are valid as well: its user sees those in `named_modules`.
    modules = dict(module.named_modules()) | parts
    if not name or name not in modules:
        names = ", ".join(key for key in parts if key)
        raise ValueError(
            f"layer {name!r}: {f'choose from {names}' if names else 'this network has no inner modules'}"
        )
    return modules[name]


def _inner_modules(module: nn.Module) -> dict[str, nn.Module]:
    module = unwrapped(module)
    return dict((module.module if isinstance(module, _WithAttention) else module).named_modules())


@dataclass(frozen=True, eq=False)
class Call:
    """The last call of an inner module."""

    shape: list[int] | None  # of the tensor it returned; None where that was something else
    edge: Edge | None  # None where no gradient passes


@dataclass(frozen=True, eq=False)
class Trace:
    """One forward pass, with what is needed to follow it backwards."""

    images: Edge
    logits: Tensor
    attention: Any
    calls: Mapping[str, Call]  # of the layers that were traced and called, in the order of their last calls

    def reaches_logits(self, edge: Edge | None) -> bool:
        return edge in _walk(self.logits)[0]

    def maps(self) -> list[str]:
        """Names of the layers that Grad-CAM can look at, in the order of calls: those that returned a map of more
        than one place and channel and reach the logits other than through A.

        Grad-CAM of one channel is that channel times a number, whatever the class. A layer that reaches the logits
        through A alone belongs to the gate, and its map shows A again. The gate is cut off where A is used: at A
        itself or, where a copied or resized A is returned, at the tensor it was made from. ValueError where A comes
        without a gradient, so that this tensor is not known.
        """
        free = _walk(self.logits)[0]
        if isinstance(self.attention, Tensor) and self.attention.requires_grad:
            free = _walk(self.logits, stops=_walk(self.attention, stops=free)[1])[0]
        elif isinstance(self.attention, Tensor) and (self.attention != self.attention.flatten()[0]).any():
            raise ValueError(
                "A comes without a gradient, so the gate's own convolutions cannot be told from the others: return A "
                "as it was computed, not detached, or give Grad-CAM a layer by its name"
            )
        return [
            name
            for name, call in self.calls.items()
            if call.edge in free and call.shape is not None and _is_map(call.shape, len(self.logits), more_than=1)
        ]


def trace(module: nn.Module, images: Tensor, layers: Mapping[str, nn.Module]) -> Trace:
    """A forward pass of floating-point images that records the calls of the inner modules `layers`, by name.

    ValueError as `answers`.
    """
    _check_images(images)
    if not images.is_floating_point():
        raise ValueError(f"images must be floating-point to have a gradient, got {images.dtype}")
    source = images.detach().clone().requires_grad_()
    calls: dict[str, Call] = {}

    def noting(name: str) -> Any:
        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            calls.pop(name, None)  # so that the last call decides on the order
            shape = list(output.shape) if isinstance(output, Tensor) else None
            calls[name] = Call(shape, _edge(output) if shape is not None and output.requires_grad else None)

        return note

    handles = [part.register_forward_hook(noting(name)) for name, part in layers.items()]
    try:
        with torch.enable_grad():
            return Trace(_edge(source), *answers(module, source), calls)
    finally:
        for handle in handles:
            handle.remove()


def last_convolution(module: nn.Module, images: Tensor) -> str | None:
    """The layer that Grad-CAM looks at by default, by name; None where there is none.

    The last convolution, in the order of calls, that has a map of more than one place and channel and reaches the
    logits other than through A. One that is called more than once counts at its last call. ValueError as `answers`.
    """
    module = unwrapped(module)
    convolutions = {name: part for name, part in _inner_modules(module).items() if isinstance(part, nn.Conv2d)}
    with evaluating(module):
        return next(reversed(trace(module, images, convolutions).maps()), None)


def check_layer(name: str, forward: Trace) -> None:
    """ValueError where Grad-CAM cannot look at the layer `name` of a forward pass."""
    call = forward.calls.get(name)
    if call is None:
        raise ValueError(f"layer {name!r} was not called in the forward pass; name one that is, or leave it out")
    if call.shape is None or not _is_map(call.shape, len(forward.logits)):
        returned = "no tensor" if call.shape is None else str(call.shape)
        raise ValueError(f"layer {name!r} returns {returned}; Grad-CAM needs a map [{len(forward.logits)}, C, h, w]")
    if not forward.reaches_logits(call.edge):
        raise ValueError(f"layer {name!r}: no gradient leads from the logits to it; name one that they depend on")


def _is_map(shape: list[int], count: int, more_than: int = 0) -> bool:
    """Whether it is [N, C, h, w] with N = `count`, and more than `more_than` channels and places."""
    return len(shape) == 4 and shape[0] == count and min(shape[1], shape[2] * shape[3]) > more_than


def _edge(value: Tensor) -> Edge:
    edge = get_gradient_edge(value)
    return edge.node, edge.output_nr


def _walk(value: Tensor, stops: Collection[Edge] = ()) -> tuple[set[Edge], set[Edge]]:
    """The graph that `value` was computed from, back to the `stops` but not beyond: (edges passed, stops met)."""
    passed: set[Edge] = set()
    met: set[Edge] = set()
    todo: list[Edge] = [_edge(value)] if value.requires_grad else []
    while todo:
        edge = todo.pop()
        if edge in stops:
            met.add(edge)
        elif edge not in passed:
            passed.add(edge)
            todo += [(node, output) for node, output in edge[0].next_functions if node is not None]
    return passed, met
