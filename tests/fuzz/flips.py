"""A recorded run or a sweep whose files were damaged on disk: the damage is noticed, and the file is named."""

import random
from functools import partial
from pathlib import Path

from arli_core import records, sweeps
from arli_core.errors import RecordError
from arli_core.sweeps import comparisons

from .case import Case
from .world import RUNS, World


def flips(rng: random.Random, world: World) -> Case:
    """One file of a run or of a sweep, with a bit flipped, cut, or with bytes inserted."""
    of_a_sweep = rng.random() < 0.15
    run = rng.choice(RUNS)
    files = world.outcomes if of_a_sweep else world.files[run]
    name = rng.choice(list(files))
    damage, data = _damaged(rng, files[name])
    attempt = partial(_sweep, files, name, data) if of_a_sweep else partial(_run, files, name, data)
    return Case(f"{'sweep' if of_a_sweep else run}/{name}: {damage}", attempt, (RecordError,))


def _run(files: dict[str, bytes], name: str, data: bytes, place: Path) -> None:
    _written(files, name, data, place)
    try:
        records.whole(place)
    except RecordError as error:
        if name not in str(error):
            raise AssertionError("the message names another file") from error
        raise
    raise AssertionError("it opens as if nothing had happened")


def _sweep(files: dict[str, bytes], name: str, data: bytes, place: Path) -> None:
    _written(files, name, data, place / "finished")
    readable, problems = comparisons.read(place)
    for sweep in readable.values():
        comparisons.tables(sweep.arms, sweep.outcomes)
    if problems:
        assert len(problems) == 1 and name in problems[0], problems
    sweeps.outcomes(place)
    raise AssertionError("it opens as if nothing had happened")


def _written(files: dict[str, bytes], name: str, data: bytes, place: Path) -> None:
    place.mkdir(exist_ok=True)
    for file, content in files.items():
        (place / file).write_bytes(data if file == name else content)


def _damaged(rng: random.Random, data: bytes) -> tuple[str, bytes]:
    at = rng.randrange(len(data) if rng.random() < 0.8 else min(64, len(data)))  # a header is small and matters most
    kind = rng.randrange(8)
    if kind < 5:
        bit = rng.randrange(8)
        return f"bit {bit} of byte {at} of {len(data)} flipped", data[:at] + bytes([data[at] ^ 1 << bit]) + data[
            at + 1 :
        ]
    if kind == 5:
        return f"cut after {at} of {len(data)}", data[:at]
    if kind == 6:  # as after a crash of the machine
        end = min(len(data), at + rng.choice([1, 512, 4096]))
        if any(data[at:end]):
            return f"zeros from {at} to {end} of {len(data)}", data[:at] + bytes(end - at) + data[end:]
    more = rng.randbytes(rng.choice([1, 8, 4096]))
    return f"{len(more)} bytes put in at {at} of {len(data)}", data[:at] + more + data[at:]
