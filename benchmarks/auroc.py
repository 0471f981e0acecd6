"""How well A finds objects, before training and after the last task: what docs/results.md quotes.

    python benchmarks/auroc.py --preset scenes --seeds 5 [--first-seed 5] [--method ari-adam] [--all-classes] \\
      [--set network.name=masked-conv] [--jobs 2]

Prints over the seeds mean and (smallest to largest) of: accuracy, per-sample; AUROC of A per image; the pointing
game, and the same where the highest A may lie a pixel beside the object; AUROC of the images whose object is lighter,
and darker, than its background, where the data say so. For comparison, what the network could reach: the same figures
where A was trained on the objects' own masks, which the method never sees. Last the accuracy of the same network
without attention, and the difference, paired by seed, with its 95% interval. --all-classes: all classes in one task,
with settings of its own (WHOLE).
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation

from arli_core import records
from arli_core.analysis.masks import learned, masks_of
from arli_core.config import Config, keys, parse, preset
from arli_core.evaluation import evaluate
from arli_core.events import TaskDone
from arli_core.learn import learn
from arli_core.live import runs
from arli_core.networks.model import Model
from arli_core.stream import INITIAL, Stream, generator_for
from arli_core.sweeps import LEAN
from arli_core.theory.intervals import paired
from arli_core.theory.metrics import auroc, average_accuracy, pointing
from arli_core.world import open_world

Figures = dict[str, float]
# All classes at once are learned from the start: more epochs, and for ari-adam a slower base than with a sequence of
# tasks.
WHOLE = {"data.tasks": 1, "data.classes_per_task": 10, "train.epochs": 8}
SLOWER = {"fusion.base_rate": 0.003}


def trained(config: Config) -> Figures:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for _ in runs.train(config, folder, overwrite=True):
            pass
        record = records.load(folder)
        masks, stream = masks_of(record), learned(record).stream
    assert masks.objects is not None
    lighter = stream.dataset.test.lighter
    lighter = None if lighter is None else lighter[stream.test_index]
    accuracy = {"accuracy": average_accuracy(record.accuracy_matrix("per_sample"))}
    return accuracy | measured(masks.attention, masks.objects, lighter)


def untrained(config: Config) -> Figures:
    torch.set_num_threads(1)
    world = open_world(config, torch.device("cpu"))
    stream, model = world.stream, world.model
    return of_weights(stream, model, model.initial(generator_for(config.seed, INITIAL)))


def taught_the_masks(config: Config) -> Figures:
    """Cross entropy of A against the object in every pixel, all training images, as many epochs as `WHOLE`."""
    torch.set_num_threads(1)
    world = open_world(config, torch.device("cpu"))
    stream, model = world.stream, world.model
    phi = model.initial(generator_for(config.seed, INITIAL)).requires_grad_()
    masks = torch.tensor(np.asarray(stream.dataset.train[stream.train.members].masks)).float()[:, None]
    optimiser = torch.optim.Adam([phi], lr=0.003)
    order = torch.Generator().manual_seed(config.seed)
    for _ in range(int(WHOLE["train.epochs"])):
        for batch in torch.randperm(len(stream.train), generator=order).split(32):
            _, attention = model(phi, stream.train[batch].images)
            optimiser.zero_grad()
            F.binary_cross_entropy(attention, masks[batch]).backward()
            optimiser.step()
    return of_weights(stream, model, phi.detach())


def of_weights(stream: Stream, model: Model, phi: torch.Tensor) -> Figures:
    everything = torch.arange(len(stream.test))
    attention = torch.cat([maps for _, maps in evaluate(model, phi, stream.test, everything)])[:, 0].numpy()
    test = stream.dataset.test[stream.test_index]
    return measured(attention, np.asarray(test.masks), test.lighter)


def measured(attention: np.ndarray, objects: np.ndarray, lighter: np.ndarray | None) -> Figures:
    per_image = auroc(attention, objects)
    near = binary_dilation(objects, np.ones((1, 3, 3)))
    figures = {
        "AUROC": float(np.nanmean(per_image)),
        "pointing": float(pointing(attention, objects).mean()),
        "within a pixel": float(pointing(attention, near).mean()),
    }
    if lighter is not None:
        figures |= {"lighter": float(per_image[lighter].mean()), "darker": float(per_image[~lighter].mean())}
    return figures


def without_attention(config: Config) -> Figures:
    torch.set_num_threads(1)
    plain = parse(config.model_dump(), **{"network.attention": "none"})
    finished = [event for event in learn(plain) if isinstance(event, TaskDone)]
    return {"accuracy": float(np.mean(finished[-1].accuracy["per_sample"]))}


def summary(spread: dict[str, list[float]]) -> str:
    return ", ".join(f"{key} {np.mean(v):.3f} ({min(v):.3f} to {max(v):.3f})" for key, v in spread.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="scenes")
    parser.add_argument("--method", default="ari")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--all-classes", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    settings = {**LEAN, "device": "cpu"}
    if options.all_classes:
        settings |= WHOLE | (SLOWER if SLOWER.keys() <= keys(options.method).keys() else {})
    settings |= dict(option.split("=", 1) for option in options.set)
    configs = [
        preset(options.preset, options.method, seed, **settings)
        for seed in range(options.first_seed, options.first_seed + options.seeds)
    ]
    with ProcessPoolExecutor(options.jobs) as pool:
        rows = {
            "untrained": untrained,
            "after the last task": trained,
            "taught the masks": taught_the_masks,
            "without attention": without_attention,
        }
        accuracies = {}
        for when, measure in rows.items():
            results = list(pool.map(measure, configs))
            spread = {key: [figures[key] for figures in results] for key in results[0]}
            accuracies[when] = dict(enumerate(spread.get("accuracy", [])))
            print(f"{options.preset} {options.method}, {when}: {summary(spread)}", flush=True)
    gained = paired(accuracies["after the last task"], accuracies["without attention"])
    interval = "" if gained.low is None else f" [{gained.low:+.3f}, {gained.high:+.3f}]"
    print(f"accuracy with minus without attention: {gained.mean:+.3f}{interval}")


if __name__ == "__main__":
    main()
