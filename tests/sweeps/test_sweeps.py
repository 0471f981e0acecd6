"""Sweeps: what is planned, that interruption changes nothing, what tables show. Workers: tests/cli/test_sweeps.py."""

import csv
import itertools
import json
import math
from contextlib import closing

import numpy as np
import pytest

from arli_core import sweeps
from arli_core.config import PROTOCOLS, preset
from arli_core.errors import ConfigError, DataError, RecordError
from arli_core.live import runs
from arli_core.sweeps import Advanced, Done, ablation, make, name_of, plan
from arli_core.sweeps.comparisons import effects, tables

QUICK = {"train.epochs": 1, "train.batch_size": 100, "data.tasks": 2, "memory.budget": 20}


def csv_of(folder, without=("seconds",)):
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{key: value for key, value in row.items() if key not in without} for row in rows]


def made(arms, folder, **options):
    return list(make(arms, folder, **options))


# What is planned


def test_methods_values_and_seeds_are_crossed():
    varied = {"fusion.eta": [0.1, 0.85], "memory.budget": [20, 50, 100]}
    arms = plan("digits", ["ari", "replay", "finetune"], 2, varied, {"attack.epsilon": 0.1, "train.epochs": 3})
    of = {method: [arm for arm in arms if arm.method == method] for method in ("ari", "replay", "finetune")}
    assert [dict(arm.varied) for arm in of["ari"]] == [
        {"fusion.eta": eta, "memory.budget": budget} for eta in (0.1, 0.85) for budget in (20, 50, 100)
    ]
    assert [dict(arm.varied) for arm in of["replay"]] == [{"memory.budget": budget} for budget in (20, 50, 100)]
    assert [dict(arm.varied) for arm in of["finetune"]] == [{}]  # it has neither: its runs are made once
    for arm in arms:
        assert [config.seed for config in arm.runs] == [0, 1]
        for config in arm.runs:
            assert config.train.epochs == 3 and (config.recording.frames, config.recording.probes) == (2, 0)
    config = of["ari"][4].runs[1]
    assert config == preset("digits", "ari", 1, **{**of["ari"][4].settings, **sweeps.LEAN})
    assert len({name_of(config) for arm in arms for config in arm.runs}) == 20


def test_a_run_is_named_by_what_its_result_depends_on():
    config = preset("digits", seed=3)
    same = preset("digits", seed=3, device="cpu", **{"recording.frames": 7, "train.epochs": config.train.epochs})
    assert name_of(config) == name_of(same)
    assert name_of(config).startswith("digits-ari-") and name_of(config).endswith("-seed3")
    others = [
        preset("digits", seed=4),
        preset("digits", "ari-paper", 3),
        preset("digits", seed=3, **{"fusion.eta": 1}),
    ]
    assert len({name_of(config_) for config_ in (config, *others)}) == 4


@pytest.mark.parametrize(
    ("methods", "varied", "settings", "parts"),
    [
        (["ari", "replay"], {"fusion.etta": [1]}, {}, ["fusion.etta: ari and replay have no such", "fusion.eta,"]),
        (["replay"], {"fusion.eta": [1]}, {}, ["fusion.eta: replay has no such", "memory.budget"]),
        (["replay"], {}, {"fusion.eta": 1}, ["fusion.eta: replay has no such"]),
        (["ari", "replay"], {"fusion.eta": [0.1, -1]}, {}, ["fusion.eta", "greater than or equal to 0", "-1"]),
        (["ari", "replay"], {"fusion.eta": [0.1, "x"]}, {}, ["fusion.eta", "number", "'x'"]),
        (["ari"], {"fusion.eta": [0.1]}, {"fusion.eta": 1}, ["fusion.eta is both set and varied"]),
        (["ari"], {"fusion.eta": [0.1, 0.10]}, {}, ["fusion.eta: 0.1 is listed twice"]),
        (["ari", "ari"], {}, {}, ["methods: ari is listed twice"]),
        (["ari", "magic"], {}, {}, ["unknown method 'magic'"]),
        ([], {}, {}, ["methods: at least one"]),
        (["ari"], {"fusion.eta": []}, {}, ["fusion.eta: at least one"]),
    ],
)
def test_bad_plans_are_reported(methods, varied, settings, parts):
    with pytest.raises(ConfigError) as caught:
        plan("digits", methods, 1, varied, settings)
    for part in parts:
        assert part in str(caught.value)


def test_no_seed_is_no_plan():
    with pytest.raises(ConfigError, match="seeds: at least 1 is needed, got 0"):
        plan("digits", ["ari"], 0)


def test_an_ablation_has_12_arms_of_ari():
    arms = ablation("digits", 2, {"train.epochs": 2, "attack.epsilon": 0.1})
    settings = [
        (c.attack.epsilon, c.fusion.weights, c.fusion.reset, c.train.epochs) for (c, _) in (a.runs for a in arms)
    ]
    expected = itertools.product((0.1, 0), ("adaptive", "uniform", "last"), (True, False), (2,))
    assert settings == list(expected)
    with pytest.raises(ConfigError, match=r"attack\.epsilon: 0 leaves no attack"):
        ablation("digits", 1, {"attack.epsilon": 0})
    with pytest.raises(ConfigError, match=r"an ablation varies fusion\.reset itself"):
        ablation("digits", 1, {"fusion.reset": False})


# Making the runs


@pytest.fixture(scope="module")
def arms():
    return plan("digits", ["ari", "replay"], 2, {"fusion.eta": [0.1, 0.85]}, {**QUICK, "train.epochs": 2}, "cpu")


@pytest.fixture(scope="module")
def whole(arms, tmp_path_factory):
    """(folder, news) of a sweep that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, made(arms, folder)


def test_every_run_is_reported_and_has_its_rows(arms, whole):
    folder, news = whole
    done = [(event.arm.label, event.seed, event.error) for event in news if isinstance(event, Done)]
    assert done == [(arm.label, seed, None) for arm in arms for seed in (0, 1)]
    shares = [event.share for event in news if isinstance(event, Advanced)]
    assert all(0 < share <= 1 for share in shares) and shares.count(1.0) == len(done)
    rows = csv_of(folder, without=())
    assert list(rows[0]) == ["preset", "method", "data.tasks", "fusion.eta", "memory.budget", "train.batch_size",
                              "train.epochs", "seed", "protocol", "average",
                              "average_over_samples", "average_incremental", "forgetting",
                              "bwt", "seconds", "samples", "device", "error"]  # fmt: skip
    assert [(row["method"], row["fusion.eta"], row["seed"], row["protocol"]) for row in rows] == [
        (method, eta, seed, protocol)
        for method, eta in (("ari", "0.1"), ("ari", "0.85"), ("replay", ""))
        for seed in "01"
        for protocol in PROTOCOLS
    ]
    assert list((folder / "runs").iterdir()) == []


def test_its_figures_are_those_of_the_run_itself(arms, whole, tmp_path):
    folder, _ = whole
    config = arms[1].runs[1]
    for record, _ in runs.train(config, tmp_path / "run"):
        last = record
    summary = last.summary()
    for row in csv_of(folder):
        if (row["method"], row["fusion.eta"], row["seed"]) == ("ari", "0.85", "1"):
            matrix = summary["accuracy"][row["protocol"]]
            assert float(row["average"]) == summary["average"][row["protocol"]] == np.mean(matrix[1])
            assert float(row["average_incremental"]) == pytest.approx((matrix[0][0] + np.mean(matrix[1])) / 2)
            assert float(row["forgetting"]) == summary["forgetting"][row["protocol"]] == -float(row["bwt"])
            assert int(row["samples"]) == last.samples and row["device"] == "cpu" and row["error"] == ""


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_cut_in_the_middle_of_a_run_it_ends_the_same(share, arms, whole, tmp_path, monkeypatch):
    with closing(make(arms, tmp_path)) as progress:
        for news in progress:
            if isinstance(news, Advanced) and (news.arm, news.seed) == (arms[1], 0) and news.share > share:
                break
    assert len(csv_of(tmp_path)) == 2 * len(PROTOCOLS)  # of the two runs before
    resumed = []
    resume = runs.resume
    monkeypatch.setattr(runs, "resume", lambda place: resumed.append(place.name) or resume(place))
    news = made(arms, tmp_path)
    assert resumed == [name_of(arms[1].runs[0])]
    (first,) = [event.share for event in news if isinstance(event, Advanced) and event.arm is arms[1]][:1]
    assert (first > 0.5) == (share > 0.5)  # it went on from the task it was cut in
    assert csv_of(tmp_path) == csv_of(whole[0])


def nothing_trains(monkeypatch):
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("a finished run was made again"))


def test_another_question_takes_what_matches(whole, monkeypatch):
    """Fewer seeds, fewer values, the other order, and a value that is given explicitly but unchanged."""
    nothing_trains(monkeypatch)
    folder, _ = whole
    before = (folder / "results.csv").read_text()
    fewer = plan("digits", ["replay", "ari"], 1, {"fusion.eta": [0.85]}, {**QUICK, "train.epochs": 2})
    assert [(done.arm.method, done.error) for done in made(fewer, folder)] == [("replay", None), ("ari", None)]
    assert (folder / "results.csv").read_text() == before
    explicit = plan(
        "digits", ["ari"], 2, {}, {**QUICK, "train.epochs": 2, "fusion.eta": 0.85, "fusion.distance": "l1"}
    )
    made(explicit, folder)
    ari = [row for row in csv_of(folder) if row["method"] == "ari"]
    assert {row["fusion.distance"] for row in ari} == {"l1"} and len(ari) == 2 * 2 * len(PROTOCOLS)
    (folder / "results.csv").write_text(before)  # other tests read this folder too


def test_a_run_that_diverges_is_a_row_and_not_the_end(tmp_path, monkeypatch):
    varied = {"train.learning_rate": [1e20, 0.01]}
    arms = plan("digits", ["finetune"], 1, varied, {key: QUICK[key] for key in QUICK if key != "memory.budget"})
    first, second = [event for event in made(arms, tmp_path) if isinstance(event, Done)]
    assert "diverged in task 1" in first.error and second.error is None
    good, bad = (
        [row for row in csv_of(tmp_path) if row["train.learning_rate"] == value] for value in ("0.01", "1e+20")
    )
    assert len(good) == len(bad) == len(PROTOCOLS)
    assert {(row["average"], row["forgetting"], row["error"]) for row in bad} == {("", "", first.error)}
    (line, other) = tables(arms, sweeps.outcomes(tmp_path))["vote"]
    assert (line["n"], line["failed"], line["mean"]) == (0, 1, None)
    assert (other["n"], other["failed"], other["difference"]["n"]) == (1, 0, 0)
    nothing_trains(monkeypatch)
    assert [event.error for event in made(arms, tmp_path)] == [first.error, None]


def test_what_cannot_run_is_reported_before_anything_runs(tmp_path, monkeypatch):
    nothing_trains(monkeypatch)
    with pytest.raises(ConfigError, match="at most 5 tasks"):
        made(plan("digits", ["replay"], 1, {"data.tasks": [2, 6]}), tmp_path)
    monkeypatch.setenv("ARLI_DATA", str(tmp_path / "nothing"))
    with pytest.raises(DataError, match="cub-200: found no"):
        made(plan("digits", ["finetune"], 1, {"data.name": ["digits", "cub-200"]}), tmp_path)


def test_runs_are_kept_when_asked(tmp_path):
    arms = plan("digits", ["finetune"], 1, {}, {"train.epochs": 1, "data.tasks": 2})
    made(arms, tmp_path, keep=True)
    assert (tmp_path / "runs" / name_of(arms[0].runs[0]) / "run.json").exists()


def test_a_failure_that_was_not_noted_down_is_tried_again(tmp_path, monkeypatch):
    """Killed between the end of a run and its row: a failed run is trained again, a finished one is only read."""
    arms = plan(
        "digits", ["finetune"], 1, {"train.learning_rate": [0.01, 1e20]}, {"train.epochs": 1, "data.tasks": 2}
    )
    made(arms, tmp_path, keep=True)
    for file in (tmp_path / "finished").iterdir():
        file.unlink()
    train, trained = runs.train, []
    monkeypatch.setattr(
        runs, "train", lambda *arguments, **more: trained.append(arguments[0]) or train(*arguments, **more)
    )
    done = [event.error for event in made(arms, tmp_path) if isinstance(event, Done)]
    assert trained == [arms[1].runs[0]] and done[0] is None and "diverged" in done[1]


def test_results_of_others_are_left_alone(tmp_path):
    (tmp_path / "results.csv").write_text("mine")
    with pytest.raises(RecordError, match=r"holds a results\.csv that no sweep made; choose another --out"):
        made(plan("digits", ["finetune"], 1), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RecordError, match=r"cannot be written: .*; choose another --out"):
        made(plan("digits", ["finetune"], 1), tmp_path / "file" / "sweep")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"settings": {}, "config": 3}'])
def test_a_damaged_result_is_named(content, tmp_path):
    (tmp_path / "finished").mkdir()
    (tmp_path / "finished" / "x.json").write_text(content)
    with pytest.raises(
        RecordError, match=r"x\.json is damaged: .*; remove it, and the same sweep trains its run again"
    ):
        made(plan("digits", ["finetune"], 1), tmp_path)


# What they show, with made-up figures


def outcome(arm, config, averages):
    figures = {name: {"average": averages, "average_incremental": 0.5, "forgetting": 0.25, "bwt": None}
               for name in PROTOCOLS}  # fmt: skip
    return {
        "config": config.model_dump(),
        "settings": dict(arm.settings),
        "accuracy": dict.fromkeys(PROTOCOLS),
        "figures": figures if averages is not None else {},
        "seconds": 1.5,
        "samples": 7,
        "device": "cpu",
        "error": None if averages is not None else "training diverged",
    }


def outcomes(arms, average):
    return {
        name_of(config): outcome(arm, config, average(dict(arm.varied), arm.method, config.seed))
        for arm in arms
        for config in arm.runs
    }


def test_a_table_against_a_literal_computation():
    values = {"ari": [0.9, 0.8, 0.7], "replay": [0.85, 0.83, 0.6], "finetune": [0.2, None, 0.3]}
    arms = plan("digits", list(values), 3)
    by_protocol = tables(arms, outcomes(arms, lambda _, method, seed: values[method][seed]), against="replay")
    assert list(by_protocol) == list(PROTOCOLS)
    ari, replay, finetune = by_protocol["vote"]
    assert [line["method"] for line in by_protocol["vote"]] == list(values) and replay["difference"] is None
    assert (ari["n"], ari["failed"]) == (3, 0) and ari["mean"] == pytest.approx(0.8)
    assert ari["high"] == pytest.approx(0.8 + 4.302653 * 0.1 / math.sqrt(3), rel=1e-6)
    differences = [0.05, -0.03, 0.1]
    mean = sum(differences) / 3
    s = math.sqrt(sum((difference - mean) ** 2 for difference in differences) / 2)
    assert ari["difference"]["mean"] == pytest.approx(mean) and ari["difference"]["n"] == 3
    assert ari["difference"]["low"] == pytest.approx(mean - 4.302653 * s / math.sqrt(3), rel=1e-5)
    assert (finetune["n"], finetune["failed"], finetune["difference"]["n"]) == (2, 1, 2)  # seeds 0 and 2
    assert finetune["difference"]["mean"] == pytest.approx((0.2 - 0.85 + 0.3 - 0.6) / 2)
    assert ari["forgetting"] == {"n": 3, "mean": 0.25, "low": 0.25, "high": 0.25}
    assert ari["bwt"] == {"n": 0, "mean": None, "low": None, "high": None}
    assert tables(arms, {})["vote"][1]["mean"] is None
    with pytest.raises(ConfigError, match="itaml is not in this comparison; valid: ari, replay, finetune"):
        tables(arms, {}, against="itaml")


def test_one_seed_has_no_intervals():
    arms = plan("digits", ["ari"], 1, {"fusion.eta": [0, 1]})
    first, second = tables(arms, outcomes(arms, lambda varied, *_: varied["fusion.eta"] / 2))["per_sample"]
    assert (first["mean"], first["low"], first["high"]) == (0.0, None, None)
    assert second["difference"] == {"n": 1, "mean": 0.5, "low": None, "high": None}
    assert (first["settings"], second["settings"]) == ({"fusion.eta": 0}, {"fusion.eta": 1})


def test_protocols_that_only_some_arms_have():
    arms = plan("digits", ["replay", "finetune"], 1, {"adaptation.epochs": [0, 1]})
    by_protocol = tables(arms, {})
    assert [len(by_protocol[name]) for name in ("task_aware", "task_aware_adapted")] == [3, 1]
    assert by_protocol["vote_adapted"][0]["settings"] == {"adaptation.epochs": 1}


def test_main_effects_against_literal_loops():
    arms = ablation("digits", 3)
    rng = np.random.default_rng(0)
    values = {(arm.label, seed): float(rng.uniform()) for arm in arms for seed in range(3)}
    of = {(arm.varied["attack.epsilon"] > 0, arm.varied["fusion.weights"], arm.varied["fusion.reset"]): arm.label
          for arm in arms}  # fmt: skip
    results = outcomes(arms, lambda *_: 0.0)
    for arm in arms:
        for config in arm.runs:
            results[name_of(config)] = outcome(arm, config, values[arm.label, config.seed])
    attack, uniform, last, reset = effects(arms, results)["vote"]
    switches = list(itertools.product(("adaptive", "uniform", "last"), (True, False)))
    for seed_effects, effect in (
        ([[values[of[True, w, r], s] - values[of[False, w, r], s] for w, r in switches] for s in range(3)], attack),
        ([[values[of[a, w, True], s] - values[of[a, w, False], s] for a in (True, False)
           for w in ("adaptive", "uniform", "last")] for s in range(3)], reset),
        ([[values[of[a, "adaptive", r], s] - values[of[a, "uniform", r], s] for a in (True, False)
           for r in (True, False)] for s in range(3)], uniform),
        ([[values[of[a, "adaptive", r], s] - values[of[a, "last", r], s] for a in (True, False)
           for r in (True, False)] for s in range(3)], last),
    ):  # fmt: skip
        means = [sum(values_of_seed) / len(values_of_seed) for values_of_seed in seed_effects]
        mean = sum(means) / 3
        half = 4.302653 * math.sqrt(sum((value - mean) ** 2 for value in means) / 2) / math.sqrt(3)
        interval = effect.interval
        assert (interval.n, interval.mean) == (3, pytest.approx(mean))
        assert (interval.low, interval.high) == (pytest.approx(mean - half), pytest.approx(mean + half))


def test_effects_in_words():
    """The attack helps, reset hurts, weights only add noise; a seed with a failed run does not count."""

    def average(varied, _, seed):
        noise = 0.01 * (-1) ** seed if varied["fusion.weights"] == "adaptive" else 0
        return 0.5 + 0.1 * (varied["attack.epsilon"] > 0) - 0.2 * varied["fusion.reset"] + noise + 0.01 * seed

    arms = ablation("digits", 4)
    results = outcomes(arms, average)
    verdicts = {(effect.switch, effect.difference): effect.verdict for effect in effects(arms, results)["vote"]}
    assert verdicts == {
        ("attack", "on - off"): "higher, beyond chance",
        ("weights", "adaptive - uniform"): "within chance",
        ("weights", "adaptive - last"): "within chance",
        ("reset", "on - off"): "lower, beyond chance",
    }
    failed = arms[0].runs[3]
    results[name_of(failed)] = outcome(arms[0], failed, None)
    attack, *_ = effects(arms, results)["vote"]
    assert attack.interval.n == 3 and attack.interval.mean == pytest.approx(0.1)
    one_seed = ablation("digits", 1)
    assert effects(one_seed, outcomes(one_seed, average))["vote"][0].verdict == "no interval"


def test_rows_are_plain_json(arms, whole):
    rows = sweeps.rows(arms, sweeps.outcomes(whole[0]))
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows and len(rows) == 6 * len(PROTOCOLS)
    assert (rows[0]["fusion.eta"], rows[-1]["fusion.eta"], rows[0]["train.epochs"]) == (0.1, None, 2)
