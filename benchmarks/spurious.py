"""Whether the attack on backgrounds keeps a model from relying on them, where they reveal the class in training.

    python benchmarks/spurious.py --seeds 5 --rho 0.95 --epsilons 0 0.03 0.1 0.2 --jobs 2 [--plot FIG.svg]

ari-adam learns all ten classes of scenes in one task, with the base rate of `auroc.py --all-classes`. With
probability rho a training scene's background comes from its class's own region of the photographs (`data.spurious`).
At epsilon 0 a second clean step takes the attack's place, so all make equally many updates. Columns, each the mean
over seeds with its 95% t-interval:

    test      per-sample accuracy on the 1,000 test scenes, whose backgrounds are new and unrelated to the class
    own       on the same digits on backgrounds from their own class's region
    other     on backgrounds from another class's region
    reliance  own - other, in [-1, 1]: 0 for a model that ignores the background
    auroc     of A on the test scenes: the mean over the images

Below them the differences from epsilon 0, paired by seed. Each finished run is a line of JSON in --out, and is not
made again. With --rho 0 the same table shows what the regions do by themselves.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from arli_core.config import Config, preset
from arli_core.datasets import Split
from arli_core.datasets.scenes import swapped
from arli_core.evaluation import evaluate
from arli_core.events import TaskDone
from arli_core.figures import export, kind_of
from arli_core.learn import learn
from arli_core.stream import Pool
from arli_core.sweeps import LEAN, name_of
from arli_core.theory.intervals import Interval, paired, t_interval
from arli_core.theory.metrics import auroc
from arli_core.world import open_world

COLUMNS = ("test", "own", "other", "reliance", "auroc")
CPU = torch.device("cpu")


def measured(config: Config) -> dict[str, float]:
    """Every column of one run."""
    finished = next(event for event in learn(config) if isinstance(event, TaskDone))  # there is one task
    world = open_world(config, CPU)
    stream, model = world.stream, world.model
    phi = model.pack({name: torch.tensor(value) for name, value in finished.weights.items()})

    def answers(pool: Pool) -> tuple[float, np.ndarray]:
        """(accuracy, A [N, H, W])"""
        parts = zip(*evaluate(model, phi, pool, torch.arange(len(pool))), strict=True)
        logits, attention = (torch.cat(list(part)) for part in parts)
        return (logits.argmax(1) == pool.labels).double().mean().item(), attention[:, 0].numpy()

    def accuracy(split: Split) -> float:
        pool = Pool(split, np.arange(len(split)), torch.tensor(split.labels), stream.mean, stream.std)
        return answers(pool)[0]

    test, attention = answers(stream.test)
    own, other = accuracy(swapped("own")), accuracy(swapped("other"))
    objects = np.asarray(stream.dataset.test.masks)[stream.test_index]
    mean = float(auroc(attention, objects).mean())
    return dict(zip(COLUMNS, (test, own, other, own - other, mean), strict=True))


def make(config: Config, out: Path) -> None:
    """One run, and its line in `out`: each process adds its own line, so that a failed one loses no other's."""
    line = json.dumps({"run": name_of(config), "config": config.model_dump(), **measured(config)}) + "\n"
    with out.open("a", encoding="utf-8") as file:
        file.write(line)


def recorded(out: Path) -> dict[str, dict[str, float]]:
    """The lines of `out` by the names of their runs."""
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    return {line["run"]: line for line in map(json.loads, lines)}


def text(interval: Interval, sign: str = "") -> str:
    if interval.mean is None or interval.high is None:
        return "–" if interval.mean is None else f"{interval.mean:{sign}.3f}"
    return f"{interval.mean:{sign}.3f} ± {interval.high - interval.mean:.3f}"


def chart(of_seed: dict[float, dict[str, dict[int, float]]]) -> Figure:
    """Accuracies against epsilon: means, with their intervals as bars."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    names = {"own": "own class's region", "test": "never seen", "other": "another class's region"}
    for (column, name), marker in zip(names.items(), "os^", strict=True):
        intervals = [t_interval(values[column].values()) for values in of_seed.values()]
        halves = [0 if interval.high is None else interval.high - interval.mean for interval in intervals]
        means = [interval.mean for interval in intervals]
        axes.errorbar(range(len(means)), means, halves, marker=marker, capsize=4, label=name)
    axes.set(xticks=range(len(of_seed)), xticklabels=[f"{epsilon:g}" for epsilon in of_seed], ylim=(0, 1))
    axes.set(xlabel="ε of the attack, of the pixel range", ylabel="accuracy")
    axes.legend(title="digits on backgrounds of", frameon=False, loc="center right", bbox_to_anchor=(1, 0.59))
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rho", type=float, default=0.95)
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.0, 0.03, 0.1, 0.2])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("spurious.jsonl"))
    parser.add_argument("--plot", type=Path, help="a figure of the table: .png, .pdf or .svg")
    options = parser.parse_args()

    settings = {**LEAN, "data.tasks": 1, "data.classes_per_task": 10, "data.spurious": options.rho}
    settings |= {"train.epochs": options.epochs, "fusion.base_rate": 0.003, "device": "cpu"}
    arms = {
        epsilon: [
            preset("scenes", "ari-adam", seed, **settings, **{"attack.epsilon": epsilon})
            for seed in range(options.seeds)
        ]
        for epsilon in options.epsilons
    }
    finished = recorded(options.out)
    waiting = [config for arm in arms.values() for config in arm if name_of(config) not in finished]
    with ProcessPoolExecutor(options.jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        list(pool.map(make, waiting, repeat(options.out)))  # raises the error of a failed run
    lines = recorded(options.out)
    of_seed = {
        epsilon: {column: {c.seed: lines[name_of(c)][column] for c in arm} for column in COLUMNS}
        for epsilon, arm in arms.items()
    }

    print(f"rho {options.rho:g}, {options.epochs} epochs, {options.seeds} seeds: mean ± half of the 95% t-interval")
    print(f"{'epsilon':<12}" + "".join(f"{column:<17}" for column in COLUMNS))
    for epsilon, values in of_seed.items():
        print(f"{epsilon:<12g}" + "".join(f"{text(t_interval(values[column].values())):<17}" for column in COLUMNS))
    for epsilon, values in of_seed.items():
        if epsilon and 0 in of_seed:
            differences = (paired(values[column], of_seed[0][column]) for column in COLUMNS)
            cells = "".join(f"{text(difference, '+'):<17}" for difference in differences)
            print(f"{f'{epsilon:g} minus 0':<12}{cells}")
    if options.plot:
        options.plot.write_bytes(export(chart(of_seed), kind_of(options.plot)))


if __name__ == "__main__":
    main()
