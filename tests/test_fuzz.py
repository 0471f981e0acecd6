"""The fuzz in its short form: a few hundred cases of all kinds, and a check that it notices the faults it is meant to
notice."""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.fuzz import matrices
from tests.fuzz.__main__ import report
from tests.fuzz.case import Case
from tests.fuzz.kinds import DRAWS
from tests.fuzz.runner import Limits, Outcome, Worker, fuzz
from tests.fuzz.world import World

SEED = 12
SHORT = {"settings": 60, "starts": 24, "matrices": 100, "archives": 60, "flips": 60, "uploads": 40, "folders": 10,
         "addresses": 6, "imports": 4}  # fmt: skip


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Outcome]]:
    """All cases, in one process: starting one takes seconds."""
    outcomes: dict[str, list[Outcome]] = {kind: [] for kind in SHORT}
    with Worker(tmp_path_factory.mktemp("fuzz"), SEED) as worker:
        for outcome in fuzz(worker, DRAWS, SHORT):
            outcomes[outcome.kind].append(outcome)
    return outcomes


@pytest.mark.parametrize("kind", DRAWS)
def test_every_case_ends_as_documented(kind, tried):
    assert len(tried[kind]) == SHORT[kind]
    failures = [report(outcome, SEED) for outcome in tried[kind] if outcome.failure]
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("kind", ["settings", "starts", "matrices", "archives", "uploads", "folders"])
def test_some_cases_are_refused_and_some_are_not(kind, tried):
    """Otherwise the drawing is so wild, or so tame, that it tests nothing."""
    refused = [bool(outcome.error) for outcome in tried[kind]]
    assert any(refused) and not all(refused)


def test_every_public_function_of_the_mathematics_is_called():
    assert matrices.called_functions() == matrices.public_functions()


# The harness itself


def documented(place: Path) -> None:
    assert list(place.iterdir()) == []
    raise ValueError("documented")


def forever(place: Path) -> None:
    while True:
        pass


def undocumented(place: Path) -> None:
    raise KeyError("not documented")


def speechless(place: Path) -> None:
    raise ValueError


def greedy(place: Path) -> None:
    assert len(bytes(200 * 2**20)) == len(bytearray(b"x") * (200 * 2**20))


def broken(place: Path) -> None:
    raise SystemExit(3)


FAULTS = {
    forever: "it hangs",
    undocumented: "KeyError",
    speechless: "without a message",
    greedy: "it took 2",
    broken: "SystemExit",
}


def fault(attempt: Callable[[Path], None], rng: random.Random, world: World) -> Case:
    return Case(f"{attempt.__name__} {rng.random()}", attempt, (ValueError,))


@pytest.fixture(scope="module")
def noticed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Outcome]]:
    """Each of the faults, and after each a case that ends as documented."""
    root = tmp_path_factory.mktemp("faults")
    (root / "checkpoints" / "sweeps" / "tiny").mkdir(parents=True)  # no recorded run is needed
    draws = {attempt.__name__: partial(fault, attempt) for attempt in (documented, *FAULTS)}
    outcomes: dict[str, list[Outcome]] = {name: [] for name in draws}
    with Worker(root, SEED, Limits(megabytes=100)) as worker:
        for attempt in FAULTS:
            for kind in (attempt.__name__, "documented"):
                outcomes[kind].append(worker.attempt(kind, draws[kind], 0))
    return outcomes


@pytest.mark.parametrize("attempt", FAULTS, ids=lambda attempt: attempt.__name__)
def test_what_it_is_there_for_is_noticed(attempt, noticed):
    (outcome,) = noticed[attempt.__name__]
    assert FAULTS[attempt] in outcome.failure and outcome.text.startswith(attempt.__name__)


def test_what_is_as_documented_is_no_failure_whatever_came_before(noticed):
    assert {(outcome.failure, outcome.error) for outcome in noticed["documented"]} == {(None, "ValueError")}


def test_a_case_is_the_same_again_in_another_process(noticed):
    assert len({outcome.text for outcome in noticed["documented"]}) == 1
