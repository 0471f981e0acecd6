"""How long the mask bench takes for 16 images of a run, from loaded weights to drawn pictures.

    python benchmarks/masks.py checkpoints/scenes-ari [--images 16] [--rounds 5]

Prints, as the median over the rounds (smallest to largest) in seconds and as a multiple of one forward pass of the
same images in the same round: A and B; the background attack; each of Captum's methods; A, B, attack and Captum's
maps drawn as one PNG; all of that; and, last, A and B alone with their drawing. OMP_NUM_THREADS sets how many cores
torch uses.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from arli_core import figures, records
from arli_core.analysis import bench
from arli_core.analysis.attribution import METHODS, attribute, look
from arli_core.analysis.masks import learned, masks_of
from arli_core.figures import Row


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    record = records.load(options.run)
    masks, run = masks_of(record), learned(record)
    picked = masks.spread(options.images)
    images, targets = masks.images[picked], masks.units[picked]
    module, x = run.module, run.normalised(images)
    answers = [(masks.labels[index], masks.predictions[index]) for index in picked]

    def forward() -> None:
        with torch.no_grad():
            module(x)

    durations: dict[str, list[float]] = {}
    ratios: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        unit = statistics.median(timed(forward)[0] for _ in range(20))
        times: dict[str, float] = {}
        times["A and B"], answer = timed(lambda: look(module, x))
        times["attack"], struck = timed(lambda: bench.strike(run, images, 0.03, targets))
        rows = [Row("input", images, "image"), Row("A", answer.attention), Row("B", answer.background)]
        rows += [Row("B∘δ", struck.applied, "change"), Row("attacked", struck.attacked, "image")]
        for method in METHODS:
            times[method], attribution = timed(
                lambda method=method: attribute(module, x, torch.as_tensor(targets), method)
            )
            rows.append(Row(method, attribution.scores))
        times["drawn"], _ = timed(lambda rows=rows: figures.export(figures.grid(rows, answers, "A to 1"), "png"))
        times["all of it"] = sum(times.values())
        few = [rows[0], rows[1], rows[2]]
        times["A and B, drawn"], _ = timed(
            lambda few=few: figures.export(figures.grid(few, answers, "A and B"), "png")
        )
        times["A and B, drawn"] += times["A and B"]
        for name, seconds in times.items():
            durations.setdefault(name, []).append(seconds)
            ratios.setdefault(name, []).append(seconds / unit)

    print(f"{len(picked)} images of {options.run.name}, {torch.get_num_threads()} threads, {options.rounds} rounds")
    print(f"{'':<22}{'seconds':<28}forward passes")
    for name, seconds in durations.items():
        spread = f"{statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
        print(f"{name:<22}{spread:<28}{statistics.median(ratios[name]):.0f}")


if __name__ == "__main__":
    main()
