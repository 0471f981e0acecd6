"""Two runs that race: in lockstep, on the same batches where that is claimed, and each as if it had run alone."""

import time
from collections.abc import Iterator
from itertools import combinations, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from arli_core import learn, records
from arli_core.config import METHODS, Config, changes, preset
from arli_core.errors import Busy, ConfigError
from arli_core.live import race, runs
from arli_core.live.jobs import Job, Jobs, State, _Turns, next_iteration
from arli_core.schedule import Schedule
from arli_core.world import open_world
from pages.parts.shell import run_bar

ROOT = Path(__file__).parents[2]
QUICK = {"data.tasks": 2, "train.epochs": 2, "train.batch_size": 64, "recording.probes": 1, "device": "cpu"}
PATIENCE = 120  # seconds


def config(method: str, **settings: object) -> Config:
    return preset("digits", method, **{**QUICK, **settings})


def pair(first: str = "ari", second: str = "replay", **settings: object) -> dict[str, Config]:
    one = config(first, **settings)
    return {"one": one, "other": race.matched(one, config(second))}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(tmp_path))
    return tmp_path


@pytest.fixture
def jobs(place: Path) -> Iterator[Jobs]:
    jobs = Jobs()
    yield jobs
    jobs.end()


def wait(condition, *jobs: Job) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, [(job.name, job.state, job.error) for job in jobs]
        time.sleep(0.01)


def ended(*jobs: Job) -> None:
    wait(lambda: not any(job.alive for job in jobs), *jobs)


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[tuple[int, int], int]]]:
    """Where each racer is, and how many tasks it has done, before every turn: as the thread sees them."""
    positions = []
    may_go_on = _Turns._may_go_on

    def look(turns: _Turns) -> bool:
        positions.append([(next_iteration(job.record), len(job.record.tasks)) for job in turns.jobs])
        return may_go_on(turns)

    monkeypatch.setattr(_Turns, "_may_go_on", look)
    return positions


def equal(name: str, other: str | Path) -> None:
    """All that two runs recorded, time and place aside, bit for bit."""
    first, second = records.load(name), records.load(other)
    assert first.config == second.config and first.status == second.status
    assert first.accuracy == second.accuracy and first.samples == second.samples
    assert len(first.tasks) == len(second.tasks)
    for task in range(1, len(first.tasks) + 1):
        for key, value in vars(first.frames(task)).items():
            np.testing.assert_array_equal(value, getattr(second.frames(task), key))
        for key, value in first.weights[task].items():
            np.testing.assert_array_equal(value, second.weights[task][key])


# The batches


def drawn(config: Config) -> dict[tuple[int, int], list[list[int]]]:
    """The sample indices of every batch, by task and epoch, as `learn` draws them."""
    stream = open_world(config, torch.device("cpu")).stream
    batches = {}
    for task in range(1, stream.tasks + 1):
        schedule = Schedule(config, stream, task)
        for epoch in range(config.train.epochs):
            batches[task, epoch] = [batch.tolist() for batch in schedule.batches(epoch)]
    return batches


def test_the_same_batches_are_the_same_indices_in_the_same_order():
    """Of every pair of methods: all batches, or those of the first task alone, exactly where the page says so."""
    configs = {method: config(method, **{"data.tasks": 3}) for method in METHODS}
    for first, second in combinations(METHODS, 2):
        one, other = configs[first], race.matched(configs[first], configs[second])
        claim, ours, theirs = race.same_batches(one, other), drawn(one), drawn(other)
        alike = {task for task in (1, 2, 3) if all(ours[task, epoch] == theirs[task, epoch] for epoch in range(2))}
        assert alike == {"all": {1, 2, 3}, "first task": {1}}[claim], (first, second)


@pytest.mark.parametrize(
    "settings", [{"train.batch_size": 100}, {"train.epochs": 3}, {"augmentation.shift": 1}, {"data.class_order": 1}]
)
def test_no_batch_is_called_the_same_where_a_setting_of_the_batches_differs(settings):
    assert race.same_batches(config("ari"), config("itaml", **settings)) == "none"
    assert race.same_batches(config("ari"), race.matched(config("ari"), config("itaml", **settings))) == "all"


def test_other_exemplars_are_other_batches_after_the_first_task():
    for settings in ({"memory.budget": 50}, {"memory.batches": "mixed"}):
        assert race.same_batches(config("ari"), config("itaml", **settings)) == "first task"


def test_matching_leaves_a_method_its_own_optimiser_and_start():
    one, other = config("ari"), race.matched(config("ari"), config("replay"))
    assert other.memory.batches == "balanced" and other.train.optimiser == "adam"
    assert race.same_start(one, other) and not race.same_start(one, config("ari-paper"))
    assert race.own_settings(one, other) == {
        "train.optimiser": ("sgd", "adam"),
        "train.learning_rate": (0.1, 0.01),
    }


def test_racers_see_the_same_images_moved_alike(jobs, monkeypatch):
    """What reaches the methods, augmented: every batch of every task, in order; and both start from equal weights."""
    batches: dict[str, list[bytes]] = {}
    starts: list[torch.Tensor] = []
    create = learn.create

    def watched(config, *rest):
        method = create(config, *rest)
        step = method.step
        starts.append(method.phi.clone())

        def look(batch, *rest):
            batches.setdefault(config.method, []).append(
                batch.images.numpy().tobytes() + batch.labels.numpy().tobytes()
            )
            return step(batch, *rest)

        monkeypatch.setattr(method, "step", look)
        return method

    monkeypatch.setattr(learn, "create", watched)
    racers = jobs.race(pair(**{"augmentation.shift": 1, "augmentation.flip": True}))
    ended(*racers)
    assert [job.state for job in racers] == [State.FINISHED] * 2
    assert len(batches["ari"]) > 10 and batches["ari"] == batches["replay"]
    assert torch.equal(*starts)


# Turns


def test_a_race_is_in_lockstep_and_each_run_is_what_it_is_alone(jobs, place, rounds):
    configs = pair()
    racers = jobs.race(configs)
    assert [job.racers for job in racers] == [racers, racers] and jobs.under_way() == [racers]
    ended(*racers)
    assert all(one == other for one, other in rounds)
    assert len({one for one, _ in rounds}) == len(rounds) > 10
    for name, own in configs.items():
        for _ in runs.train(own, place / f"{name}-alone"):
            pass
        equal(name, f"{name}-alone")


def test_the_one_with_fewer_iterations_waits_at_the_tasks_end(jobs, rounds):
    """Fine-tuning has no exemplars to see. Both begin each task together, and are measured in the same turn."""
    racers = jobs.race(pair("ari", "finetune", **{"memory.budget": 500}))
    ended(*racers)
    waited = [one for one, other in rounds if one[0][0] == 2 and other[0] == (3, 0)]
    assert len(waited) > 1
    assert all(one[1] == other[1] for one, other in rounds)
    assert [job.state for job in racers] == [State.FINISHED] * 2


@pytest.mark.parametrize("failing", ["one", "other"])
def test_when_one_fails_the_other_goes_on(jobs, place, failing):
    configs = pair()
    bad = configs[failing]
    configs[failing] = bad.model_copy(update={"train": bad.train.model_copy(update={"learning_rate": 1e30})})
    racers = {job.name: job for job in jobs.race(configs)}
    ended(*racers.values())
    (well,) = racers.keys() - {failing}
    assert racers[failing].state is State.FAILED and "diverged" in (racers[failing].error or "")
    assert racers[well].state is State.FINISHED and records.load(failing).status == "failed"
    for _ in runs.train(configs[well], place / "alone"):
        pass
    equal(well, "alone")


def test_a_taken_name_ends_that_racer_alone(jobs):
    first = jobs.start("other", config("finetune"))
    ended(first)
    racers = jobs.race(pair())
    ended(*racers)
    assert [job.state for job in racers] == [State.FINISHED, State.FAILED]
    assert "recorded run already" in (racers[1].error or "")


def test_pause_stop_and_resume_are_of_both(jobs, place):
    configs = pair(**{"train.epochs": 4})
    racers = jobs.race(configs)
    wait(lambda: all(job.record.last for job in racers), *racers)
    racers[1].pause()
    assert [job.state for job in racers] == [State.PAUSED] * 2
    time.sleep(0.5)  # the turn under way is made
    wait(lambda: len({next_iteration(job.record) for job in racers}) == 1, *racers)
    places = [next_iteration(job.record) for job in racers]
    time.sleep(0.3)
    assert [next_iteration(job.record) for job in racers] == places
    jobs.resume("other", "one")
    assert [job.state for job in racers] == [State.RUNNING] * 2
    with pytest.raises(Busy, match="one is training"):
        jobs.start("third", config("finetune"))
    wait(lambda: racers[0].record.saved is not None, *racers)
    racers[0].stop()
    wait(lambda: [job.state for job in racers] == [State.STOPPED] * 2, *racers)
    assert jobs.under_way() == [racers] and not jobs.alive()
    again = jobs.resume("one", "other")
    assert [job.name for job in again] == ["one", "other"] and jobs.under_way() == [again]
    ended(*again)
    for name, own in configs.items():
        for _ in runs.train(own, place / f"{name}-alone"):
            pass
        equal(name, f"{name}-alone")


def test_resuming_lets_the_one_behind_catch_up(jobs, place):
    """As after a server that ended when one run was saved and the other was not yet."""
    configs = pair(**{"train.epochs": 3})
    for name, epochs in (("one", 2), ("other", 1)):
        saved = 0
        for record, _ in runs.train(configs[name], place / name):
            saved = record.saved.epoch if record.saved else 0
            if saved == epochs:
                break
    ahead, behind = (next_iteration(records.load(name)) for name in configs)
    assert ahead > behind > (1, 0)
    racers = jobs.resume("one", "other")
    while not (places := [next_iteration(job.record) for job in racers])[1] >= ahead:
        assert places[0] == ahead or places[1] >= ahead
    ended(*racers)
    assert [job.state for job in racers] == [State.FINISHED] * 2
    for name, own in configs.items():
        for _ in runs.train(own, place / f"{name}-alone"):
            pass
        equal(name, f"{name}-alone")


def test_of_a_stopped_race_only_what_is_unfinished_goes_on(jobs, place):
    for _ in runs.train(config("finetune"), place / "one"):
        pass
    for _ in islice(runs.train(config("replay"), place / "other"), 5):
        pass
    (job,) = jobs.resume("one", "other")
    assert job.name == "other"
    ended(job)
    assert job.state is State.FINISHED


# Words and numbers


def test_changes_are_what_is_not_as_in_the_preset():
    assert changes(preset("digits", "ari", 3)) == {}
    assert changes(config("replay", **{"memory.budget": 50})) == {**QUICK, "memory.budget": 50}
    with pytest.raises(ConfigError, match="not made from a preset"):
        changes(preset("digits").model_copy(update={"preset": None}))


def test_the_standing_is_that_of_the_records(jobs):
    racers = jobs.race(pair())
    ended(*racers)
    recorded = [job.record for job in racers]
    lines = {line.what: line for line in race.standing(*recorded)}
    averages = [record.summary()["average"]["per_sample"] for record in recorded]
    assert lines["average accuracy"].values == tuple(averages)
    assert [race.average_accuracies(record)[-1] for record in recorded] == pytest.approx(averages)
    forgotten = [record.summary()["forgetting"]["per_sample"] for record in recorded]
    level = len(set(averages)) == 1
    assert lines["average accuracy"].leader == (None if level else int(np.argmax(averages)))
    assert lines["forgetting"].leader == (None if len(set(forgotten)) == 1 else int(np.argmin(forgotten)))
    assert lines["seconds"].leader == int(np.argmin([record.seconds for record in recorded]))
    assert lines["samples"].values[0] == lines["samples"].values[1] and lines["samples"].leader is None
    assert lines["loss"].leader is not None
    assert race.standing(recorded[0], recorded[0])[0].leader is None  # level


# The page


@pytest.fixture
def lab(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(ROOT)
    run_bar.jobs.clear()
    yield place
    run_bar.jobs().end()
    run_bar.jobs.clear()


def open_train(**query: str) -> AppTest:
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    test.switch_page("pages/train.py")
    for key, value in query.items():
        test.query_params[key] = value
    return test.run()


def texts(test: AppTest, kind: str) -> str:
    return "\n".join(element.value for element in getattr(test, kind))


def labels(test: AppTest) -> list[str]:
    return [button.label for button in test.button]


def press(test: AppTest, label: str) -> AppTest:
    return next(button for button in test.button if button.label == label).click().run()


def test_the_form_says_what_is_the_same_and_what_is_not(lab):
    test = open_train(view="race")
    assert not test.exception and not test.error and not test.warning
    text = texts(test, "markdown")
    assert (
        "**every batch**: the same samples in the same order" in text and "train.learning_rate: 0.1 / 0.003" in text
    )
    assert "also the weights at the start" in text
    assert "**Changed from the preset:** replay-balanced: train.batch_size = 16." in text  # ari's own
    test.selectbox(key="race-The other").select("replay").run()
    text = texts(test, "markdown")
    assert "**Changed from the preset:** replay: train.batch_size = 16; replay: memory.batches = balanced." in text
    test.selectbox(key="race-The other").select("finetune").run()
    text = texts(test, "markdown")
    assert "the batches of task 1" in text and "new samples alone: no exemplars are kept" in text
    assert "**every batch**" not in text
    next(box for box in test.number_input if box.label == "memory.budget").set_value(0).run()
    assert "memory.budget: input should be greater" in texts(test, "error") and "Start" not in labels(test)


def test_a_race_is_started_paused_stepped_stopped_and_goes_on_from_its_page(lab):
    test = open_train(view="race")
    test.selectbox(key="race-preset").select("digits").run()
    next(box for box in test.number_input if box.label == "data.tasks").set_value(2).run()
    next(box for box in test.number_input if box.label == "train.batch_size").set_value(200).run()
    press(test, "Start paused")
    names = ["digits-ari-0", "digits-replay-balanced-0"]
    assert [test.query_params[key] for key in ("view", "run", "other")] == ["race", *names]
    racers = [run_bar.jobs().get(name) for name in names]
    assert {"Go on", "One step", "Stop"} <= set(labels(test))
    assert "Paused before the first iteration" in texts(test, "info")
    run_bar.jobs().step(names[0])
    wait(lambda: all(job.record.last for job in racers), *racers)
    test = open_train(view="race", run=names[0], other=names[1])  # as a reload, or a second tab
    assert not test.exception and "iteration 1 of" in test.get("progress")[0].proto.text
    assert "Which run leads" in texts(test, "markdown") and "known when both" in texts(test, "caption")
    tab = open_train(run=names[1])
    assert "are in a race: they pause, step and stop together" in texts(tab, "info") and "See the race" in labels(tab)
    tab = open_train(view="race")
    assert f"{names[0]} is paused · {names[1]} is paused" in texts(tab, "info")
    press(test, "Stop")
    wait(lambda: [job.state for job in racers] == [State.STOPPED] * 2, *racers)
    test.run()
    press(test, "Go on")
    racers = [run_bar.jobs().get(name) for name in names]
    ended(*racers)
    test = open_train(view="race", run=names[0], other=names[1])
    assert not test.exception and not test.error
    assert {"Another race"} == set(labels(test)) & {"Another race", "Go on", "Pause", "Stop"}
    assert "leads** after task 2" in texts(test, "markdown") or "Level after task 2" in texts(test, "markdown")
    table = test.dataframe[0].value
    assert list(table.columns) == ["ari", "replay-balanced"]
    assert float(table.loc["average accuracy", "ari"].split()[0]) == pytest.approx(
        records.load(names[0]).summary()["average"]["per_sample"], abs=5e-4
    )
    run_bar.jobs.clear()  # as after a restart of the server: from what is recorded
    test = open_train(view="race", run=names[0], other=names[1])
    assert not test.exception and test.dataframe[0].value.equals(table)
    press(test, "Another race")
    assert "other" not in test.query_params and "Start" in labels(test)


def test_a_failed_racer_says_why_while_the_other_goes_on(lab):
    configs = pair(**{"train.epochs": 30})
    bad = configs["one"].train.model_copy(update={"learning_rate": 1e30})
    configs["one"] = configs["one"].model_copy(update={"train": bad})
    racers = run_bar.jobs().race(configs)
    wait(lambda: not racers[0].alive, *racers)
    test = open_train(view="race", run="one", other="other")
    assert not test.exception
    assert "diverged" in texts(test, "error") and "other goes on without it" in texts(test, "error")
    assert "Pause" in labels(test)


def test_invalid_names_and_another_run_in_training_start_nothing(lab):
    for _ in runs.train(config("finetune"), lab / "taken"):
        pass
    for first, second, message in (
        ("same", "same", "the same name"),
        ("fresh", "taken", "There is already a run called taken."),
        ("../away", "fresh", "cannot name a run"),
    ):
        test = open_train(view="race")
        for field, name in zip(test.text_input, (first, second), strict=True):
            field.set_value(name)
        press(test, "Start")
        assert message in texts(test, "error") and records.names() == ["taken"]
    job = run_bar.jobs().start("busy", config("finetune", **{"train.epochs": 200}))
    test = open_train(view="race")
    assert "busy is running." in texts(test, "info")
    press(test, "Start")
    assert "busy is training. Wait for it" in texts(test, "error")
    job.stop()


def test_an_address_of_runs_that_are_not_there_falls_back_to_the_form(lab):
    test = open_train(view="race", run="nobody", other="no-one")
    assert "These runs are not recorded here: nobody and no-one." in texts(test, "warning") and "Start" in labels(
        test
    )
    assert "The address asks for view=x, which is not available here; showing" in texts(
        open_train(view="x"), "warning"
    )


# What was tried


def test_tried_configurations_stand_with_what_each_cost(lab):
    test = open_train()
    assert "No run of mnist-5k is recorded here yet" in texts(test, "caption")
    for name, own in {
        "first": config("finetune"),
        "second": config("replay", **{"memory.budget": 50}),
    }.items():
        for _ in runs.train(own, lab / name):
            pass
    test.selectbox(key="preset-box").select("digits").run()
    table = test.dataframe[0].value
    assert list(table.index) == ["second", "first"]  # newest first
    record = records.load("second")
    assert table.loc["second", "changed"].endswith("memory.budget = 50")
    assert "method" not in table.loc["second", "changed"] and "seed" not in table.loc["second", "changed"]
    assert table.loc["second", "samples"] == record.samples > 0 and table.loc["second", "seconds"] == record.seconds
    assert table.loc["second", "accuracy"] == record.summary()["average"]["per_sample"]
    order = next(group for group in test.button_group if group.label == "Order")
    order.set_value("best first").run()
    assert test.dataframe[0].value["accuracy"].is_monotonic_decreasing
    test.selectbox(key="tried-digits").select("second").run()
    press(test, "Fill the form with these settings")
    assert test.query_params["again"] == "second" and test.selectbox(key="method-box").value == "replay"
    assert "Changed: " in texts(test, "caption") and "memory.budget = 50" in texts(test, "caption")
    (lab / "first" / "run.json").write_bytes(b"damaged")
    test = open_train()
    test.selectbox(key="preset-box").select("digits").run()
    assert not test.exception and list(test.dataframe[0].value.index) == ["second"]


def test_a_finished_run_shows_what_it_cost_in_all(lab):
    job = run_bar.jobs().start("one", config("finetune"))
    ended(job)
    test = open_train(run="one")
    metrics = {metric.label: metric.value for metric in test.metric}
    assert metrics["Samples"] == f"{job.record.samples:,}" and metrics["Device"] == "cpu"
    assert "Total time" in metrics and "Time left" not in metrics
