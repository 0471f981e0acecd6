"""What lines look like."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from arli_core import figures
from arli_core.config import METHODS
from arli_core.figures import LOOKS, looks, typeset

RUNS = st.dictionaries(st.text(min_size=1), st.sampled_from(METHODS), min_size=1, max_size=len(METHODS))


def test_every_method_has_a_look_distinct_in_colour_and_without_it():
    assert LOOKS.keys() == set(METHODS)
    for one, other in combinations(LOOKS.values(), 2):
        assert one.colour != other.colour and (one.dashes, one.marker) != (other.dashes, other.marker)


# sRGB as someone without the cones for green sees it: Machado, Oliveira and Fernandes (2009), severity 1, linear RGB.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
)
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB under D65: equal distances look about equally different; 2 is just seen."""
    x = TO_XYZ @ rgb / np.array([0.9505, 1, 1.089])
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_commonest_methods_have_distinct_colours_with_deuteranopia_too():
    often = [linear(LOOKS[name].colour) for name in list(LOOKS)[:6]]
    for first, second in combinations(often, 2):
        assert np.linalg.norm(lab(first) - lab(second)) > 14
        perceived = [lab(np.clip(DEUTERANOPIA @ colour, 0, 1)) for colour in (first, second)]
        assert np.linalg.norm(perceived[0] - perceived[1]) > 14


@given(RUNS)
def test_a_method_looks_the_same_whatever_stands_beside_it(methods):
    styles = looks(methods)
    assert list(styles) == list(methods) and len(set(styles.values())) == len(methods)
    for method in set(methods.values()):
        first = next(name for name in methods if methods[name] == method)
        assert styles[first] == LOOKS[method]


def test_more_lines_of_one_method_than_looks_are_still_drawn():
    accuracy = {f"run {at}": np.full((2, 2), at / 20) for at in range(20)}
    lines = figures.accuracy_over_tasks(accuracy, dict.fromkeys(accuracy, "ari")).axes[0].lines
    assert len(lines) == 20 and lines[0].get_color() == LOOKS["ari"].colour


def test_a_run_has_one_colour_in_all_charts():
    accuracy = {"a": np.eye(2), "b": np.eye(2)}
    methods = {"b": "ari", "a": "finetune"}
    over_tasks = figures.accuracy_over_tasks(accuracy, methods).axes[0].lines
    vote = figures.vote_curves([1, 5], {"a": np.ones(2), "b": np.ones(2)}, {"a": 0.5, "b": 0.5}, methods, 5)
    of_vote = {line.get_label(): line.get_color() for line in vote.axes[0].lines}
    for line in over_tasks:
        assert line.get_color() == of_vote[line.get_label()] == LOOKS[methods[line.get_label()]].colour


def test_names_of_models_become_formulas_anywhere_in_a_text():
    assert typeset("φ_b moves to φ_f, φ_12 counts most") == "$φ_{b}$ moves to $φ_{f}$, $φ_{12}$ counts most"
    assert typeset("φᵢ and 3") == "φᵢ and 3"


@settings(deadline=None, max_examples=20)
@given(st.floats(0, 1), st.integers(1, 5))
def test_a_map_that_is_the_same_everywhere_is_marked_where_it_is_drawn(level, columns):
    maps = np.linspace(0, 1, columns * 36).reshape(columns, 6, 6)
    maps[0] = level
    images = np.zeros((columns, 1, 6, 6), np.uint8)  # a level image is what it is
    rows = [figures.Row("input", images, "image"), figures.Row("Grad-CAM", maps)]
    figure = figures.grid(rows, [("a", "b")] * columns, "maps")
    marks = [text for axes in figure.axes for text in axes.texts if text.get_text() == "level"]
    assert [(mark.axes, mark.get_position()) for mark in marks] == [(figure.axes[1], (2.5, 2.5))]
