"""Sweeps and ablations: many runs in one folder, resumable; comparisons.py evaluates them.

    FOLDER/results.csv           a view of all finished runs: one row per run and protocol
    FOLDER/finished/NAME.json    the outcome of a finished run: configuration, accuracy matrices, figures
    FOLDER/runs/NAME/            the recorded run, while it is under way or where it is to be kept

NAME gives preset, method, seed and a digest of all other settings that a result depends on. So the same sweep again,
or another that shares runs with it, finds the finished runs and resumes the interrupted ones.
"""

import csv
import hashlib
import io
import itertools
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

from .. import files, records
from ..config import METHODS, PROTOCOLS, Config, in_current_names, keys, preset, text_of
from ..errors import ConfigError, DataError, Diverged, LabError, RecordError
from ..events import Step
from ..fingerprint import Fingerprint, in_words
from ..records import Record, checks
from ..theory import metrics

# Frames and probes change no result, and a sweep keeps neither; settings may ask for more.
LEAN = {"recording.frames": 2, "recording.probes": 0}
_MEASURES: dict[str, Callable[[Record, str], float | None]] = {
    "average": lambda record, name: record.figure(metrics.average_accuracy, name),
    "average_over_samples": lambda record, name: record.average_over_samples(name),
    "average_incremental": lambda record, name: record.figure(metrics.average_incremental_accuracy, name),
    "forgetting": lambda record, name: record.figure(metrics.forgetting, name),
    "bwt": lambda record, name: record.figure(metrics.backward_transfer, name),
}
MEASURES = tuple(_MEASURES)
COSTS = ("seconds", "samples", "device", "error")

Row = dict[str, Any]
Outcome = Mapping[str, Any]  # the content of a file in finished/


# --- Planning the runs ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arm:
    """One line of a table: a method, its varied settings, all settings that were set, and a run for each seed."""

    method: str
    varied: Mapping[str, Any]
    settings: Mapping[str, Any]  # varied ones included
    runs: tuple[Config, ...]

    @property
    def label(self) -> str:
        return " ".join([self.method, *(f"{key}={text_of(value)}" for key, value in self.varied.items())])


def plan(
    name: str,
    methods: Sequence[str],
    seeds: int,
    varied: Mapping[str, Sequence[Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> list[Arm]:
    """Each method of a preset with each combination of the varied values, with the seeds 0 .. seeds-1.

    A setting that a method does not have is left out of its arms, so its runs are made once. Raises ConfigError for a
    key that none of the methods has, and for values out of range.
    """
    varied, settings = dict(varied or {}), dict(settings or {})
    if seeds < 1:
        raise ConfigError(f"seeds: at least 1 is needed, got {seeds}")
    _each_once("methods", list(methods))
    for method in methods:
        preset(name, method)  # both names are valid from here on
    own = {method: keys(method) for method in methods}
    valid = sorted(set().union(*own.values()))
    for key in (*settings, *varied):
        if key not in valid:
            have = "have" if len(methods) > 1 else "has"
            raise ConfigError(f"{key}: {' and '.join(methods)} {have} no such setting; valid: {', '.join(valid)}")
        if key in settings and key in varied:
            raise ConfigError(f"{key} is both set and varied; choose one")
    for key, values in varied.items():
        _each_once(key, list(values))
    arms = []
    for method in methods:
        changed = [key for key in varied if key in own[method]]
        fixed = {key: value for key, value in settings.items() if key in own[method]}
        for values in itertools.product(*(varied[key] for key in changed)):
            combination = dict(zip(changed, values, strict=True))
            every_setting = {**LEAN, **fixed, **combination, "device": device}
            runs = tuple(preset(name, method, seed, **every_setting) for seed in range(seeds))
            arms.append(Arm(method, combination, fixed | combination, runs))
    return arms


def ablation(name: str, seeds: int, settings: Mapping[str, Any] | None = None, device: str = "auto") -> list[Arm]:
    """ARI with its parts on and off: attack, adaptive weights, reset, in all 12 combinations.

    At epsilon = 0 a second clean step takes the attacked one's place, so all arms make equally many updates.
    """
    fixed = dict(settings or {})
    for key in ("fusion.weights", "fusion.reset"):
        if key in fixed:
            raise ConfigError(f"an ablation varies {key} itself; leave it out")
    config = preset(name, "ari", **fixed)
    epsilon = config.model_dump()["attack"]["epsilon"]
    if epsilon == 0:
        raise ConfigError("attack.epsilon: 0 leaves no attack to switch off; set a value above 0")
    fixed.pop("attack.epsilon", None)
    return plan(name, ("ari",), seeds, switches(epsilon), fixed, device)


def switches(epsilon: float) -> dict[str, tuple[Any, ...]]:
    """What an ablation varies, the attack's own epsilon first."""
    return {
        "attack.epsilon": (epsilon, 0.0),
        "fusion.weights": ("adaptive", "uniform", "last"),
        "fusion.reset": (True, False),
    }


def _each_once(name: str, values: list[Any]) -> None:
    if not values:
        raise ConfigError(f"{name}: at least one is needed")
    for value in values:
        if values.count(value) > 1:
            raise ConfigError(f"{name}: {text_of(value)} is listed twice")


def name_of(config: Config) -> str:
    """The name of a run: equal for configurations that ask for the same result, wherever and however recorded."""
    content = config.model_dump(exclude={"preset", "seed", "device", "recording"})
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    return f"{config.preset}-{config.method}-{digest}-seed{config.seed}"


# --- Making the runs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Advanced:
    """A run of an arm is under way: the share done, in 0..1."""

    arm: Arm
    seed: int
    share: float


@dataclass(frozen=True)
class Done:
    """A run of an arm is finished, now or already before. error: that of a failed run."""

    arm: Arm
    seed: int
    error: str | None


News = Advanced | Done


def make(arms: Sequence[Arm], folder: Path, jobs: int = 1, keep: bool = False) -> Generator[News]:
    """Makes all runs that are not finished in the folder, in `jobs` processes; closing the generator ends them.

    A run that diverges is finished, with its error. keep: leave the recorded runs in FOLDER/runs. Raises
    ConfigError or DataError, before anything runs, where a configuration cannot run here or the data differ from
    those of runs in the folder, and RecordError where the folder cannot be written or holds a results.csv that no
    sweep made.
    """
    folder = files.expanded(folder).absolute()
    planned = {name_of(config): (arm, config) for arm in arms for config in arm.runs}
    finished = outcomes(folder)
    waiting = [(name, config) for name, (_, config) in planned.items() if name not in finished]
    _check(waiting)
    _refuse_mixed(folder, {**finished, **_expected_outcomes(waiting)})
    _claim(folder)
    try:
        for name, (arm, config) in planned.items():
            if name in finished:
                if not finished[name].get("kept"):  # Ctrl-C may have come before it was removed
                    shutil.rmtree(folder / "runs" / name, ignore_errors=True)
                yield Done(arm, config.seed, finished[name]["error"])
        with closing(
            _in_this_process(waiting, folder) if jobs == 1 else _in_workers(waiting, folder, jobs)
        ) as progress:
            for name, news in progress:
                arm, config = planned[name]
                if not isinstance(news, Mapping):
                    yield Advanced(arm, config.seed, news)
                    continue
                outcome = {**news, "settings": dict(arm.settings), "kept": keep}
                finished[name] = outcome
                _refuse_mixed(folder, finished)  # the data may have changed since it was begun
                _write(folder / "finished" / f"{name}.json", checks.sealed({"schema": checks.SCHEMA, **outcome}))
                if not keep:
                    shutil.rmtree(folder / "runs" / name)
                _write_csv(folder, arms)
                yield Done(arm, config.seed, outcome["error"])
    finally:
        _write_csv(folder, arms)


_Progress = Generator[tuple[str, float | Outcome]]  # name of a run; its share done, at the end its outcome


def _check(waiting: Sequence[tuple[str, Config]]) -> None:
    """Raises what no configuration shows by itself: too few classes or exemplars, a missing data set or device."""
    if not waiting:
        return
    from ..learn import learn

    for config in {config.model_copy(update={"seed": 0}): None for _, config in waiting}:
        learn(config)


def notes(arms: Sequence[Arm]) -> list[str]:
    """What was read from the folders that the runs train on, and what was left out."""
    from .. import datasets

    sources = dict.fromkeys(
        (data.name, data.image_size, data.spurious) for data in (arm.runs[0].data for arm in arms)
    )
    return list(dict.fromkeys(note for arguments in sources for note in datasets.load(*arguments).notes))


def _expected_outcomes(waiting: Sequence[tuple[str, Config]]) -> dict[str, Outcome]:
    """For runs that are still to be made, what `mixed` needs of an outcome: the data as they are now."""
    if not waiting:
        return {}
    from ..world import data_of

    expected: dict[str, Outcome] = {}
    prints: dict[str, Any] = {}
    for name, config in waiting:
        plain = config.model_dump()
        key = _data_key(plain)
        if key not in prints:
            prints[key] = data_of(config).fingerprint.plain()
        expected[name] = {"config": plain, "data": prints[key]}
    return expected


def _refuse_mixed(folder: Path, outcomes: Mapping[str, Outcome]) -> None:
    if problem := mixed(outcomes):
        raise DataError(f"{folder}: {problem}. Restore the data as they were, or choose another --out")


def mixed(outcomes: Mapping[str, Outcome]) -> str:
    """Which two runs ask for the same data but were trained on different ones, and how these differ; empty where
    there are none. What a run of an older version was trained on is not known."""
    first: dict[str, tuple[str, Fingerprint]] = {}
    for name, outcome in outcomes.items():
        if outcome.get("data"):
            data = Fingerprint.parse(outcome["data"])
            other, before = first.setdefault(_data_key(outcome["config"]), (name, data))
            if changes := in_words(before, data):
                return f"{name} was not trained on the same data as {other}: {changes}"
    return ""


def unknown_data(outcomes: Mapping[str, Outcome]) -> str:
    """What cannot be known about these runs, in one line; empty where there is nothing of the kind."""
    old = sum(1 for outcome in outcomes.values() if not outcome.get("data") and not outcome["error"])
    return f"{records.UNKNOWN} {old} of {len(outcomes)} runs." if old else ""


def _data_key(config: Mapping[str, Any]) -> str:
    """Equal where the same data are asked for, however their classes are used."""
    return json.dumps([config["data"].get(key) for key in ("name", "image_size", "spurious", "evaluate_on")])


def _in_this_process(waiting: Sequence[tuple[str, Config]], folder: Path) -> _Progress:
    if not waiting:
        return
    with _one_thread():
        for name, config in waiting:
            yield from ((name, news) for news in _train(config, folder / "runs" / name))


def _train(config: Config, place: Path) -> Iterator[float | Outcome]:
    """Trains a run from where it stopped."""
    from ..live import runs

    state = records.status_of(place) if (place / "run.json").exists() else None
    if state != "finished":
        # A failed one was interrupted before its failure was noted: it fails again, or the cause of it is gone.
        progress = runs.resume(place) if state == "unfinished" else runs.train(config, place, overwrite=True)
        try:
            with closing(progress):
                for record, event in progress:
                    if isinstance(event, Step):
                        yield record.share_done
        except (ConfigError, Diverged):  # the record has it; any other error would hit the other runs as well
            pass
    record = records.load(place)
    figures = {name: {key: measure(record, name) for key, measure in _MEASURES.items()} for name in record.accuracy}
    yield {
        **record.summary(),
        "figures": figures if record.finished else {},  # over fewer tasks they would be figures of something else
        "samples": record.samples,
        "data": record.started.data.plain() if record.started and record.started.data else None,
    }


@contextmanager
def _one_thread() -> Generator[None]:
    """Sums in one order, so that a result depends neither on `jobs` nor on the number of cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_workers(waiting: Sequence[tuple[str, Config]], folder: Path, jobs: int) -> _Progress:
    context, todo = get_context("spawn"), list(reversed(waiting))
    workers: dict[Any, Any] = {}  # the process at the other end of each connection
    try:
        for _ in range(min(jobs, len(todo))):
            parent_end, worker_end = context.Pipe()
            process = context.Process(target=_work, args=(worker_end, folder), daemon=True)
            with _ctrl_c_ignored():
                process.start()
                workers[parent_end] = process
            worker_end.close()
            parent_end.send(todo.pop())
        while workers:
            ready: list[Any] = connection.wait(list(workers))
            for end in ready:
                try:
                    news = end.recv()
                except (EOFError, OSError):
                    workers[end].join()
                    raise LabError(
                        f"a worker process ended with exit code {workers[end].exitcode}; if memory was short, use "
                        f"fewer --jobs"
                    ) from None
                if isinstance(news, LabError):
                    raise news
                yield news
                if not isinstance(news[1], Mapping):
                    continue
                if todo:
                    end.send(todo.pop())
                else:
                    end.close()
                    workers.pop(end).join()
    finally:
        for process in workers.values():
            process.terminate()  # a recorded run survives it at any moment
            process.join()


def _work(to_parent: Any, folder: Path) -> None:
    """The work of a worker process: it makes the runs that it is sent, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        with _one_thread():
            while True:
                name, config = to_parent.recv()
                reported = 0.0
                for news in _train(config, folder / "runs" / name):
                    if isinstance(news, Mapping) or time.monotonic() - reported > 0.1:
                        to_parent.send((name, news))
                        reported = time.monotonic()
    except EOFError:
        return
    except LabError as error:
        to_parent.send(error)


def _end_with_the_parent() -> None:
    """Even a parent that was killed leaves no process behind that goes on writing."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _ctrl_c_ignored() -> Generator[None]:
    """Processes started meanwhile ignore Ctrl-C from their first moment on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# --- The folder ----------------------------------------------------------------------------------------------------


def outcomes(folder: Path) -> dict[str, Outcome]:
    """All finished runs of a folder by name; RecordError names a file that is damaged."""
    return {file.stem: outcome(file) for file in outcome_files(folder)}


def outcome_files(folder: Path) -> list[Path]:
    return sorted((folder / "finished").glob("*.json"))


def outcome(file: Path) -> Outcome:
    """The outcome of one run; RecordError where the file is damaged."""
    try:
        with file.open("rb") as source:
            content = checks.outcome(source.read(checks.INDEX_BYTES + 1))
        content["config"] = in_current_names(content["config"])
        _rows(content, list(content["settings"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        message = f"{file} is damaged: {error!r:.300}; remove it, and the same sweep makes its run again"
        raise RecordError(message) from None
    return content


def _claim(folder: Path) -> None:
    if (folder / "results.csv").exists() and not (folder / "finished").is_dir():
        raise RecordError(f"{folder} holds a results.csv that no sweep made; choose another --out")
    try:
        for name in ("finished", "runs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"{folder} cannot be written: {error.strerror or error}; choose another --out") from None


def _write(file: Path, content: bytes) -> None:
    try:
        files.write(file, content)
    except OSError as error:
        raise RecordError(f"{file} cannot be written: {error.strerror or error}") from None


def _write_csv(folder: Path, arms: Sequence[Arm]) -> None:
    """Writes results.csv from all finished runs in the folder: other sweeps there keep their rows."""
    finished = outcomes(folder)
    settings = {key for arm in arms for key in arm.settings}
    names = sorted(settings.union(*(outcome["settings"] for outcome in finished.values())))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["preset", "method", *names, "seed", "protocol", *MEASURES, *COSTS])
    table = [row for outcome in finished.values() for row in _rows(outcome, names)]
    for row in sorted(table, key=lambda row: _place(row, names)):
        writer.writerow(["" if value is None else text_of(value) for value in row.values()])
    _write(folder / "results.csv", text.getvalue().encode())


def rows(arms: Sequence[Arm], outcomes: Mapping[str, Outcome]) -> list[Row]:
    """The rows of the arms' runs, arm by arm: columns as in results.csv, null where unknown or not of the method."""
    names = sorted({key for arm in arms for key in arm.settings})
    made = [outcomes[name] for arm in arms for name in map(name_of, arm.runs) if name in outcomes]
    return [row for outcome in made for row in _rows(outcome, names)]


def _rows(outcome: Outcome, names: Sequence[str]) -> list[Row]:
    config, figures = outcome["config"], outcome["figures"]
    return [
        {
            "preset": config["preset"],
            "method": config["method"],
            **{key: _value(config, key) for key in names},
            "seed": config["seed"],
            "protocol": protocol,
            **{key: figures.get(protocol, {}).get(key) for key in MEASURES},
            **{key: outcome[key] for key in COSTS},
        }
        for protocol in outcome["accuracy"]
    ]


def _value(config: Mapping[str, Any], key: str) -> Any:
    """A dotted setting of a dumped configuration, None where it is not there."""
    place: Any = config
    for part in key.split("."):
        place = place.get(part) if isinstance(place, Mapping) else None
    return place


def _place(row: Row, names: Sequence[str]) -> tuple[Any, ...]:
    method = METHODS.index(row["method"]) if row["method"] in METHODS else len(METHODS)
    protocols = (*PROTOCOLS, *(f"{name}_adapted" for name in PROTOCOLS))
    protocol = protocols.index(row["protocol"]) if row["protocol"] in protocols else len(protocols)
    return row["preset"], method, [in_order(row[key]) for key in names], row["seed"], protocol


def in_order(value: Any) -> tuple[bool, float, str]:
    """A key that sorts the values of a setting: numbers by size, before texts."""
    number = isinstance(value, int | float)
    return (not number, value if number else 0.0, text_of(value))
