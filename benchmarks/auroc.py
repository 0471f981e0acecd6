"""How well A finds objects, before training and after the last task: what docs/results.md quotes.

    python benchmarks/auroc.py --preset scenes --seeds 5 [--first-seed 5] [--method ari-adam] [--all-classes] \\
      [--set network.name=masked-conv] [--jobs 2]

Prints over the seeds mean and (smallest to largest) of: accuracy, per-sample; AUROC of A per image; the pointing
game, and the same where the highest A may lie a pixel beside the object; AUROC of the images whose object is lighter,
and darker, than its background, where the data say so. Beside it what the network could reach: the same figures where
A was taught by the objects' own masks, which the method never sees. Last the accuracy of the same network without
attention, and the difference, paired by seed, with its 95 % interval. --all-classes: all classes in one task, with
settings of its own (WHOLE).
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation

from arli_core import records, runs
from arli_core.attention import learned, masks_of
from arli_core.config import Config, keys, parse, preset
from arli_core.evaluation import evaluate
from arli_core.events import TaskDone
from arli_core.experiments import LEAN
from arli_core.learn import learn
from arli_core.metrics import auroc, average_accuracy, pointing
from arli_core.networks.model import Model
from arli_core.statistics import paired
from arli_core.tasks import INITIAL, Stream, generator_for
from arli_core.world import open_world

Figures = dict[str, float]
# All classes at once are learned from the start: more epochs, and for ari-adam a slower base than where tasks follow
# each other.
WHOLE = {"data.tasks": 1, "data.classes_per_task": 10, "train.epochs": 8}
SLOWER = {"fusion.base_rate": 0.003}


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
    world = open_world(config, torch.device("cpu"))
    stream, model = world.stream, world.model
    return of_weights(stream, model, model.initial(generator_for(config.seed, INITIAL)))


def taught_the_masks(config: Config) -> Figures:
    """Cross entropy of A against the object in every pixel, all training images, as many epochs as `WHOLE`."""
    torch.set_num_threads(1)
    world = open_world(config, torch.device("cpu"))
    stream, model = world.stream, world.model
    phi = model.initial(generator_for(config.seed, INITIAL)).requires_grad_()
    masks = torch.tensor(np.asarray(stream.dataset.train[stream.train.kept].masks)).float()[:, None]
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
    attention = torch.cat([found for _, found in evaluate(model, phi, stream.test, everything)])[:, 0].numpy()
    test = stream.dataset.test[stream.test_index]
    return measured(attention, np.asarray(test.masks), test.lighter)


def measured(attention: np.ndarray, objects: np.ndarray, lighter: np.ndarray | None) -> Figures:
    per_image = auroc(attention, objects)
    near = binary_dilation(objects, np.ones((1, 3, 3)))
    found = {
        "AUROC": float(np.nanmean(per_image)),
        "pointing": float(pointing(attention, objects).mean()),
        "within a pixel": float(pointing(attention, near).mean()),
    }
    if lighter is not None:
        found |= {"lighter": float(per_image[lighter].mean()), "darker": float(per_image[~lighter].mean())}
    return found


def without_attention(config: Config) -> Figures:
    torch.set_num_threads(1)
    plain = parse(config.model_dump(), **{"network.attention": "none"})
    done = [event for event in learn(plain) if isinstance(event, TaskDone)]
    return {"accuracy": float(np.mean(done[-1].accuracy["per_sample"]))}


def told(spread: dict[str, list[float]]) -> str:
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
    chosen = parser.parse_args()
    settings = {**LEAN, "device": "cpu"}
    if chosen.all_classes:
        settings |= WHOLE | (SLOWER if SLOWER.keys() <= keys(chosen.method).keys() else {})
    settings |= dict(each.split("=", 1) for each in chosen.set)
    configs = [
        preset(chosen.preset, chosen.method, seed, **settings)
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    ]
    with ProcessPoolExecutor(chosen.jobs) as pool:
        rows = {
            "untrained": untrained,
            "after the last task": trained,
            "taught the masks": taught_the_masks,
            "without attention": without_attention,
        }
        accuracies = {}
        for when, measure in rows.items():
            found = list(pool.map(measure, configs))
            spread = {key: [each[key] for each in found] for key in found[0]}
            accuracies[when] = dict(enumerate(spread.get("accuracy", [])))
            print(f"{chosen.preset} {chosen.method}, {when}: {told(spread)}", flush=True)
    gained = paired(accuracies["after the last task"], accuracies["without attention"])
    interval = "" if gained.low is None else f" [{gained.low:+.3f}, {gained.high:+.3f}]"
    print(f"accuracy with less without attention: {gained.mean:+.3f}{interval}")


if __name__ == "__main__":
    main()
