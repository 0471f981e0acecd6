"""Fine-tuning, replay and joint training beside the same three in Avalanche, an independent library.

    pip install avalanche-lib                       beside the lab's own requirements; tried with 0.6.0
    python benchmarks/independent.py --seeds 3
    python benchmarks/independent.py mnist-5k --seeds 5 --methods replay --optimiser sgd --rate 0.05
    python benchmarks/independent.py --seeds 3 --increments 4,2,2,2 --order 3,1,4,5,9,2,6,0,8,7

The same on both sides: images, split and tasks, network and initial weights, loss, optimiser (fresh in each task)
with a constant learning rate, epochs, updates per task (checked), and the form of a batch. Avalanche's own: the
division into tasks and the numbers of the head's units (`nc_benchmark`, from the data's own labels, the order of the
classes and how many each task has), the head that keeps unseen classes out of loss and answer
(`IncrementalClassifier`), the loop (`Naive`; `Cumulative` for joint training), the memory (`ClassBalancedBuffer`),
the loader, the metrics. Three things are set so that both do the same:

- Avalanche's replay plugin takes half of each batch from the memory; the lab's `mixed` shuffles exemplars among the
  new samples. Here a plugin adds the library's memory to the data of the task, which the library then shuffles.
- Where the number of classes does not divide the budget, Avalanche's memory gives some classes one exemplar more;
  here it gives none.
- Avalanche's loader fills all batches but the last, the lab makes them equal up to one; here the size of a full one
  is the lab's largest.

Prints per seed the average accuracy after the last task, the mean over the tasks, and in brackets the accuracy on
all test samples (`StreamAccuracy`): of the lab, and of the library twice,

    own draws      The library shuffles and chooses exemplars itself; the initial weights alone are shared. Below:
                   the means, and the mean paired difference with its 95% t-interval, which should hold 0.
    same batches   The library is given the lab's batches, so that nothing random is left. The largest difference in
                   the accuracies, those over all samples too, and in the weights after any task should be no more
                   than rounding.
"""

import argparse
import warnings
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from arli_core.config import Config, Joint, Replay, preset
from arli_core.events import Step, TaskDone
from arli_core.learn import learn
from arli_core.networks import Model
from arli_core.records import Record
from arli_core.schedule import batches, exemplars
from arli_core.stream import BATCHES, INITIAL, Pool, Stream, generator_for
from arli_core.world import open_world

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of optional parts that are not installed
    from avalanche.benchmarks import nc_benchmark
    from avalanche.benchmarks.utils import as_classification_dataset, concat_datasets
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.models import IncrementalClassifier
    from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin
    from avalanche.training.storage_policy import ClassBalancedBuffer
    from avalanche.training.supervised import Cumulative, Naive

CPU = torch.device("cpu")
METHODS = ("finetune", "replay", "joint")
OPTIMISERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


@dataclass
class Result:
    """matrix [N, N]: accuracy on task j after task i; overall: on all test samples at the end; updates of each task;
    weights after each task."""

    matrix: np.ndarray
    overall: float
    updates: list[int]
    weights: list[dict[str, Tensor]]

    @property
    def average(self) -> float:
        return float(self.matrix[-1].mean())


def in_the_lab(config: Config) -> Result:
    stream = open_world(config, CPU).stream
    result = Result(np.full((stream.tasks, stream.tasks), np.nan), np.nan, [0] * stream.tasks, [])
    record = Record(config)
    for event in learn(config):
        record = record.after(event)
        if isinstance(event, Step):
            result.updates[event.task - 1] += 1
        elif isinstance(event, TaskDone):
            result.weights.append({name: torch.tensor(value) for name, value in event.weights.items()})
    result.matrix, overall = record.accuracy_matrix("per_sample"), record.average_over_samples("per_sample")
    assert overall is not None
    return replace(result, overall=overall)


class Classifier(nn.Module):
    """The lab's network, its head replaced by the library's; returns logits alone."""

    def __init__(self, model: Model, phi: Tensor) -> None:
        super().__init__()
        self.network = model.network
        self.network.load_state_dict(model.unpack(phi))
        head = self.network.head
        self.network.head = IncrementalClassifier(head.in_features, head.out_features)
        self.network.head.classifier.load_state_dict(head.state_dict())
        self.requires_grad_(True)

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)[0]

    def weights(self) -> dict[str, Tensor]:
        parameters = self.network.named_parameters()
        return {name.replace("head.classifier", "head"): value.detach().clone() for name, value in parameters}


class MixedReplay(SupervisedPlugin):
    """A class-balanced memory, added to the data of each later task."""

    def __init__(self, budget: int) -> None:
        super().__init__()
        self.budget, self.storage, self.classes = budget, ClassBalancedBuffer(budget), 0

    def after_train_dataset_adaptation(self, strategy, **_) -> None:
        if len(self.storage.buffer):
            strategy.adapted_dataset = concat_datasets([strategy.adapted_dataset, self.storage.buffer])

    def after_training_exp(self, strategy, **_) -> None:
        self.classes += len(strategy.experience.classes_in_this_experience)
        self.storage.max_size = self.budget // self.classes * self.classes
        self.storage.post_adapt(strategy, strategy.experience)


class EvenBatches(SupervisedPlugin):
    """As many batches as of `most` samples, all of one size but the last; must follow any plugin that adds data."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def after_train_dataset_adaptation(self, strategy, **_) -> None:
        samples = len(strategy.adapted_dataset)
        strategy.train_mb_size = -(-samples // -(-samples // self.most))


class TheLabsBatches(SupervisedPlugin):
    """The library's loader, with the lab's choice of the samples in each batch."""

    def __init__(self, config: Config, stream: Stream) -> None:
        super().__init__()
        self.config, self.stream = config, stream
        labels, tasks = stream.train.labels, torch.zeros_like(stream.train.labels)  # the task is not given
        self.samples = TensorDataset(stream.train[torch.arange(len(labels))].images, labels, tasks)

    def before_training_epoch(self, strategy, **_) -> None:
        config, stream = self.config, self.stream
        task, epoch = strategy.clock.train_exp_counter + 1, strategy.clock.train_exp_epochs
        memory = stream.up_to(stream.train, task - 1 if isinstance(config, Joint) else 0)
        if isinstance(config, Replay) and task > 1:
            memory = exemplars(stream, task - 1, config.memory.budget, config.seed)
        order = generator_for(config.seed, BATCHES, task, epoch)
        indices = batches(stream, task, memory, config.train.batch_size, "mixed", order)
        strategy.dataloader = DataLoader(self.samples, batch_sampler=[index.tolist() for index in indices])


def with_own_labels(stream: Stream, pool: Pool):
    """All samples of a pool, each with its label in the data."""
    samples = TensorDataset(pool[torch.arange(len(pool))].images, torch.tensor(stream.order)[pool.labels])
    samples.targets = samples.tensors[1].tolist()
    return as_classification_dataset(samples)


def in_the_library(config: Config, same_batches: bool) -> Result:
    world = open_world(config, CPU)
    stream, model = world.stream, world.model
    train, test = (with_own_labels(stream, pool) for pool in (stream.train, stream.test))
    benchmark = nc_benchmark(
        train,
        test,
        n_experiences=stream.tasks,
        task_labels=False,
        fixed_class_order=stream.order.tolist(),
        per_exp_classes=dict(enumerate(stream.units.sizes)),
        class_ids_from_zero_from_first_exp=True,
    )
    plugins: list[SupervisedPlugin] = [EvenBatches(config.train.batch_size)]
    if isinstance(config, Replay):
        plugins.insert(0, MixedReplay(config.memory.budget))
    if same_batches:
        plugins = [TheLabsBatches(config, stream)]
    network = Classifier(model, model.initial(generator_for(config.seed, INITIAL)))
    strategy = (Cumulative if isinstance(config, Joint) else Naive)(
        model=network,
        optimizer=OPTIMISERS[config.train.optimiser](network.parameters(), lr=config.train.learning_rate),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=config.train.batch_size,
        train_epochs=config.train.epochs,
        eval_mb_size=500,
        plugins=plugins,
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True, stream=True), loggers=[]),
    )
    torch.manual_seed(config.seed)
    result = Result(np.full((stream.tasks, stream.tasks), np.nan), np.nan, [], [])
    for task, experience in enumerate(benchmark.train_stream):
        strategy.train(experience, reset_optimizer_state=True)
        result.updates.append(strategy.clock.train_exp_iterations)
        result.weights.append(network.weights())
        metrics = strategy.eval(benchmark.test_stream[: task + 1])
        for earlier in range(task + 1):
            (result.matrix[task, earlier],) = (
                value for name, value in metrics.items() if name.endswith(f"Exp{earlier:03}")
            )
        (result.overall,) = (value for name, value in metrics.items() if name.startswith("Top1_Acc_Stream"))
    return result


def apart(ours: Result, theirs: Result) -> tuple[float, float]:
    """The largest differences in the accuracies, those over all samples too, and in the weights."""
    weights = 0.0
    for first, second in zip(ours.weights, theirs.weights, strict=True):
        weights = max(weights, *((first[name] - second[name]).abs().max().item() for name in first))
    accuracy = max(float(np.nanmax(abs(ours.matrix - theirs.matrix))), abs(ours.overall - theirs.overall))
    return accuracy, weights


def interval(differences: np.ndarray) -> str:
    """Mean and 95% t-interval."""
    mean = differences.mean()
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]"


def compare(configs: list[Config]) -> None:
    """One run a seed: in the lab, in the library by its own draws, and in the library from the lab's batches."""
    train = configs[0].train
    print(f"\n{configs[0].method}: {train.optimiser} {train.learning_rate:g}, {train.epochs} epochs a task, ", end="")
    print(f"batches of {train.batch_size}")
    print("seed  lab              own draws        same batches     apart: accuracy  weights  updates")
    averages, overall = [], []
    for config in configs:
        ours = in_the_lab(config)
        own, same = in_the_library(config, same_batches=False), in_the_library(config, same_batches=True)
        if not ours.updates == own.updates == same.updates:
            raise SystemExit(f"updates per task differ: {ours.updates}, {own.updates}, {same.updates}")
        averages.append((ours.average, own.average))
        overall.append((ours.overall, own.overall))
        figures = "  ".join(f"{result.average:.4f} ({result.overall:.4f})" for result in (ours, own, same))
        accuracy, weights = apart(ours, same)
        print(f"{config.seed:4}  {figures}  {accuracy:15.4f}  {weights:7.1g}  {sum(ours.updates)}", flush=True)
    (ours, own), both = np.array(averages).T, np.array(overall).T
    print(f"mean  {ours.mean():.4f} ({both[0].mean():.4f})  {own.mean():.4f} ({both[1].mean():.4f})")
    print(f"own draws minus lab: {interval(own - ours)} ({interval(both[1] - both[0])})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="digits", choices=("digits", "mnist-5k"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--optimiser", choices=tuple(OPTIMISERS), help="default: the preset's")
    parser.add_argument("--rate", type=float, help="learning rate; default: the preset's")
    parser.add_argument("--increments", help="classes of each task, such as 4,2,2,2; default: the preset's")
    parser.add_argument("--order", help="all classes in the order in which they come; default: that of the data")
    parser.add_argument("--epochs", type=int, help="epochs of each task; default: the preset's")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("an interval needs at least 2 seeds")
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="No loggers specified")
    settings = {"device": "cpu", "train.schedule": "constant", "recording.probes": 0}
    training = {"optimiser": options.optimiser, "learning_rate": options.rate, "epochs": options.epochs}
    settings |= {f"train.{key}": value for key, value in training.items() if value is not None}
    tasks = {"classes_per_task": options.increments, "class_order": options.order}
    settings |= {f"data.{key}": value for key, value in tasks.items() if value is not None}
    print(f"{options.preset}, {preset(options.preset, **settings).data.units}, ", end="")
    print(f"avalanche-lib {version('avalanche-lib')}, torch {torch.__version__}")
    for method in options.methods:
        form = {"memory.batches": "mixed"} if method == "replay" else {}
        compare([preset(options.preset, method, seed, **settings, **form) for seed in range(options.seeds)])


if __name__ == "__main__":
    main()
