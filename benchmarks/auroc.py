"""How well A finds objects, before training and after the last task: what docs/results.md quotes.

    python benchmarks/auroc.py --preset scenes --methods ari replay --seeds 5 [--all-classes] [--jobs 2]

Prints per method, over the seeds, mean and (smallest to largest) of: accuracy, per-sample; AUROC of A per image,
the pointing game, and AUROC of the images whose object is lighter, and darker, than its background, where the data
say so. --all-classes: one task of all classes.
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch

from arli_core import records, runs
from arli_core.attention import learned, masks_of
from arli_core.config import Config, preset
from arli_core.learn import evaluate, open_world
from arli_core.metrics import auroc, average_accuracy, pointing
from arli_core.tasks import INITIAL, generator_for

Figures = dict[str, float]


def trained(config: Config) -> Figures:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        for _ in runs.train(config, place, overwrite=True):
            pass
        record = records.load(place)
        found, stream = masks_of(record), learned(record).stream
    assert found.objects is not None
    lighter = stream.dataset.test.lighter
    lighter = None if lighter is None else lighter[stream.test_index]
    accuracy = {"accuracy": average_accuracy(record.accuracy_matrix("per_sample"))}
    return accuracy | measured(found.attention, found.objects, lighter)


def untrained(config: Config) -> Figures:
    torch.set_num_threads(1)
    stream, model = open_world(config, torch.device("cpu"))
    phi = model.initial(generator_for(config.seed, INITIAL))
    everything = torch.arange(len(stream.test))
    attention = torch.cat([found for _, found in evaluate(model, phi, stream.test, everything)])[:, 0].numpy()
    test = stream.dataset.test[stream.test_index]
    return measured(attention, np.asarray(test.masks), test.lighter)


def measured(attention: np.ndarray, objects: np.ndarray, lighter: np.ndarray | None) -> Figures:
    per_image = auroc(attention, objects)
    found = {"AUROC": float(np.nanmean(per_image)), "pointing": float(pointing(attention, objects).mean())}
    if lighter is not None:
        found |= {"lighter": float(per_image[lighter].mean()), "darker": float(per_image[~lighter].mean())}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="scenes")
    parser.add_argument("--methods", nargs="+", default=["ari"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--all-classes", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    chosen = parser.parse_args()
    whole = {"data.tasks": 1, "data.classes_per_task": 10} if chosen.all_classes else {}
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for method in chosen.methods:
            configs = [preset(chosen.preset, method, seed, device="cpu", **whole) for seed in range(chosen.seeds)]
            for when, measure in (("untrained", untrained), ("after the last task", trained)):
                found = list(pool.map(measure, configs))
                spread = {key: [each[key] for each in found] for key in found[0]}
                texts = (f"{key} {np.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" for key, v in spread.items())
                print(f"{chosen.preset} {method}, {when}: {', '.join(texts)}", flush=True)


if __name__ == "__main__":
    main()
