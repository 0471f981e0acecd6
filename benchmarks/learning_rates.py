"""The learning rate of each method, chosen on validation data: a fixed fifth of the training data.

    python benchmarks/learning_rates.py mnist-5k replay 3e-4 1e-3 3e-3 1e-2 3e-2

Prints the per-sample average accuracy of each rate, mean and range over the seeds, and the best mean.
"""

import argparse

import numpy as np
import torch

from arli_core.config import preset
from arli_core.learn import learn
from arli_core.metrics import average_accuracy
from arli_core.records import Record


def validated(name: str, method: str, rate: float, seed: int) -> float:
    settings = {"train.learning_rate": rate, "data.evaluate_on": "validation", "recording.probes": 0}
    record = Record(preset(name, method, seed, **settings))
    for event in learn(record.config):
        record = record.after(event)
    return average_accuracy(record.accuracy_matrix("per_sample"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("method")
    parser.add_argument("rates", type=float, nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    means = {}
    for rate in chosen.rates:
        found = [validated(chosen.preset, chosen.method, rate, seed) for seed in range(chosen.seeds)]
        means[rate] = np.mean(found)
        spread = f"{min(found):.3f} to {max(found):.3f}"
        print(f"{chosen.preset} {chosen.method} {rate:g}: {means[rate]:.3f} ({spread})", flush=True)
    print(f"best: {max(means, key=means.__getitem__):g}")


if __name__ == "__main__":
    main()
