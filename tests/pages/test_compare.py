"""The page Compare: arms regrouped from recorded results, published figures, bad addresses, damage."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from arli_core import records, sweeps
from arli_core.config import keys, preset
from arli_core.errors import RecordError
from arli_core.live import runs
from arli_core.sweeps import ablation, comparisons, name_of, plan
from arli_core.theory.intervals import Interval
from pages.parts.compare.sweep_bar import verdict, written

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "checkpoints" / "sweeps"
SIX = ["ari", "ari-adam", "itaml", "replay-balanced", "der++", "replay"]
BUDGETS = [20, 50, 100, 200, 500]
QUICK = {"train.epochs": 1, "data.tasks": 2, "train.batch_size": 200, "device": "cpu"}
# What docs/results.md asks of the shipped sweeps.
PLANNED = {
    "mnist-5k": [
        plan("mnist-5k", [*SIX, "joint", "finetune", "ewc", "lwf", "ari-paper", "ari-released"], 5),
        plan("mnist-5k", ["replay-balanced", "der++"], 5, {}, {"train.epochs": 6, "train.learning_rate": 0.003}),
        plan("mnist-5k", [method for method in SIX if method != "itaml"], 3, {"memory.budget": [20, 50, 200, 500]}),
        plan("mnist-5k", ["itaml"], 3, {"memory.budget": [20, 50, 200, 500]}, {"train.learning_rate": 0.1}),
        plan("mnist-5k", ["itaml"], 5, {}, {"train.learning_rate": 0.1}),
        plan("mnist-5k", SIX[1:], 5, {}, {"train.batch_size": 16}),
        ablation("mnist-5k", 5),
        plan("mnist-5k", ["ari-adam"], 5, sweeps.switches(0.2)),
    ],
    "scenes": [plan("scenes", SIX, 5)],
    "fashion-mnist": [plan("fashion-mnist", SIX, 3)],
}


@pytest.fixture(scope="module")
def shipped():
    """The sweep of each shipped folder, nothing in it damaged."""
    sweeps = {}
    for folder in sorted(SHIPPED.iterdir()):
        by_preset, problems = comparisons.read(folder)
        assert list(by_preset) == [folder.name] and problems == []
        sweeps |= by_preset
    return sweeps


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own copy of the shipped sweeps, and no run."""
    copy = Path(shutil.copytree(SHIPPED, tmp_path / "checkpoints" / "sweeps"))
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.chdir(ROOT)
    return copy


def open_page(**query: str) -> AppTest:
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.switch_page("pages/compare.py")
    for key, value in query.items():
        test.query_params[key] = value
    return test.run()


def texts(test: AppTest, kind: str) -> str:
    return "\n".join(element.value for element in getattr(test, kind))


def whole(test: AppTest) -> AppTest:
    assert not test.exception and not test.error and not test.warning
    return test


def arms_by_runs(arms) -> set[frozenset[str]]:
    return {frozenset(map(name_of, arm.runs)) for arm in arms}


# Arms, regrouped


def test_what_ships_is_what_the_presets_ask_today(shipped):
    """Each file is called what its configuration is called now, and answers a question of docs/results.md."""
    assert list(shipped) == sorted(PLANNED)
    for name, sweep in shipped.items():
        files = {file.stem for file in sweeps.outcome_files(SHIPPED / name)}
        assert (
            files
            == set(sweep.outcomes)
            == {name_of(run) for arms in PLANNED[name] for arm in arms for run in arm.runs}
        )
        assert arms_by_runs(sweep.arms) == set().union(*map(arms_by_runs, PLANNED[name]))
        assert {run.seed for arm in sweep.arms for run in arm.runs} <= set(range(5)) and not sweep.common


def test_no_sweep_trains_anew_what_ships(place, monkeypatch):
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("a finished run was made again"))
    for arms in PLANNED["mnist-5k"]:
        made = list(sweeps.make(arms, place / "mnist-5k"))
        assert made and all(isinstance(news, sweeps.Done) and news.error is None for news in made)


def test_the_shipped_runs_are_seed_0_of_the_shipped_sweeps(shipped):
    """Made at another time, by another command: the same figures, bit for bit."""
    for run in ("mnist-5k-ari", "mnist-5k-replay", "mnist-5k-finetune", "scenes-ari"):
        index = json.loads((ROOT / "checkpoints" / run / "run.json").read_bytes())
        config = records.config_of(ROOT / "checkpoints" / run)
        outcome = shipped[config.preset].outcomes[name_of(config)]
        for protocol, rows in index["accuracy"].items():
            valid = [[value for value in row if value is not None] for row in outcome["accuracy"][protocol]]
            assert valid == rows, (run, protocol)


settings = st.fixed_dictionaries(
    {},
    optional={
        "memory.budget": st.sampled_from([20, 100, 300]),
        "train.epochs": st.sampled_from([1, 5]),
        "fusion.eta": st.sampled_from([0.5, 1000.0]),
        "data.classes_per_task": st.sampled_from([1, (4, 2, 2, 2), (6, 4)]),
    },
)


@given(
    methods=st.lists(st.sampled_from(["ari", "replay", "ewc"]), min_size=1, unique=True),
    seeds=st.integers(1, 3),
    fixed=settings,
    eta=st.lists(st.sampled_from([0.1, 0.85, 1000.0]), unique=True),
)
def test_regrouping_finds_the_arms_of_any_plan(methods, seeds, fixed, eta):
    own = {key for method in methods for key in keys(method)}
    fixed = {key: value for key, value in fixed.items() if key in own}
    varied = {"fusion.eta": eta} if eta and "fusion.eta" in own and "fusion.eta" not in fixed else {}
    arms = plan("digits", methods, seeds, varied, fixed)
    outcomes = [(run, {"figures": {}}) for arm in reversed(arms) for run in reversed(arm.runs)]
    sweep = comparisons.regrouped(outcomes)["digits"]
    assert arms_by_runs(sweep.arms) == arms_by_runs(arms) and len(sweep.arms) == len(arms)
    for arm in sweep.arms:
        assert [run.seed for run in arm.runs] == list(range(seeds))
        for run in arm.runs:  # what it is called says all that it is
            changed = {key: value for key, value in sweep.common.items() if key in keys(arm.method)}
            rebuilt = preset("digits", arm.method, run.seed, **{**changed, **arm.varied})
            assert name_of(rebuilt) == name_of(run)
    assert len({arm.label for arm in sweep.arms}) == len(sweep.arms)


def test_increments_are_one_setting_and_how_many_tasks_there_are_follows():
    arms = plan("digits", ["ari", "replay"], 2, {"data.classes_per_task": [(4, 2, 2, 2), (6, 4), 2]})
    sweep = comparisons.regrouped((run, {}) for arm in arms for run in arm.runs)["digits"]
    assert sorted(arm.label for arm in sweep.arms) == sorted(
        f"{method}{more}"
        for method in ("ari", "replay")
        for more in ("", " data.classes_per_task=4,2,2,2", " data.classes_per_task=6,4")
    )
    curves = comparisons.curves(sweep)
    assert list(curves) == ["data.classes_per_task"]
    assert {label: list(line) for label, line in curves["data.classes_per_task"].items()} == {
        method: [(4, 2, 2, 2), (6, 4)] for method in ("ari", "replay")
    }


def test_measures_are_those_that_some_run_has():
    assert comparisons.measures_of({}) == ["average"]
    figures = {"per_sample": {"average": 0.5, "average_over_samples": None, "forgetting": None, "bwt": 0.1}}
    assert comparisons.measures_of({"old": {"figures": figures}}) == ["average", "bwt"]
    more = {"per_sample": {"average_over_samples": 0.4}}
    assert comparisons.measures_of({"old": {"figures": figures}, "new": {"figures": more}, "failed": {}}) == [
        "average",
        "average_over_samples",
        "bwt",
    ]


def test_settings_that_all_have_changed_are_named_once():
    arms = plan("digits", ["ari", "replay", "finetune"], 1, {}, {"memory.budget": 50})
    sweep = comparisons.regrouped((run, {}) for arm in arms for run in arm.runs)["digits"]
    assert sweep.common == {"memory.budget": 50} and [arm.label for arm in sweep.plain] == [
        "ari",
        "replay",
        "finetune",
    ]


def test_an_ablation_is_found_only_whole(shipped):
    parts = comparisons.parts(shipped["mnist-5k"])
    planned = ablation("mnist-5k", 5)
    assert [dict(arm.varied) for arm in parts] == [dict(arm.varied) for arm in planned]
    assert comparisons.effects(parts, shipped["mnist-5k"].outcomes) == comparisons.effects(
        planned, shipped["mnist-5k"].outcomes
    )
    without = [arm for arm in shipped["mnist-5k"].arms if arm.label != "ari fusion.weights=uniform"]
    assert comparisons.parts(replace(shipped["mnist-5k"], arms=tuple(without))) == []
    assert comparisons.parts(shipped["scenes"]) == []


def test_a_curve_is_what_is_alike_but_for_one_setting(shipped):
    curves = comparisons.curves(shipped["mnist-5k"])
    assert next(iter(curves)) == "memory.budget"
    named = {"ari", "ari-adam", "itaml train.learning_rate=0.1", "replay-balanced", "der++", "replay"}
    assert {label: list(line) for label, line in curves["memory.budget"].items()} == dict.fromkeys(named, BUDGETS)
    assert comparisons.curves(shipped["scenes"]) == {}


# Published figures


def table_of(heading: str, columns: int) -> dict[str, list[str]]:
    """The first table under a heading of docs/results.md, by its first cell, with plain signs and no emphasis."""
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    lines = text[text.index(heading) :].splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("|---"))
    rows = {}
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        first, *cells = (cell.strip().replace("*", "").replace("−", "-") for cell in line.strip("|").split("|"))
        rows[first.split(" (")[0]] = cells
        assert len(cells) == columns - 1
    return rows


def figures_in(cell: str) -> list[str]:
    return re.findall(r"-?\d\.\d{3}", cell)


@pytest.mark.parametrize("name", PLANNED)
def test_the_page_reproduces_the_published_table(place, name):
    published = table_of(f"## {name}:", 4)
    table = whole(open_page(view="methods", sweep=name)).dataframe[0].value
    assert set(table.index) == set(published) and len(published) >= 5
    for method, (average, forgetting, less) in published.items():
        row = {key: str(value).replace("−", "-") for key, value in table.loc[method].items()}
        assert figures_in(row["average accuracy"]) == figures_in(average), method
        assert figures_in(row["forgetting"])[0] == figures_in(forgetting)[0], method
        if method != "ari":  # the docs have ari minus this, the page this minus ari: the interval is reversed
            mean, low, high = (-float(figure) for figure in figures_in(less))
            assert figures_in(row["minus ari, by seed"]) == [f"{figure:z.3f}" for figure in (mean, high, low)]


def test_the_page_says_what_the_command_line_says(place, shipped):
    """Against another reference, another measure's table, and the file, in full precision."""
    lines = comparisons.tables(PLANNED["mnist-5k"][0], shipped["mnist-5k"].outcomes, against="replay")["task_aware"]
    test = whole(open_page(view="methods", protocol="task_aware", against="replay"))
    table = test.dataframe[0].value
    assert set(table.index) == {line["method"] for line in lines}
    for line in lines:
        row = table.loc[line["method"]]
        assert row["average accuracy"] == f"{line['mean']:.3f} [{line['low']:.3f}, {line['high']:.3f}]"
        assert (row["seeds"], line["failed"]) == (5, 0)
        if difference := line["difference"]:
            above = difference["low"] > 0 or difference["high"] < 0
            assert row["verdict"].endswith("beyond chance") == above and above != (row["verdict"] == "within chance")
    order = [float(cell.split()[0]) for cell in table["average accuracy"]]
    assert order == sorted(order, reverse=True)
    table = whole(open_page(view="methods", measure="forgetting")).dataframe[0].value
    order = [float(cell.split()[0].replace("−", "-")) for cell in table["forgetting"]]
    assert order == sorted(order)


def test_the_ablation_is_the_published_one(place):
    test = whole(open_page(view="parts"))
    effects, rows = (table.value for table in test.dataframe)
    assert list(effects["average accuracy"])[:2] == ["+0.014 [+0.004, +0.025]", "−0.005 [−0.007, −0.003]"]
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for cell in effects["average accuracy"][:2]:
        assert cell in text
    published = re.findall(r"^\| (on|off) \| (\w+) \| (on|off) \| (\S+ \[.*?\]) \| (\S+) \|", text, re.M)
    assert len(published) == len(rows) == 12
    for attack, weights, reset, average, forgetting in published:
        row = rows.loc[f"{weights}, attack {attack}, reset {reset}"]
        assert row["average accuracy"] == average and row["forgetting"].split()[0] == forgetting


def test_the_memory_curve_is_the_published_one(place):
    table = whole(open_page(view="setting")).dataframe[0].value
    published = table_of("**How much is kept**", 6)
    for method, cells in published.items():
        label = "itaml train.learning_rate=0.1" if method == "itaml" else method
        for budget, cell in zip(BUDGETS, cells, strict=True):
            (row,) = table[table["memory.budget"] == str(budget)].loc[[label], "average accuracy"]
            assert figures_in(row)[: len(figures_in(cell))] == figures_in(cell), (method, budget)


# The page


@pytest.mark.parametrize("view", ["methods", "parts", "setting", "runs"])
def test_every_view_is_whole_with_what_ships(view, monkeypatch):
    monkeypatch.chdir(ROOT)
    test = whole(open_page(view=view))
    assert test.dataframe and len(test.get("image")) == 1
    labels = {button.proto.label for button in test.get("download_button")}
    assert {"PNG", "SVG", "PDF", "CSV"} <= labels


def test_rows_reference_and_scale_come_from_the_address(place):
    six = "der++ train.epochs=6 train.learning_rate=0.003"
    test = whole(open_page(view="methods", rows=f"ari,{six}", against=six, scale="0.05"))
    assert set(test.dataframe[0].value.index) == {"ari", six}
    assert test.dataframe[0].value.loc["ari", f"minus {six}, by seed"] == "−0.001 [−0.012, +0.010]"
    test.multiselect[0].set_value(["ari", "replay"]).run()
    assert test.query_params["rows"] in ("ari,replay", ["ari,replay"]) and "against" not in test.query_params
    assert set(whole(test).dataframe[0].value.index) == {"ari", "replay"}


def asked(parameter: str, instead: str) -> str:
    return f"The address asks for {parameter}, which is not available here; showing {instead}"


@pytest.mark.parametrize(
    ("query", "note"),
    [
        ({"view": "x-ray"}, asked("view=x-ray", "Methods")),
        ({"sweep": "nothing"}, "There is no sweep nothing; showing mnist-5k"),
        ({"protocol": "oracle"}, asked("protocol=oracle", "per-sample")),
        ({"measure": "luck"}, asked("measure=luck", "average accuracy")),
        ({"against": "magic"}, asked("against=magic", "ari")),
        ({"scale": "7"}, asked("scale=7", "All")),
        ({"rows": "magic,ari"}, "There is no row magic; showing the others"),
        ({"rows": "magic"}, "There is no row magic; showing the usual ones"),
        (
            {"view": "parts", "sweep": "scenes"},
            "scenes does not have all 12 combinations of ARI's switches; showing mnist-5k",
        ),
        ({"view": "setting", "setting": "fusion.magic"}, asked("setting=fusion.magic", "memory.budget")),
        ({"view": "setting", "lines": "ari,x"}, "There is no row x; showing the others"),
    ],
)
def test_an_address_that_does_not_exist_is_put_right_visibly(place, query, note):
    test = open_page(**query)
    assert not test.exception and not test.error
    assert note in texts(test, "warning") and len(test.warning) == 1
    assert test.dataframe


@pytest.mark.parametrize("view", ["methods", "parts", "setting"])
def test_where_no_sweep_is_a_command_makes_one(place, view):
    shutil.rmtree(place)
    test = whole(open_page(view=view))
    assert "recorded runs" in texts(test, "info")
    (code,) = test.code
    assert code.value.startswith("python -m arli_core ") and str(place / "NAME") in code.value
    assert "ablate" in code.value if view == "parts" else "sweep" in code.value


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"settings": {}, "config": 3}', "figure", "method", "preset"])
def test_a_damaged_result_is_named_and_the_rest_is_shown(place, content):
    (arm,) = plan("scenes", ["replay"], 5)
    file = place / "scenes" / "finished" / f"{name_of(arm.runs[4])}.json"
    outcome = json.loads(file.read_text())
    if content == "figure":
        outcome["figures"]["per_sample"]["average"] = "high"
    elif content in ("method", "preset"):
        outcome["config"][content] = "magic"
    file.write_text(json.dumps(outcome) if content in ("figure", "method", "preset") else content)
    with pytest.raises(RecordError, match=re.escape(file.name)):
        comparisons.outcome_of(file)
    test = open_page(view="methods", sweep="scenes")
    assert not test.exception
    assert file.name in texts(test, "error") and "remove it" in texts(test, "error")
    table = test.dataframe[0].value
    assert table.loc["replay", "seeds"] == 4 and table.loc["ari", "seeds"] == 5


def test_a_sweep_of_ones_own_appears_by_itself(place):
    """Two seeds, a run that diverges, a setting that all have: made as the command line makes it."""
    arms = plan("digits", ["finetune", "joint"], 2, {}, QUICK)
    broken = plan("digits", ["finetune"], 1, {}, {**QUICK, "train.learning_rate": 1e20})
    for _ in sweeps.make([*arms, *broken], place / "mine"):
        pass
    test = whole(open_page(view="methods", sweep="mine"))
    assert "the preset digits with data.tasks = 2" in texts(test, "caption")
    table = test.dataframe[0].value
    assert sorted(table.index) == ["finetune", "joint"] and list(table["seeds"]) == [2, 2] and "failed" not in table
    diverged = "finetune train.learning_rate=1e+20"
    table = whole(open_page(view="methods", sweep="mine", rows=f"finetune,{diverged}")).dataframe[0].value
    assert table.loc[diverged, ["seeds", "failed", "average accuracy"]].tolist() == [0, 1, "–"]
    assert table.loc[diverged, "verdict"] == "no interval"


def test_a_single_seed_has_no_interval(place):
    for file in (place / "scenes" / "finished").glob("*.json"):
        if not file.stem.endswith("seed0"):
            file.unlink()
    test = whole(open_page(view="methods", sweep="scenes"))
    assert "**No interval.**" in texts(test, "markdown")
    assert set(test.dataframe[0].value["verdict"]) == {"reference", "no interval"}


def test_a_folder_of_two_presets_is_two_sweeps(place):
    for file in (place / "scenes" / "finished").glob("*.json"):
        shutil.copy(file, place / "fashion-mnist" / "finished")
    shutil.rmtree(place / "scenes")
    test = whole(open_page(view="methods", sweep="fashion-mnist/scenes"))
    assert test.selectbox[0].options == ["mnist-5k", "fashion-mnist/fashion-mnist", "fashion-mnist/scenes"]
    assert test.dataframe[0].value.loc["ari", "average accuracy"].startswith("0.754")


# Runs side by side


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "checkpoints"
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(root))
    monkeypatch.chdir(ROOT)
    for name, method in (("a", "finetune"), ("b", "joint")):
        for _ in runs.train(preset("digits", method, **QUICK, **{"recording.probes": 1}), root / name):
            pass
    next(runs.train(preset("digits", "replay", **QUICK), root / "begun"))
    return root


def test_runs_side_by_side_differ_in_what_the_table_says(recorded):
    test = whole(open_page(view="runs", runs="a,b"))
    final, differ, cost = (table.value for table in test.dataframe)
    for name in ("a", "b"):
        summary = records.load(name).summary()
        assert final.loc["average accuracy, per-sample", name] == summary["average"]["per_sample"]
        assert final.loc["forgetting, group vote", name] == summary["forgetting"]["vote"]
    assert differ.to_dict("index") == {"method": {"a": "finetune", "b": "joint"}}
    assert list(cost.loc["device"]) == ["cpu", "cpu"]
    assert "one run gives no interval" in texts(test, "info").replace("\n", " ")


def test_a_run_that_has_just_begun_stands_beside_others(recorded):
    test = whole(open_page(view="runs", runs="a,begun"))
    assert set(test.dataframe[0].value["begun"].isna()) == {True}
    assert whole(open_page(view="runs", runs="begun")).dataframe


@pytest.mark.parametrize(
    ("names", "note", "expected"),
    [
        ("a,nobody", "nobody: not recorded here; showing the others", ["a"]),
        ("nobody", "nobody: not recorded here; showing the usual ones", ["a", "b"]),
    ],
)
def test_missing_runs_are_named(recorded, names, note, expected):
    test = open_page(view="runs", runs=names)
    assert not test.exception and note in texts(test, "warning")
    assert test.multiselect[0].value == expected


def test_too_many_runs_get_a_note(recorded):
    for name in ("c", "d", "e"):
        shutil.copytree(recorded / "a", recorded / name)
    test = open_page(view="runs", runs="a,b,c,d,e")
    assert "5 runs are too many to tell apart; showing 4" in texts(test, "warning") and not test.exception
    assert list(test.dataframe[0].value.columns) == ["a", "b", "c", "d"]


def test_a_damaged_run_is_named_and_the_others_are_shown(recorded):
    (recorded / "a" / "task-1.safetensors").write_bytes(b"damaged")
    test = open_page(view="runs", runs="a,b")
    assert "task-1.safetensors" in texts(test, "error") and not test.exception
    assert list(test.dataframe[0].value.columns) == ["b"]


def test_without_a_run_there_is_nothing_to_set_side_by_side(place):
    assert "No recorded run yet" in texts(whole(open_page(view="runs")), "info")


def test_the_page_needs_no_torch():
    code = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        "for view in ('methods', 'parts', 'setting', 'runs'):\n"
        "    test = AppTest.from_file('app.py', default_timeout=60).switch_page('pages/compare.py')\n"
        "    test.query_params['view'] = view\n"
        "    assert not test.run().exception and test.dataframe, view\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_interval_is_written_with_as_many_digits_as_its_side_of_zero_takes():
    assert written(Interval(5, 0.9213, 0.907, 0.9351)) == "0.921 [0.907, 0.935]"
    assert written(Interval(3, 0.0032, 0.00021, 0.0062), "+") == "+0.0032 [+0.0002, +0.0062]"
    assert written(Interval(3, -0.0032, -0.0062, -0.00021), "+") == "−0.0032 [−0.0062, −0.0002]"
    assert written(Interval(3, 0.0, -0.0002, 0.0002), "+") == "+0.0000 [−0.0002, +0.0002]"
    assert written(Interval(3, -0.0003, -0.007, 0.0068), "+") == "+0.000 [−0.007, +0.007]"
    assert written(Interval(1, 0.5, None, None)) == "0.500" and written(Interval(0, None, None, None)) == "–"


@given(st.floats(-1, 1), st.floats(0, 0.1))
def test_what_is_written_and_the_verdict_agree(mean, half):
    interval = Interval(3, mean, mean - half, mean + half)
    low, high = (float(end.replace("−", "-")) for end in written(interval, "+").split("[")[1][:-1].split(","))
    if verdict(interval) != "within chance" and min(abs(mean - half), abs(mean + half)) > 1e-6:
        assert low > 0 or high < 0
