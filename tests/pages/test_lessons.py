"""The lessons: each from its link, from question to answer, with figures recomputed here from the runs' files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as some
from streamlit.testing.v1 import AppTest

from arli_core import records
from arli_core.analysis.answers import answers_of
from arli_core.config import Evaluation
from arli_core.theory.consensus import stationary
from arli_core.theory.metrics import average_accuracy
from pages.parts.lessons import attack, consensus, distances, eigenvector, evaluation, forgetting

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "checkpoints"
LESSONS = {
    "forgetting": forgetting,
    "attack": attack,
    "distances": distances,
    "eigenvector": eigenvector,
    "consensus": consensus,
    "evaluation": evaluation,
}
TRUE = ":material/check_circle:"


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARLI_CHECKPOINTS", raising=False)
    monkeypatch.chdir(ROOT)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped runs, to be damaged."""
    copy = Path(shutil.copytree(SHIPPED, tmp_path / "checkpoints"))
    monkeypatch.setenv("ARLI_CHECKPOINTS", str(copy))
    return copy


def open_page(page: str, query: dict[str, str]) -> AppTest:
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    test.switch_page(f"pages/{page}.py")
    for key, value in query.items():
        test.query_params[key] = value
    return test.run()


def open_lesson(name: str, **query: str) -> AppTest:
    return open_page("lessons", {"lesson": name, **query})


def button(test: AppTest, label: str):
    return next(element for element in test.button if element.label == label)


def predict(test: AppTest, answer: int) -> AppTest:
    test.radio[0].set_value(answer).run()
    return button(test, "Reveal").click().run()


def texts(test: AppTest, *kinds: str) -> str:
    return "\n".join(element.value for kind in kinds for element in getattr(test, kind))


def metrics(test: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in test.metric}


def links(test: AppTest) -> dict[str, str]:
    """The links of the page itself: where each leads, by its label."""
    return {link.proto.label: link.proto.query_string for link in test.main.get("page_link")}


def index_of(run: str, root: Path = SHIPPED) -> dict:
    return json.loads((root / run / "run.json").read_text())


def arrays(run: str, task: int) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(SHIPPED / run / f"task-{task}.safetensors")


def star_of(run: str, task: int, frame: int) -> np.ndarray:
    """dif* (Eq. 7 and 8), entry by entry, from the recorded distances."""
    eta, D = index_of(run)["config"]["fusion"]["eta"], arrays(run, task)["distance"][frame]
    size = range(len(D))
    dif = [[D[i][j] ** 2 + eta for j in size] for i in size]
    return np.array([[dif[i][j] / sum(dif[i]) for j in size] for i in size])


def deviations_of(run: str, task: int) -> list[float]:
    frames = len(arrays(run, task)["distance"])
    return [abs(star_of(run, task, frame) - 1 / (task + 1)).max() for frame in range(frames)]


# The page


def test_without_a_lesson_six_cards_stand_in_order():
    test = open_page("lessons", {})
    assert not test.exception and not test.warning
    opened = {label: query for label, query in links(test).items() if label.startswith("Open lesson")}
    assert opened == {f"Open lesson {n}": f"lesson={name}" for n, name in enumerate(LESSONS, 1)}
    text = texts(test, "markdown", "caption")
    for module in LESSONS.values():
        lesson = module.LESSON
        assert lesson.title in text and lesson.asks in text
        assert f"{lesson.minutes} minutes · needs {lesson.needs}" in text and 0 < lesson.minutes < 5
    assert not metrics(test) and not test.radio


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ({"lesson": "poetry"}, "There is no lesson poetry; showing all 6"),
        ({"lesson": ""}, "There is no lesson ; showing all 6"),
        ({"key": "7"}, "Unknown key '7'; use key=1"),
    ],
)
def test_an_address_that_does_not_exist_falls_back_visibly(query, answer):
    test = open_page("lessons", query)
    assert answer in texts(test, "warning") and not test.exception
    assert "Open lesson 1" in links(test)


def test_a_bad_key_opens_the_lesson_without_its_answer():
    test = open_lesson("distances", key="yes")
    assert "Unknown key" in texts(test, "warning")
    assert not metrics(test) and TRUE not in texts(test, "markdown") and test.radio


@pytest.mark.parametrize("name", LESSONS)
def test_a_lesson_opens_from_its_link_and_gives_nothing_away(name):
    test = open_lesson(name)
    assert not test.exception and not test.error and not test.warning
    assert test.radio[0].value is None and len(test.radio[0].options) in (3, 4)
    assert button(test, "Reveal").disabled
    assert TRUE not in texts(test, "markdown") and "Why." not in texts(test, "markdown")
    assert not (test.selectbox or test.slider or test.select_slider or test.multiselect or test.number_input)
    numbers = list(LESSONS)
    at = numbers.index(name)
    neighbours = {f"Lesson {n + 1}": f"lesson={numbers[n]}" for n in (at - 1, at + 1) if 0 <= n < len(numbers)}
    assert links(test) == neighbours | {"All lessons": ""}


@pytest.mark.parametrize("name", LESSONS)
def test_a_prediction_stays_beside_what_was_measured(name):
    """Right or wrong: only one answer is marked as true, and the address does not give it away."""
    right, options = story_of(name).right, [option.text for option in story_of(name).answers]
    for answer in (right, (right + 1) % len(options)):
        test = predict(open_lesson(name), answer)
        assert not test.exception and not test.error
        verdict = texts(test, "success", "info")
        assert f"You predicted: **{options[answer]}**" in verdict and "Measured: " in verdict
        assert [line.count(options[right]) for line in texts(test, "markdown").split("\n") if TRUE in line] == [1]
        assert bool(test.success) == (answer == right)
        assert dict(test.query_params) == {"lesson": name}
        assert not test.radio and metrics(test)
    again = button(test, "Predict again").click().run()
    assert again.radio[0].value is None and button(again, "Reveal").disabled
    assert TRUE not in texts(again, "markdown")


@pytest.mark.parametrize("name", LESSONS)
def test_every_door_of_a_lesson_opens_its_scene(name):
    test = predict(open_lesson(name), 0)
    for door in story_of(name).now_try:
        assert links(test)[door.label] == "&".join(f"{key}={value}" for key, value in door.query.items())
        target = open_page(Path(door.page).stem, dict(door.query))
        assert not target.exception and not target.error
        # Nothing had to be corrected.
        assert ":material/swap_horiz:" not in [element.icon for element in target.warning]
        for key, value in door.query.items():
            assert target.query_params[key] == value


def story_of(name: str):
    lesson = LESSONS[name].LESSON
    return lesson.tell(*(records.load(run) for run in lesson.runs))


# What the lessons say, computed again


def test_forgetting_shows_the_recorded_accuracies():
    test = predict(open_lesson("forgetting"), 0)
    for label, run in (("fine-tuning", "finetune"), ("replay", "replay"), ("ARI", "ari")):
        rows = index_of(f"mnist-5k-{run}")["accuracy"]["per_sample"]
        assert metrics(test)[f"{label}: after task 1 → 5"] == f"{rows[0][0]:.3f} → {rows[-1][0]:.3f}"


def test_the_lesson_tells_what_the_runs_of_this_place_have(place, rewrite):
    """If fine-tuning forgot nothing, another answer would be true."""
    for accuracy, true in ((0.97, "Nearly all"), (0.4, "Some"), (0.11, "About as many as guessing"), (0.01, "Fewer")):
        rewrite(
            place / "mnist-5k-finetune",
            lambda index, accuracy=accuracy: index["accuracy"]["per_sample"][-1].__setitem__(0, accuracy),
        )
        text = texts(open_lesson("forgetting", key="1"), "markdown")
        assert f"{TRUE} **{true}" in text and f"a share of **{accuracy:.3f}**; after task 1" in text


def test_the_attack_lands_where_b_lets_it():
    """delta, B and the shares, step by step on the images of the lesson."""
    import torch
    import torch.nn.functional as F

    from arli_core.analysis.masks import learned, masks_of
    from arli_core.stream import ATTACK, generator_for

    record = records.load("scenes-ari")
    masks, run = masks_of(record), learned(record)
    indices = masks.spread(100)
    assert masks.objects is not None
    x, objects = run.normalised(masks.images[indices]), torch.tensor(masks.objects[indices])
    std = run.stream.std.view(-1, 1, 1)
    eps = index_of("scenes-ari")["config"]["attack"]["epsilon"] / std
    noise = torch.rand(x.shape, generator=generator_for(0, ATTACK))
    module = run.module.eval()
    probe = (x + (2 * noise - 1) * eps).requires_grad_()
    logits, attention = module(probe)
    F.cross_entropy(logits, torch.tensor(masks.units[indices])).backward()
    assert probe.grad is not None
    delta = torch.minimum(torch.maximum((2 * noise - 1) * eps + eps * probe.grad.sign(), -eps), eps)
    background = 1 - attention.detach() ** 2
    through = (abs(background * delta) * std).sum(1)
    whole = (abs(delta) * std).sum(1)
    test = predict(open_lesson("attack"), 0)
    assert metrics(test)["Digit: share of |δ|"] == f"{whole[objects].sum() / whole.sum():.1%}"
    assert metrics(test)["Digit: share of |B∘δ|"] == f"{through[objects].sum() / through.sum():.1%}"
    assert metrics(test)["Share of |δ| let through"] == f"{through.sum() / whole.sum():.1%}"
    assert metrics(test)["B on the digit, mean"] == f"{background[:, 0][objects].mean():.2f}"
    assert metrics(test)["B around it, mean"] == f"{background[:, 0][~objects].mean():.2f}"
    labels = torch.tensor(masks.units[indices])
    valid = ((0 - run.stream.mean.view(-1, 1, 1)) / std, (1 - run.stream.mean.view(-1, 1, 1)) / std)
    attacked = torch.minimum(torch.maximum(x + background * delta, valid[0]), valid[1])
    with torch.no_grad():
        right = [float((module(images)[0].argmax(1) == labels).float().mean()) for images in (x, attacked)]
    assert metrics(test)["Share correct, before → after"] == f"{right[0]:.2f} → {right[1]:.2f}"


def test_distances_end_where_the_record_does():
    test = predict(open_lesson("distances"), 0)
    first, last = star_of("mnist-5k-ari", 5, 0)[-1], star_of("mnist-5k-ari", 5, -1)[-1]
    own, steady = (deviations_of(run, 5) for run in ("mnist-5k-ari", "mnist-5k-ari-constant"))
    names = [f"φ_{n}" for n in range(1, 6)] + ["φ_b"]
    assert metrics(test)[f"Weight of $φ_{{{names[first.argmax()][2:]}}}$, first"] == f"{first.max():.3f}"
    assert metrics(test)["Deviation, first"] == f"{own[0]:.3f}"
    assert float(metrics(test)["Deviation, last"]) == pytest.approx(own[-1], rel=0.1)
    assert metrics(test)["Constant rate: last deviation"] == f"{steady[-1]:.3f}"
    for label, values in (("Falling rate: uniform from", own), ("Constant rate: uniform from", steady)):
        stays = [i for i in range(len(values)) if all(value <= 0.03 for value in values[i:])]
        assert metrics(test)[label] == (f"iteration {stays[0]} of {len(values)}" if stays else "never")
    assert f"within **{abs(last - 1 / 6).max():.1e}** of 1/6" in texts(test, "success", "info")


def test_every_matrix_of_shares_has_the_eigenvector():
    test = predict(open_lesson("eigenvector"), 2)
    random = np.random.default_rng(0).random((3, 3))
    random = np.array([[entry / sum(row) for entry in row] for row in random])
    matrices = [star_of("mnist-5k-ari", 2, 0), star_of("mnist-5k-ari", 2, -1), random]
    for name, T in zip(("first iteration", "last iteration", "random numbers"), matrices, strict=True):
        assert max(abs(sum(row) - 1) for row in T) < 1e-12
        second = sorted(abs(np.linalg.eigvals(T)))[-2]
        assert float(metrics(test)[f"|λ₂|, {name}"]) == pytest.approx(second, rel=0.06)
    assert test.success


def test_models_meet_where_repeated_fusion_takes_them():
    test = predict(open_lesson("consensus"), 2)
    T, gram = star_of("mnist-5k-ari", 5, 0), arrays("mnist-5k-ari", 5)["gram"][0]
    name, powers = "$φ_{5}$", [np.eye(6)]
    for _ in range(200):
        powers.append(powers[-1] @ T)

    def apart(rows: np.ndarray) -> float:
        """The largest distance between two mixtures of the models, from their Gram matrix."""
        return max(((a - b) @ gram @ (a - b)) ** 0.5 for a in rows for b in rows)

    assert powers[-1][0].argmax() == 4
    assert metrics(test)[f"{name} where they meet"] == f"{powers[-1][0, 4]:.3f}"
    D = arrays("mnist-5k-ari", 5)["distance"][0]
    dif = D**2 + index_of("mnist-5k-ari")["config"]["fusion"]["eta"]
    assert metrics(test)[f"{name}: its row's share of dif"] == f"{dif[4].sum() / dif.sum():.3f}"
    assert metrics(test)[f"{name} in the first $φ_f$"] == f"{T[5, 4]:.3f}"
    assert metrics(test)["Distance left after 1 fusion"] == f"{apart(powers[1]) / apart(powers[0]):.1%}"
    assert metrics(test)["Distance left after 5 fusions"] == f"{apart(powers[5]) / apart(powers[0]):.1%}"
    assert test.success


def test_three_accuracies_are_those_of_the_record():
    test = predict(open_lesson("evaluation"), 0)
    rows = index_of("mnist-5k-replay")["accuracy"]
    for label, protocol in (
        ("Task-aware", "task_aware"),
        ("Group vote, p = 20", "vote"),
        ("Per-sample", "per_sample"),
    ):
        last = rows[protocol][-1]
        assert metrics(test)[label] == f"{sum(last) / len(last):.3f}"
    finetune = index_of("mnist-5k-finetune")["accuracy"]["task_aware"][-1]
    assert metrics(test)["Fine-tuning, task-aware"] == f"{sum(finetune) / len(finetune):.3f}"
    assert (metrics(test)["Guessing, task-aware"], metrics(test)["Guessing, per-sample"]) == ("0.500", "0.100")


# One answer is true, whatever the runs may hold


def one(answers) -> bool:
    return sum(answer.true for answer in answers) == 1 and len(answers) in (3, 4)


shares = some.floats(0, 1)


@given(shares, some.integers(3, 1000), shares)
def test_one_answer_fits_whatever_remains(remaining, classes, aware):
    assert one(forgetting.answers(remaining, classes, aware, 0.5))


@given(shares, some.floats(1e-3, 1))
def test_one_answer_fits_wherever_the_attack_lands(share, level):
    assert one(attack.answers(share, level))


@given(some.lists(some.floats(1e-3, 1), min_size=2, max_size=8))
def test_one_answer_fits_whatever_the_last_row_holds(row):
    assert one(distances.answers(np.array(row) / sum(row)))


@given(some.lists(some.sampled_from([0.0, 1e-16, 1e-3, 1.0]), min_size=3, max_size=3))
def test_one_answer_fits_whatever_rows_sum_to(residuals):
    assert one(eigenvector.answers(residuals))


@given(some.integers(2, 7), some.integers(0, 10**6), some.sampled_from([0.0, 0.1, 10.0, 1e6]))
def test_one_answer_fits_wherever_models_meet(models, seed, eta):
    D = np.random.default_rng(seed).random((models, models)) * (1 - np.eye(models))
    dif = (D + D.T) ** 2 + eta
    answers = consensus.answers(dif / dif.sum(1, keepdims=True), dif)
    assert one(answers)
    if eta == 1e6:
        assert answers[0].true  # all alike: the plain mean


def test_two_camps_never_meet():
    camps = np.kron(np.eye(2), np.ones((2, 2)))
    assert consensus.answers(camps / 2, camps)[3].true


@given(shares, shares)
def test_one_answer_fits_any_two_accuracies(aware, per_sample):
    assert one(evaluation.answers(aware, per_sample, 5))


# The lecturer's key


def test_the_answer_key_holds_all_six():
    test = open_page("lessons", {"key": "1"})
    assert not test.exception and not test.error and not test.warning
    text = texts(test, "markdown")
    for number, name in enumerate(LESSONS, 1):
        assert f"{number} · {LESSONS[name].LESSON.title}" in text
        assert f"**Question.** {story_of(name).question}" in text
        assert f"**For discussion, a misconception.** {story_of(name).misconception}" in text
        assert links(test)[f"Lesson {number} with its pictures"] == f"lesson={name}&key=1"
        for label, value in story_of(name).figures.items():
            assert value in [metric.value for metric in test.metric if metric.label == label]
    assert sum(TRUE in line for line in text.split("\n")) == len(LESSONS)
    assert not test.radio


@pytest.mark.parametrize("name", LESSONS)
def test_the_key_of_a_lesson_opens_all_of_it_at_once(name):
    test = open_lesson(name, key="1")
    assert not test.exception and not test.error and not test.warning and not test.radio
    text, story = texts(test, "markdown"), story_of(name)
    for part in (story.scene, story.question, story.why, story.not_shown, story.misconception):
        assert part in text
    for door in story.now_try:
        assert door.label in text and door.outcome in text
        assert door.outcome not in texts(predict(open_lesson(name), 0), "markdown")
    assert story.figures.items() <= metrics(test).items()
    assert links(test) == {
        "The lesson, as students see it": f"lesson={name}",
        "Answer key of all lessons": "key=1",
    }


def test_of_a_group_that_is_half_of_other_tasks_no_p_makes_a_better_vote_than_each_sample_alone():
    for name in ("mnist-5k-replay", "mnist-5k-ari"):
        record = records.load(name)
        answers = answers_of(record, len(record.tasks))
        alone = record.figure(average_accuracy, "per_sample")
        for group in (2, 5, 10, 20, 50, 100):
            assert np.mean(answers.accuracies(Evaluation(group=group, mixing=0.5))["vote"]) < alone - 0.3


def test_a_camp_that_gives_weight_to_another_follows_it():
    camps = np.kron(np.eye(2), [[0.6, 0.4], [0.3, 0.7]])
    camps[0] = [0.5, 0.3, 0.2, 0]
    np.testing.assert_allclose(stationary(camps)[:2], 0, atol=1e-12)


# Where the runs are not as they should be


@pytest.mark.parametrize("name", LESSONS)
def test_a_missing_run_is_named_with_what_makes_it(place, name):
    gone = LESSONS[name].LESSON.runs[-1]
    shutil.rmtree(place / gone)
    test = open_lesson(name)
    assert not test.exception and not test.error
    assert gone in texts(test, "info") and "`make checkpoints`" in texts(test, "info")
    assert not test.radio and "All lessons" in links(test)
    assert f"Missing runs: {gone}" in texts(open_page("lessons", {}), "caption")


@pytest.mark.parametrize("name", LESSONS)
def test_an_unfinished_run_is_named(place, name, rewrite):
    run = LESSONS[name].LESSON.runs[0]
    rewrite(place / run, lambda index: index.update(finished=False))
    test = open_lesson(name)
    assert (
        not test.exception
        and f"This lesson needs the run {run}, with at least two tasks, all of them learned." in texts(test, "info")
        and not test.radio
    )


@pytest.mark.parametrize("name", LESSONS)
def test_a_damaged_file_is_named(place, name):
    damaged = place / LESSONS[name].LESSON.runs[0] / "task-2.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:40])
    test = open_lesson(name)
    assert not test.exception and "task-2.safetensors" in texts(test, "error") and not test.radio


def test_what_one_lesson_lacks_does_not_keep_the_others_from_the_key(place):
    shutil.rmtree(place / "scenes-ari")
    damaged = place / "mnist-5k-ari-constant" / "task-2.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:40])
    test = open_page("lessons", {"key": "1"})
    assert "scenes-ari" in texts(test, "info") and "task-2.safetensors" in texts(test, "error")
    assert texts(test, "markdown").count("**Question.**") == len(LESSONS) - 2


def test_runs_that_cannot_be_compared_are_refused(place, rewrite):
    rewrite(place / "mnist-5k-replay", lambda index: index["config"]["data"].update(evaluate_on="validation"))
    for name in ("forgetting", "evaluation"):
        assert "did not learn the same tasks" in texts(open_lesson(name), "error")


def test_no_lesson_but_the_attack_waits_for_torch():
    code = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        f"for name in {['', *(name for name in LESSONS if name != 'attack')]}:\n"
        f"    test = AppTest.from_file({str(ROOT / 'app.py')!r}, default_timeout=120)\n"
        "    test.switch_page('pages/lessons.py')\n"
        "    if name:\n"
        "        test.query_params['lesson'] = name\n"
        "        test.session_state[f'predicted-{name}'] = 0\n"
        "    test.run()\n"
        "    assert not test.exception and bool(test.metric) == bool(name), name\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("frame", [0, 20, -1])
def test_the_key_counts_fusions_until_the_models_agree(frame):
    """By the Gram matrix alone: after k fusions it is T^k G T^k', and squared distances are G_ii + G_jj - 2 G_ij."""
    frames = records.load("mnist-5k-ari").frames(5)
    T, gram = (frames.matrix(name, frame).astype(np.float64) for name in ("dif_star", "gram"))
    apart = []
    for k in range(consensus.MOST + 1):
        power = np.linalg.matrix_power(T - T[-1], k) if k else np.eye(len(T))  # differences alone: no cancellation
        G = power @ gram @ power.T
        apart.append(max(0.0, (G.diagonal()[:, None] + G.diagonal() - 2 * G).max()) ** 0.5)
    counted = consensus.fusions_needed(frames, frame)
    assert apart[counted] <= 1.01e-6 * apart[0]
    assert counted == 1 or apart[counted - 1] > 0.99e-6 * apart[0]
