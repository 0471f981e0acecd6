"""How well A finds objects, before training and after the last task: what docs/results.md quotes for scenes.

    python benchmarks/auroc.py --methods ari replay --seeds 3

Prints per method the mean per-image AUROC of A on the held-out images: mean over the seeds, smallest to largest.
"""

import argparse
import tempfile

import numpy as np
import torch

from arli_core import records, runs
from arli_core.attention import masks_of
from arli_core.config import Config, preset
from arli_core.learn import evaluate, open_world
from arli_core.metrics import auroc
from arli_core.tasks import INITIAL, generator_for


def trained(config: Config) -> float:
    with tempfile.TemporaryDirectory() as place:
        for _ in runs.train(config, place, overwrite=True):
            pass
        found = masks_of(records.load(place)).auroc
    assert found is not None
    return float(found.mean())


def untrained(config: Config) -> float:
    stream, model = open_world(config, torch.device("cpu"))
    phi = model.initial(generator_for(config.seed, INITIAL))
    everything = torch.arange(len(stream.test))
    attention = torch.cat([found for _, found in evaluate(model, phi, stream.test, everything)])[:, 0].numpy()
    objects = stream.dataset.test.masks
    assert objects is not None
    return float(auroc(attention, objects[stream.test_index]).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="scenes")
    parser.add_argument("--methods", nargs="+", default=["ari"])
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for method in chosen.methods:
        configs = [preset(chosen.preset, method, seed, device="cpu") for seed in range(chosen.seeds)]
        for when, measure in (("untrained", untrained), ("after the last task", trained)):
            found = [measure(config) for config in configs]
            spread = f"{np.mean(found):.3f} ({min(found):.3f} to {max(found):.3f})"
            print(f"{chosen.preset} {method}, {when}: {spread}", flush=True)


if __name__ == "__main__":
    main()
