"""Draws cases, tries them, and reports the outcomes; see the package."""

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
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=3000, help="how many in total")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=DRAWS, help="only cases of this kind")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="repeat this one case of --kind")
    options = parser.parse_args()
    if options.only is not None and not options.kind:
        parser.error("--only needs --kind")
    cases = {options.kind: options.cases} if options.kind else counts(options.cases)
    first = 0
    if options.only is not None:
        cases, first = {options.kind: 1}, options.only
    console = Console(soft_wrap=True, highlight=False)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as place, Worker(Path(place), options.seed) as worker:
        for outcome in fuzz(worker, DRAWS, cases, first):
            outcomes.append(outcome)
            if outcome.failure or options.only is not None:
                console.print(report(outcome, options.seed), markup=False)
    console.print(table(outcomes))
    return int(any(outcome.failure for outcome in outcomes))


def report(outcome: Outcome, seed: int) -> str:
    """A case, its outcome, and how to try it again."""
    again = f"python -m tests.fuzz --seed {seed} --kind {outcome.kind} --only {outcome.number}"
    result = outcome.failure or f"as promised: {outcome.error or 'no error'}"
    return f"\n{outcome.text}\n  {again}\n{result}"


def table(outcomes: list[Outcome]) -> Table:
    """By kind: cases, documented errors, failures, the slowest case and the most memory."""
    result = Table("kind", "cases", "documented errors", "failures", "slowest, s", "most memory, MB")
    kinds = list(dict.fromkeys(outcome.kind for outcome in outcomes))
    for kind in [*kinds, "all"]:
        group = [outcome for outcome in outcomes if kind in (outcome.kind, "all")]
        errors = Counter(outcome.error for outcome in group if outcome.error)
        result.add_row(
            kind,
            f"{len(group):,}",
            ", ".join(f"{name} {count:,}" for name, count in errors.most_common()),
            str(sum(1 for outcome in group if outcome.failure)),
            f"{max(outcome.seconds for outcome in group):.1f}",
            f"{max(outcome.megabytes for outcome in group):,.0f}",
        )
    return result


if __name__ == "__main__":
    sys.exit(main())
