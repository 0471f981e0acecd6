"""Answers of recorded runs: with the runs' own settings they give exactly what was recorded."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from arli_core import records
from arli_core.analysis.answers import answers_of
from arli_core.config import PROTOCOLS, Evaluation, preset
from arli_core.errors import RecordError
from arli_core.learn import learn
from arli_core.records import Record
from arli_core.theory import metrics

SHIPPED = Path(__file__).parents[2] / "checkpoints"


@pytest.mark.parametrize(
    ("run", "task"),
    [*(("mnist-5k-ari", task) for task in range(1, 6)), ("mnist-5k-finetune", 5), ("mnist-5k-replay", 3)],
)
def test_the_recorded_accuracies_come_out_exactly(run, task):
    record = records.load(SHIPPED / run)
    accuracies = answers_of(record, task).accuracies()
    assert accuracies == {protocol: record.accuracy[protocol][task - 1] for protocol in PROTOCOLS}


def test_a_run_with_its_own_group_size_gives_its_recorded_accuracies_too():
    settings = {"data.tasks": 2, "train.epochs": 1, "evaluation.group": 3, "evaluation.mixing": 0.4, "device": "cpu"}
    record = Record(preset("digits", "replay", seed=2, **settings))
    for event in learn(record.config):
        record = record.after(event)
    answers = answers_of(record, 2)
    assert answers.accuracies()["vote"] == record.accuracy["vote"][1]
    assert answers.accuracies(Evaluation())["vote"] != record.accuracy["vote"][1]


def test_confusion_counts_every_image_once_and_has_the_accuracy_on_its_diagonal():
    record = records.load(SHIPPED / "mnist-5k-ari")
    answers = answers_of(record, 3)
    labels = answers.labels.numpy()
    for protocol in PROTOCOLS:
        counts = answers.confusion(protocol)
        assert counts.shape == (6, 6) == (len(answers.classes),) * 2
        np.testing.assert_array_equal(counts.sum(1), np.bincount(labels, minlength=6))
        for task, accuracy in enumerate(record.accuracy[protocol][2]):
            own = slice(2 * task, 2 * task + 2)
            assert counts.diagonal()[own].sum() / counts[own].sum() == pytest.approx(accuracy)
    aware = answers.confusion("task_aware")
    assert all(aware[row, column] == 0 for row in range(6) for column in range(6) if row // 2 != column // 2)


def test_a_vote_of_one_is_per_sample_and_mixing_costs_accuracy():
    answers = answers_of(records.load(SHIPPED / "mnist-5k-ari"), 5)
    alone = answers.accuracies(Evaluation(group=1))
    assert alone["vote"] == alone["per_sample"]
    together, mixed = (np.mean(answers.accuracies(Evaluation(group=20, mixing=share))["vote"]) for share in (0, 0.5))
    assert mixed < together - 0.1


def test_confusion_equals_a_count_written_out():
    rng = np.random.default_rng(0)
    classes, answers = rng.integers(4, size=50), rng.integers(4, size=50)
    counted = Counter(zip(classes.tolist(), answers.tolist(), strict=True))
    expected = [[counted[row, column] for column in range(4)] for row in range(4)]
    assert metrics.confusion(classes, answers, 4).tolist() == expected


def test_an_unfinished_task_has_no_answers():
    with pytest.raises(RecordError, match="no weights after task 6"):
        answers_of(records.load(SHIPPED / "mnist-5k-ari"), 6)
