"""Whether the attack on backgrounds keeps a model from relying on them, where in training they tell the class.

    python benchmarks/spurious.py --seeds 5 --rho 0.95 --epsilons 0 0.03 0.1 0.2 --jobs 2 [--plot FIG.svg]

ari-adam learns all ten classes of scenes in one task, with the base rate of `auroc.py --all-classes`. With
probability rho a training scene's background comes from its class's own region of the photographs (`data.spurious`).
At epsilon 0 a second clean step takes the attack's place, so all make equally many updates. Columns, each the mean
over seeds with its 95 % t-interval:

    test      per-sample accuracy on the 1,000 test scenes, whose backgrounds were never seen and tell nothing
    own       on the same digits before backgrounds of their own class's region
    other     before backgrounds of another class's
    reliance  own - other, in [-1, 1]: 0 for a model that ignores the background
    auroc     of A on the test scenes: the mean over the images

Below them the differences to epsilon 0, paired by seed. Each finished run is a line of JSON in --out, and is not made
again. With --rho 0 the same table says what the regions do by themselves.
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
from arli_core.experiments import LEAN, name_of
from arli_core.figures import export, kind_of
from arli_core.learn import learn
from arli_core.metrics import auroc
from arli_core.statistics import Interval, paired, t_interval
from arli_core.tasks import Pool
from arli_core.world import open_world

COLUMNS = ("test", "own", "other", "reliance", "auroc")
CPU = torch.device("cpu")


def measured(config: Config) -> dict[str, float]:
    """Every column of one run."""
    done = next(event for event in learn(config) if isinstance(event, TaskDone))  # there is one task
    world = open_world(config, CPU)
    stream, model = world.stream, world.model
    phi = model.pack({name: torch.tensor(value) for name, value in done.weights.items()})

    def answers(pool: Pool) -> tuple[float, np.ndarray]:
        """(accuracy, A [N, H, W])"""
        parts = zip(*evaluate(model, phi, pool, torch.arange(len(pool))), strict=True)
        logits, attention = (torch.cat(list(part)) for part in parts)
        return (logits.argmax(1) == pool.labels).double().mean().item(), attention[:, 0].numpy()

    def before(split: Split) -> float:
        pool = Pool(split, np.arange(len(split)), torch.tensor(split.labels), stream.mean, stream.std)
        return answers(pool)[0]

    test, attention = answers(stream.test)
    own, other = before(swapped("own")), before(swapped("other"))
    objects = np.asarray(stream.dataset.test.masks)[stream.test_index]
    found = float(auroc(attention, objects).mean())
    return dict(zip(COLUMNS, (test, own, other, own - other, found), strict=True))


def make(config: Config, out: Path) -> None:
    """One run, and its line in `out`: each process adds its own, so that none is lost with another."""
    line = json.dumps({"run": name_of(config), "config": config.model_dump(), **measured(config)}) + "\n"
    with out.open("a", encoding="utf-8") as file:
        file.write(line)


def made(out: Path) -> dict[str, dict[str, float]]:
    """The lines of `out` by the names of their runs."""
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    return {line["run"]: line for line in map(json.loads, lines)}


def text(found: Interval, sign: str = "") -> str:
    if found.mean is None or found.high is None:
        return "–" if found.mean is None else f"{found.mean:{sign}.3f}"
    return f"{found.mean:{sign}.3f} ± {found.high - found.mean:.3f}"


def drawn(of_seed: dict[float, dict[str, dict[int, float]]]) -> Figure:
    """Accuracies against epsilon: means, with their intervals as bars."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    names = {"own": "own class's region", "test": "never seen", "other": "another class's region"}
    for (column, name), marker in zip(names.items(), "os^", strict=True):
        found = [t_interval(each[column].values()) for each in of_seed.values()]
        halves = [0 if each.high is None else each.high - each.mean for each in found]
        axes.errorbar(range(len(found)), [each.mean for each in found], halves, marker=marker, capsize=4, label=name)
    axes.set(xticks=range(len(of_seed)), xticklabels=[f"{epsilon:g}" for epsilon in of_seed], ylim=(0, 1))
    axes.set(xlabel="ε of the attack, of the pixel range", ylabel="accuracy")
    axes.legend(title="digits before backgrounds of", frameon=False, loc="center right", bbox_to_anchor=(1, 0.59))
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
    chosen = parser.parse_args()

    settings = {**LEAN, "data.tasks": 1, "data.classes_per_task": 10, "data.spurious": chosen.rho}
    settings |= {"train.epochs": chosen.epochs, "fusion.base_rate": 0.003, "device": "cpu"}
    arms = {
        epsilon: [
            preset("scenes", "ari-adam", seed, **settings, **{"attack.epsilon": epsilon})
            for seed in range(chosen.seeds)
        ]
        for epsilon in chosen.epsilons
    }
    there = made(chosen.out)
    waiting = [config for arm in arms.values() for config in arm if name_of(config) not in there]
    with ProcessPoolExecutor(chosen.jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        list(pool.map(make, waiting, repeat(chosen.out)))  # which raises what a run did
    lines = made(chosen.out)
    of_seed = {
        epsilon: {column: {c.seed: lines[name_of(c)][column] for c in arm} for column in COLUMNS}
        for epsilon, arm in arms.items()
    }

    print(f"rho {chosen.rho:g}, {chosen.epochs} epochs, {chosen.seeds} seeds: mean ± half of the 95 % t-interval")
    print(f"{'epsilon':<12}" + "".join(f"{column:<17}" for column in COLUMNS))
    for epsilon, found in of_seed.items():
        print(f"{epsilon:<12g}" + "".join(f"{text(t_interval(found[column].values())):<17}" for column in COLUMNS))
    for epsilon, found in of_seed.items():
        if epsilon and 0 in of_seed:
            differences = (paired(found[column], of_seed[0][column]) for column in COLUMNS)
            print(f"{f'{epsilon:g} less 0':<12}" + "".join(f"{text(each, '+'):<17}" for each in differences))
    if chosen.plot:
        chosen.plot.write_bytes(export(drawn(of_seed), kind_of(chosen.plot)))


if __name__ == "__main__":
    main()
