"""What a record may be: the one place that checks a run's files before anything in them is used.

The size of the index is checked before it is read; then its content is compared with itself and its configuration.
The header of a file of arrays is compared with the index before any array is read, and the values are checked after.
Every function raises a ValueError that says what is wrong; records/store.py adds where.

A sealed index holds a digest of all its other content, and one of each file that it names: no bit of a record
changes unnoticed. Records of schema 1 have neither.
"""

import hashlib
import json
import math
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..config import Ari, Config, protocols
from ..fingerprint import Fingerprint

SCHEMA, OLDEST = 2, 1
INDEX_BYTES = 8 * 2**20  # twice what 200 tasks and 10,000 classes take
SQUARED = 1e150  # bound of a number whose square must be finite, and the sum of many squares
HEADER_BYTES = 2**20  # names and shapes of a few thousand arrays
FILE_BYTES = 2**30  # a ResNet-18 with the moments of its optimiser takes a seventh

Arrays = Mapping[str, NDArray]
Header = Mapping[str, tuple[str, tuple[int, ...]]]  # type and shape of each array
Model = TypeVar("Model", bound=BaseModel)
Shape = tuple[int | str, ...]  # a letter stands for a length that is the same wherever it stands

_NUMBERS = ("F64", "F32", "F16", "I64", "U64", "I32", "U32", "I16", "U16", "I8", "U8", "BOOL")
_FRAMES: dict[str, tuple[str, Shape]] = {
    "iterations": ("I64", ()),
    "iteration": ("I64", ("F",)),
    "loss": ("F64", ("F",)),
    "learning_rate": ("F64", ("F",)),
    "present": ("BOOL", ("G", "n")),
    "distance": ("F64", ("G", "m", "m")),
    "dif_star": ("F64", ("G", "m", "m")),
    "gram": ("F64", ("G", "m", "m")),
    "norm": ("F64", ("G",)),
    "alpha": ("F64", ("G",)),
    "losses": ("F64", ("G", "n")),
    "attacked_losses": ("F64", ("G", "n")),
    "layers": ("F32", ("G", "L", "m", "m")),
    "attention": ("U8", ("A", "K", "H", "W")),
    "attention_at": ("I64", ("A",)),
}


# --- The index -----------------------------------------------------------------------------------------------------

Text = Annotated[str, Field(max_length=1000)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Index(BaseModel):
    """Types and bounds of what run.json holds. What a later version adds is not checked."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    environment: Annotated[dict[Text, Text], Field(max_length=100)]
    device: Text | None
    classes: list[Text] | None
    parameters: Annotated[int, Field(ge=1, lt=2**31)] | None
    notes: Annotated[list[Text], Field(max_length=100)] = []
    layers: dict[Text, Annotated[int, Field(ge=1)]] | None = None
    accuracy: dict[str, list[list[Share]]]
    seconds: Annotated[float, Field(ge=0, le=1e12)]
    samples: Count
    finished: bool
    error: Annotated[str, Field(max_length=10_000)] | None
    progress: Annotated[str, Field(pattern=r"^progress-[1-9][0-9]{0,3}-(0|[1-9][0-9]{0,5})\.safetensors$")] | None
    imported: bool = False
    test_samples: list[Count] = []


class _Sealed(_Index):
    data: dict[str, Any] | None
    digests: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    digest: str


def sealed(index: Mapping[str, Any]) -> bytes:
    """The content of run.json, with the digest of all the rest in it."""
    content = {key: value for key, value in index.items() if key != "digest"}
    return _written({**content, "digest": digest(_written(content))})


def opened(content: bytes) -> dict[str, Any]:
    """An index from the content of run.json. `whole` says whether it fits its configuration."""
    index = _parsed(content, "an index")
    if not isinstance(index, dict) or "schema" not in index:
        raise ValueError("it has no schema")
    schema = index["schema"]
    if type(schema) is not int or not OLDEST <= schema <= SCHEMA:
        raise ValueError(f"it has schema {schema!r:.40}; this version reads schemas {OLDEST} to {SCHEMA}")
    # The same content can be written in several ways, and only one is accepted: otherwise an upper-case digit in an
    # escaped character would be a changed bit that no digest of the content shows.
    if schema > 1 and sealed(index) != content:
        raise ValueError("its content does not match its digest: it was changed, or its file is damaged")
    if schema == 1 and "digest" in index:
        raise ValueError("it has a digest, but its schema 1 has none")
    return index


def _parsed(content: bytes, kind: str) -> Any:
    if len(content) > INDEX_BYTES:
        raise ValueError(f"it has {len(content) / 2**20:.0f} MB; {kind} has at most {INDEX_BYTES // 2**20}")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class _Outcome(BaseModel):
    """Types and bounds of what a sweep keeps of a finished run."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    config: dict[str, Any]
    settings: dict[str, Any]
    accuracy: dict[str, list[list[Share | None]]]
    figures: dict[str, dict[str, float | None]]
    seconds: Annotated[float, Field(ge=0, le=1e12)]
    samples: Count
    device: Text | None
    error: Annotated[str, Field(max_length=10_000)] | None
    kept: bool = False
    data: dict[str, Any] | None = None


def outcome(content: bytes) -> dict[str, Any]:
    """The outcome of a run, from the content of its file, which is sealed as an index is; old ones are not."""
    values = _parsed(content, "an outcome")
    if not isinstance(values, dict):
        raise ValueError("it is not the outcome of a run")
    if {"schema", "digest"} & values.keys() and sealed(values) != content:
        raise ValueError("its content does not match its digest: it was changed, or its file is damaged")
    _valid(_Outcome, values)
    if values.get("data") is not None:
        _data(values["data"], ())
    return values


def _valid(model: type[Model], values: Mapping[str, Any]) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg'][0].lower()}{first['msg'][1:]}") from None


def whole(index: Mapping[str, Any], config: Config) -> None:
    """Checks that an index is complete, within bounds, and in agreement with its configuration."""
    fields = _valid(_Sealed if index["schema"] > 1 else _Index, index)
    done, tasks = len(fields.accuracy.get("per_sample", ())), config.data.tasks
    for name in protocols(config):
        rows = fields.accuracy.get(name)
        if rows is None or [len(row) for row in rows] != list(range(1, done + 1)):
            raise ValueError(f"accuracy.{name}: it must have rows of 1 to {done} tasks, like per_sample")
    if fields.test_samples and len(fields.test_samples) != done:
        raise ValueError(f"test_samples: there are {len(fields.test_samples)}, but {done} tasks are done")
    if done > tasks:
        raise ValueError(f"accuracy: {done} tasks are done, but data.tasks is {tasks}")
    if fields.finished and (done < tasks or fields.progress):
        raise ValueError(f"finished: the run has {done} of {tasks} tasks, or progress to go on from")
    if (fields.classes is None) != (fields.parameters is None) or (
        fields.classes is None and (done or fields.progress)
    ):
        raise ValueError("classes: they and the parameters are known from the start of a run")
    if fields.classes is not None and len(fields.classes) != config.data.units.total:
        raise ValueError(f"classes: there are {len(fields.classes)}, but the tasks have {config.data.units.total}")
    if fields.layers and sum(fields.layers.values()) != fields.parameters:
        raise ValueError("layers: their parameters do not add up to those of the model")
    if fields.progress:
        task, epoch = point(fields.progress)
        if task != done + 1 or task > tasks or epoch > config.train.epochs:
            raise ValueError(f"progress: {fields.progress} cannot follow {done} of {tasks} tasks")
    if isinstance(fields, _Sealed):
        if fields.data is not None:
            _data(fields.data, fields.classes or [])
        expected = set(files(index)) - {"run.json"}
        if fields.digests.keys() != expected:
            raise ValueError(f"digests: they must be those of {', '.join(sorted(expected))}")


def _data(values: Mapping[str, Any], classes: Sequence[str]) -> None:
    try:
        data = Fingerprint.parse(values)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"data: {error!r:.200} is missing or malformed") from None
    if not all(1 <= length <= 1024 for length in data.shape):
        raise ValueError(f"data: no run has images of shape {data.shape}")
    if unknown := set(classes) - {class_print.name for class_print in data.classes}:
        raise ValueError(f"classes: the data have no class {min(unknown)!r:.60}")


def tasks_done(index: Mapping[str, Any]) -> int:
    return len(index["accuracy"]["per_sample"])


def files(index: Mapping[str, Any]) -> list[str]:
    """The names of all files of a run, its index first."""
    names = ["run.json", *(["probes.safetensors"] if index["classes"] is not None else [])]
    tasks = range(1, tasks_done(index) + 1)
    names += [f"{kind}-{task}.safetensors" for task in tasks for kind in ("weights", "task")]
    return [*names, index["progress"]] if index["progress"] else names


def point(progress: str) -> tuple[int, int]:
    """The task and epoch in the name of a progress file."""
    task, epoch = re.findall(r"\d+", progress)
    return int(task), int(epoch)


def leads_outside(name: str) -> bool:
    """Whether a data set's name is that of a folder outside the data root, wherever the root is."""
    kind, _, place = name.partition(":")
    if kind != "folder":
        return False
    paths = PurePosixPath(place), PureWindowsPath(place)
    return place.startswith("~") or any(path.anchor or ".." in path.parts for path in paths)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _written(index: Mapping[str, Any]) -> bytes:
    return json.dumps(index, indent=1).encode()


# --- Files of arrays -----------------------------------------------------------------------------------------------


def header(content: bytes) -> Header:
    """Type and shape of each array in the content of a safetensors file; only numbers in possible shapes pass."""
    if len(content) > FILE_BYTES:
        raise ValueError(f"it has {len(content) // 2**20} MB; a file of a run has at most {FILE_BYTES // 2**20}")
    if len(content) < 8:
        raise ValueError("it is shorter than a header")
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(HEADER_BYTES, len(content) - 8):
        raise ValueError("its header is longer than the file, or than a header may be")
    try:
        described = json.loads(content[8 : 8 + length])
        arrays = {name: array for name, array in described.items() if name != "__metadata__"}
        layout = {name: (array["dtype"], tuple(array["shape"])) for name, array in arrays.items()}
    except (ValueError, RecursionError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"its header cannot be read: {error!r:.100}") from None
    for name, (kind, shape) in layout.items():
        if kind not in _NUMBERS:
            raise ValueError(f"{name} is of type {kind!r:.20}, which no array of a run has")
        if len(shape) > 8 or not all(type(length) is int and 0 <= length < 2**53 for length in shape):
            raise ValueError(f"{name} has an impossible shape")
    return layout


def probes(header: Header, config: Config, data: Mapping[str, Any] | None) -> None:
    """The header of probes.safetensors; data: the fingerprint that the index holds."""
    lengths = _fits(header, {"images": ("U8", ("K", "C", "H", "W")), "units": ("I64", ("K",))})
    if lengths["K"] > config.recording.probes:
        raise ValueError(f"it has {lengths['K']} probe images; recording.probes is {config.recording.probes}")
    shape = tuple(lengths[letter] for letter in "CHW")
    if data is not None and shape != tuple(data["shape"]):
        raise ValueError(f"its images have the shape {shape}, but the data's have {tuple(data['shape'])}")
    if (size := config.data.image_size) is not None and shape[1:] != (size, size):
        raise ValueError(f"its images have the shape {shape}; data.image_size is {size}")
    if shape[0] not in (1, 3) or not all(1 <= length <= 1024 for length in shape):
        raise ValueError(f"its images have the shape {shape}, which no image of a run has")


def probe_values(arrays: Arrays, classes: int) -> None:
    units = arrays["units"]
    if units.size and not (units.min() >= 0 and units.max() < classes):
        raise ValueError(f"units: they must be those of the {classes} classes")


def frames(header: Header, task: int, config: Config, probe_images: tuple[int, ...], layers: int) -> None:
    """The header of a task's frames. probe_images: the shape [K, C, H, W] of the run's; layers: how many the model
    has, 0 in records older than layers."""
    # What was never measured has no shape of its own.
    nothing = header.get("attention") == ("U8", (0,))
    expected = {name: shape for name, shape in _FRAMES.items() if name in header or name != "layers"}
    if nothing:
        expected["attention"] = ("U8", (0,))
    lengths = _fits(header, expected)
    count, fused, n, m = (lengths[letter] for letter in "FGnm")
    if count > config.recording.frames:
        raise ValueError(f"it has {count} frames; recording.frames is {config.recording.frames}")
    if fused != (count if isinstance(config, Ari) else 0):
        raise ValueError(f"{fused} of its {count} frames have matrices; {config.method} has them in all or in none")
    if (n, m) != ((task, task + 1) if fused else (0, 0)):
        raise ValueError(f"its matrices are of {m} models and {n} tasks, after task {task}")
    if lengths.get("L", 0) not in (0, layers) and layers and fused:
        raise ValueError(f"layers: it has {lengths['L']}, but the model {layers}")
    if lengths["A"] > config.recording.probe_frames or (nothing and lengths["A"]):
        most = config.recording.probe_frames
        raise ValueError(f"attention: {lengths['A']} times; recording.probe_frames is {most}")
    if not nothing and (lengths["K"], lengths["H"], lengths["W"]) != (probe_images[0], *probe_images[2:]):
        raise ValueError("attention: it does not have the shape of the probe images")


def frame_values(arrays: Arrays, config: Config) -> None:
    """Checks the values of frames: numbers where models were present, NaN where they were not, and such that
    everything computed from them is defined."""
    iterations = int(arrays["iterations"])
    for name in ("iteration", "attention_at"):
        steps = arrays[name]
        if steps.size and not (steps[0] >= 0 and (np.diff(steps) > 0).all() and steps[-1] < iterations):
            raise ValueError(f"{name}: it must increase within the {iterations} iterations of the task")
    if not iterations >= len(arrays["iteration"]):
        raise ValueError(f"iterations: {iterations}, with {len(arrays['iteration'])} frames")
    for name in ("loss", "learning_rate", "norm", "alpha"):
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name}: not all of its values are finite")
    present = arrays["present"]
    if present.size and not present.any(1).all():
        raise ValueError("present: a frame has no task")
    models = np.concatenate([present, np.ones((len(present), 1), bool)], 1) if present.size else present[:, :0]
    both = models[:, :, None] & models[:, None, :]
    for name, defined in (
        *((name, both) for name in ("distance", "dif_star", "gram")),
        *((name, present) for name in ("losses", "attacked_losses")),
    ):
        if not np.isfinite(arrays[name][defined]).all() or not np.isnan(arrays[name][~defined]).all():
            raise ValueError(f"{name}: it must be finite where models are present, and NaN elsewhere")
    if "layers" in arrays and np.isnan(arrays["layers"].swapaxes(0, 1)[:, both]).any():
        raise ValueError("layers: it must be a number where models are present")
    distance, dif_star = arrays["distance"][both], arrays["dif_star"]
    if (distance < 0).any() or (dif_star[both] < 0).any():
        raise ValueError("distance and dif_star: they cannot be negative")
    sums = np.where(both, dif_star, 0).sum(2)[models]
    if sums.size and abs(sums - 1).max() > 1e-6:
        raise ValueError("dif_star: its rows must sum to 1")
    if isinstance(config, Ari) and sums.size:
        if distance.max() > SQUARED or (_largest_dif(arrays, config, both)[models] == 0).any():
            raise ValueError("distance: no dif* can be computed from it")
        _gram(np.where(both, arrays["gram"], 0), models, arrays["norm"])


def _largest_dif(arrays: Arrays, config: Ari, both: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[G, m]: the largest value in each row of dif."""
    distance = np.where(both, arrays["distance"], 0)
    return np.where(both, distance * distance + config.fusion.eta, 0).max(2)


def _gram(gram: NDArray[np.float64], present: NDArray[np.bool_], norm: NDArray[np.float64]) -> None:
    """Checks that G [G, m, m] is the Gram matrix of models of that norm: symmetric and, centred, without negative
    eigenvalues; and tr G = ||Phi - phi_b||^2 <= (1 + sqrt m)^2 ||Phi||^2."""
    scale = abs(gram).max((1, 2), keepdims=True)
    if scale.max() > SQUARED**2 or (norm < 0).any():
        raise ValueError("gram and norm: they are too large to compute with, or the norm is negative")
    centre = present[:, :, None] * (np.eye(present.shape[1]) - (present / present.sum(1, keepdims=True))[:, None, :])
    centred = centre @ ((gram + gram.swapaxes(1, 2)) / 2) @ centre
    if (abs(gram - gram.swapaxes(1, 2)) > 1e-6 * scale).any() or (
        np.linalg.eigvalsh(centred) < -1e-6 * scale[:, :, 0]
    ).any():
        raise ValueError("gram: it is not a matrix of inner products of models")
    apart = np.sqrt(np.maximum(np.trace(gram, axis1=1, axis2=2), 0))
    if (apart > (1 + 1e-3) * (1 + np.sqrt(present.sum(1))) * norm).any():
        raise ValueError("gram: its models are farther apart than their norm allows")


def weights(header: Header, parameters: int) -> None:
    """The header of weights-N.safetensors: parameters, and the statistics that a network keeps besides them."""
    if odd := [name for name, (kind, _) in header.items() if kind != "F32"]:
        raise ValueError(f"{min(odd)} is of a type that weights do not have")
    count = sum(math.prod(shape) for _, shape in header.values())
    if not parameters <= count <= 2 * parameters:
        raise ValueError(f"it has {count} values; the model has {parameters} parameters")


def weight_values(arrays: Arrays) -> None:
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: not all of its values are finite")


def progress(header: Header, parameters: int) -> None:
    """The header of progress-N-E.safetensors: the state, besides the frames, which `frames` checks."""
    kind, shape = header.get("state.phi", ("", ()))
    if kind != "F32" or len(shape) != 1 or not parameters <= shape[0] <= 2 * parameters:
        raise ValueError("state.phi: it must be a vector of the model's parameters")


def begun(header: Header) -> Header:
    """The frames of the task under way in the header of a progress file; empty where it holds none."""
    return {name: value for name, value in header.items() if not name.startswith("state.")}


def _fits(header: Header, expected: Mapping[str, tuple[str, Shape]]) -> dict[str, int]:
    """The length that each letter of the expected shapes stands for."""
    if header.keys() != expected.keys():
        odd = min(header.keys() ^ expected.keys())
        raise ValueError(f"{odd:.60} is {'missing' if odd in expected else 'not part of it'}")
    lengths: dict[str, int] = {}
    for name, (kind, shape) in expected.items():
        actual_kind, actual_shape = header[name]
        # A single integer has the system's own type.
        if actual_kind != kind and not (shape == () and actual_kind == "I32"):
            raise ValueError(f"{name} is of type {actual_kind}, not {kind}")
        fits = len(actual_shape) == len(shape) and all(
            length == (lengths.setdefault(letter, length) if isinstance(letter, str) else letter)
            for length, letter in zip(actual_shape, shape, strict=True)
        )
        if not fits:
            raise ValueError(f"{name} has the shape {actual_shape}, which does not fit the others")
    return lengths
