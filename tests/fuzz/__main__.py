"""Draws cases, tries them, and says what came of them; see the package."""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .kinds import DRAWS, counts
from .runner import Outcome, Worker, fuzz


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    asked.add_argument("--cases", type=int, default=3000, help="how many in all")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--kind", choices=DRAWS, help="of this kind alone")
    asked.add_argument("--only", type=int, metavar="NUMBER", help="this one case of --kind again")
    given = asked.parse_args()
    if given.only is not None and not given.kind:
        asked.error("--only needs --kind")
    wanted = {given.kind: given.cases} if given.kind else counts(given.cases)
    first = 0
    if given.only is not None:
        wanted, first = {given.kind: 1}, given.only
    console = Console(soft_wrap=True, highlight=False)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as place, Worker(Path(place), given.seed) as worker:
        for outcome in fuzz(worker, DRAWS, wanted, first):
            outcomes.append(outcome)
            if outcome.failure or given.only is not None:
                console.print(told(outcome, given.seed), markup=False)
    console.print(table(outcomes))
    return int(any(outcome.failure for outcome in outcomes))


def told(outcome: Outcome, seed: int) -> str:
    """A case and what came of it, and how to try it again."""
    again = f"python -m tests.fuzz --seed {seed} --kind {outcome.kind} --only {outcome.number}"
    came = outcome.failure or f"as promised: {outcome.error or 'no error'}"
    return f"\n{outcome.text}\n  {again}\n{came}"


def table(outcomes: list[Outcome]) -> Table:
    """By kind: cases, documented errors, failures, and the worst there was."""
    result = Table("kind", "cases", "documented errors", "failures", "slowest, s", "most memory, MB")
    kinds = list(dict.fromkeys(outcome.kind for outcome in outcomes))
    for kind in [*kinds, "all"]:
        those = [outcome for outcome in outcomes if kind in (outcome.kind, "all")]
        errors = Counter(outcome.error for outcome in those if outcome.error)
        result.add_row(
            kind,
            f"{len(those):,}",
            ", ".join(f"{name} {count:,}" for name, count in errors.most_common()),
            str(sum(1 for outcome in those if outcome.failure)),
            f"{max(outcome.seconds for outcome in those):.1f}",
            f"{max(outcome.megabytes for outcome in those):,.0f}",
        )
    return result


if __name__ == "__main__":
    sys.exit(main())
