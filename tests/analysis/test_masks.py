"""Masks of held-out images, the choice of images to draw, and the figure made of them."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from arli_core import datasets, figures
from arli_core.analysis.masks import Masks, masks_of
from arli_core.errors import LabError, RecordError
from arli_core.networks import build
from arli_core.records import Record
from arli_core.stream import Stream
from arli_core.theory import metrics


@pytest.fixture(scope="module")
def digits(trained):
    return trained("digits", 2, **{"data.class_order": 3})


@pytest.fixture(scope="module")
def scenes(trained):
    return trained("scenes", 1)


def masks_of_units(units):
    """Masks of which only the classes matter."""
    units = np.array(units)
    names = tuple(str(unit) for unit in units)
    blank = np.zeros((len(units), 4, 4), dtype=np.float32)
    image = np.zeros((len(units), 1, 4, 4), dtype=np.uint8)
    return Masks(1, image, units, names, names, blank, blank, None, None)


def test_shapes_ranges_and_names(digits):
    masks = masks_of(digits)
    count, classes = len(masks), digits.started.classes
    assert masks.task == 2 and set(masks.labels) == set(classes) and set(masks.predictions) <= set(classes)
    assert masks.images.shape == (count, 1, 8, 8) and masks.images.dtype == np.uint8
    for values in (masks.attention, masks.background):
        assert values.shape == (count, 8, 8) and values.dtype == np.float32
        assert 0 <= values.min() < values.max() <= 1
    np.testing.assert_allclose(masks.background, 1 - masks.attention.astype(np.float64) ** 2, atol=1e-6)
    assert [classes[unit] for unit in masks.units] == list(masks.labels)


def test_images_are_the_held_out_ones_of_the_tasks_seen(digits):
    test = datasets.load("digits").test
    for task in (1, 2):
        masks = masks_of(digits, task)
        members = np.isin(test.labels, [int(name) for name in digits.started.classes[: 2 * task]])
        np.testing.assert_array_equal(masks.images, test.images[members])
        assert list(masks.labels) == [str(label) for label in test.labels[members]]
        assert set(masks.predictions) <= set(digits.started.classes[: 2 * task])


def test_predictions_and_attention_are_those_of_the_recorded_weights(digits):
    masks = masks_of(digits)
    hits = np.equal(masks.labels, masks.predictions)
    for task, expected in enumerate(digits.accuracy["per_sample"][-1]):
        assert hits[masks.units // 2 == task].mean() == pytest.approx(expected)

    stream = Stream(datasets.load("digits"), digits.config.data, torch.device("cpu"))
    model = build("conv", stream.shape, 4)
    phi = model.pack({name: torch.tensor(value) for name, value in digits.weights[2].items()})
    _, attention = model(phi, stream.test[torch.arange(len(stream.test))].images)
    np.testing.assert_allclose(masks.attention, attention[:, 0].numpy(), atol=1e-6)
    np.testing.assert_allclose(masks.background, 1 - masks.attention**2, atol=1e-6)


def test_each_task_has_its_own_weights(digits):
    first, last = masks_of(digits, 1), masks_of(digits, 2)
    both = np.isin(last.units, first.units)
    assert abs(first.attention - last.attention[both]).max() > 1e-4


def test_validation_runs_show_validation_images(trained):
    record = trained("digits", 1, **{"data.evaluate_on": "validation"})
    validation = datasets.load("digits").holdout().test
    np.testing.assert_array_equal(masks_of(record).images, validation.images[validation.labels < 2])


def test_objects_are_known_where_the_data_have_masks(digits, scenes, monkeypatch):
    figures_on_black = masks_of(digits)
    np.testing.assert_array_equal(figures_on_black.objects, figures_on_black.images[:, 0] > 25.5)
    whole = datasets.load("digits")
    splits = {name: dataclasses.replace(getattr(whole, name), masks=None) for name in ("train", "test")}
    with monkeypatch.context() as patched:
        patched.setattr(datasets, "load", lambda *_: dataclasses.replace(whole, **splits))
        of_any_data = dataclasses.replace(digits.started, data=None)  # as in records without a fingerprint
        plain = masks_of(dataclasses.replace(digits, started=of_any_data))
    assert plain.objects is None and plain.auroc is None
    masks = masks_of(scenes)
    test = datasets.load("scenes").test
    np.testing.assert_array_equal(masks.objects, test.masks[test.labels < 2])
    assert masks.images.shape == (len(masks), 3, 40, 40) and masks.auroc.shape == (len(masks),) == (200,)
    inside, outside = masks.attention[7][masks.objects[7]], masks.attention[7][~masks.objects[7]]
    wins = (inside[:, None] > outside).mean() + (inside[:, None] == outside).mean() / 2
    assert masks.auroc[7] == pytest.approx(wins)
    np.testing.assert_array_equal(masks.auroc, metrics.auroc(masks.attention, masks.objects))


@pytest.mark.parametrize("task", [0, 3, -1])
def test_unfinished_tasks_are_refused(task, digits):
    with pytest.raises(RecordError, match=f"after task {task}: tasks 1 to 2 are done"):
        masks_of(digits, task)
    with pytest.raises(RecordError, match="no task is done"):
        masks_of(Record(digits.config))


def test_weights_of_another_network_are_named(digits, scenes):
    foreign = Record(digits.config, tasks=digits.tasks, weights={2: scenes.weights[1]})
    with pytest.raises(RecordError, match=r"after task 2 do not fit .*first\.weight"):
        masks_of(foreign)


@pytest.mark.parametrize(("count", "per_class"), [(10, 2), (5, 1), (25, 5), (1, None), (3, None), (8, None)])
def test_the_images_drawn_are_spread_over_the_classes(count, per_class):
    masks = masks_of_units(np.random.default_rng(0).permutation(np.repeat(np.arange(5), 20)))
    picked = masks.spread(count)
    counts = np.bincount(masks.units[picked], minlength=5)
    assert len(set(picked.tolist())) == count and counts.max() - counts.min() <= 1
    assert (np.diff(masks.units[picked]) >= 0).all()
    if per_class:
        assert (counts == per_class).all()


def test_no_more_images_are_drawn_than_there_are():
    assert sorted(masks_of_units([1, 0, 1]).spread(8)) == [0, 1, 2]
    assert masks_of_units([1, 0, 1, 0]).spread(8, among=np.array([0, 2])).tolist() == [0, 2]
    assert len(masks_of_units([0, 1]).spread(3, among=np.array([], dtype=np.int64))) == 0


def opaque(colours):
    """[3, H, W] as matplotlib holds it, [H, W, 4]."""
    return np.concatenate([colours, np.ones_like(colours[:1])]).transpose(1, 2, 0)


def test_the_figure_has_a_column_for_each_image_and_one_colour_bar(scenes):
    masks = masks_of(scenes)
    indices = masks.spread(4)
    figure = figures.figure9(masks, indices)
    *rows, bar = figure.axes
    assert bar.get_ylim() == (0, 1)
    pictures = [row.images[0] for row in rows]
    assert all(image.get_extent() == pictures[0].get_extent() for image in pictures)  # in line
    image, attention, background = (picture.get_array() for picture in pictures)
    for column, index in enumerate(indices):
        columns = slice(column * 42, column * 42 + 40)  # a twentieth of their width apart
        np.testing.assert_array_equal(image[:, columns], opaque(masks.images[index] / 255))
        np.testing.assert_array_equal(attention[:, columns], masks.attention[index])
        np.testing.assert_array_equal(background[:, columns], masks.background[index])
        answer = rows[0].texts[column]
        assert answer.get_text() == f"{masks.labels[index]} → {masks.predictions[index]}"
        assert answer.get_position()[0] == pytest.approx((columns.start + columns.stop - 1) / 2)
    between = np.arange(attention.shape[1]) % 42 >= 40
    assert attention.mask[:, between].all() and not attention.mask[:, ~between].any()
    for picture in pictures[1:]:
        assert picture.get_clim() == (0, 1)
        red, _, blue, _ = picture.cmap(1.0)
        assert red > blue
        red, _, blue, _ = picture.cmap(0.0)
        assert blue > red
    assert [row.get_ylabel() for row in rows] == ["input", "A", "B = 1 − A∘A"]


@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG\r\n"), ("pdf", b"%PDF-"), ("svg", b"<?xml")])
def test_files_are_what_their_name_says(kind, magic, digits):
    masks = masks_of(digits)
    content = figures.export(figures.figure9(masks, masks.spread(1)), kind)
    assert content.startswith(magic)
    if kind == "svg":  # text as text
        assert f"{masks.labels[masks.spread(1)[0]]} → ".encode() in content
    if kind == "pdf":  # whole fonts that can be edited, not outlines
        assert b"/Type3" not in content and b"/FontFile2" in content


def test_a_file_has_a_background_of_its_own(digits):
    masks = masks_of(digits)
    picture = imread(io.BytesIO(figures.export(figures.figure9(masks, masks.spread(1)), "png")))
    np.testing.assert_array_equal(picture[0, 0], [1, 1, 1, 1])  # opaque white


@pytest.mark.parametrize("name", ["figure.gif", "figure", "png", "figure.png.txt"])
def test_other_kinds_of_file_are_refused(name, tmp_path):
    with pytest.raises(LabError, match=r"valid endings: \.png, \.pdf, \.svg"):
        figures.kind_of(tmp_path / name)
    assert figures.kind_of(tmp_path / "figure.PDF") == "pdf"
