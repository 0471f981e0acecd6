"""The methods of a preset on test data, over seeds: what docs/results.md and the README quote.

    python benchmarks/compare.py mnist-5k --seeds 3

Prints a row per method: average accuracy under each protocol and per-sample forgetting, mean and range over the
seeds; where object masks are known, the mean per-image AUROC of A after the last task, and before training.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from arli_core import datasets, learn, networks, records, runs
from arli_core.attention import masks_of
from arli_core.config import METHODS, Config, preset
from arli_core.metrics import auroc, average_accuracy, forgetting
from arli_core.tasks import INITIAL, Stream, generator_for


def measure(config: Config, place: Path) -> dict[str, float | None]:
    for _ in runs.train(config, place):
        pass
    record = records.load(place)
    found = {name: record.figure(average_accuracy, name) for name in records.PROTOCOLS}
    masks = masks_of(record)
    after = None if masks.auroc is None else float(masks.auroc.mean())
    return {
        **found,
        "forgetting": record.figure(forgetting, "per_sample"),
        "AUROC": after,
        "AUROC untrained": None if after is None else untrained(config),
        "seconds": record.seconds,
    }


def untrained(config: Config) -> float:
    dataset = datasets.load(config.data.name)
    stream = Stream(dataset, config.data, torch.device("cpu"))
    model = networks.build(config.network.name, stream.shape, len(stream.classes))
    _, attention = learn.evaluate(model, model.initial(generator_for(config.seed, INITIAL)), stream.test)
    assert dataset.test.masks is not None
    return float(auroc(attention[:, 0].numpy(), dataset.test.masks[stream.test_index]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    chosen = parser.parse_args()
    for method in chosen.methods:
        with tempfile.TemporaryDirectory() as place:
            found = [
                measure(preset(chosen.preset, method, seed), Path(place) / str(seed)) for seed in range(chosen.seeds)
            ]
        cells = []
        for name in found[0]:
            values = [each[name] for each in found]
            if None not in values:
                cells.append(f"{name} {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")
        print(f"{chosen.preset} {method}: " + ", ".join(cells), flush=True)


if __name__ == "__main__":
    main()
