"""A frame of the player, printed, is what the player shows."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from arli_core.figures import export, recording
from arli_core.player import Curve, ImagePanel, MatrixPanel, PointPanel, decoded, payload

STEPS = [0, 3, 4, 9]
RNG = np.random.default_rng(0)
MATRICES = RNG.random((4, 3, 3)).astype(np.float32)
POINTS = RNG.normal(size=(4, 3, 2)).astype(np.float32)
IMAGES = RNG.integers(0, 256, (2, 5, 6, 7), dtype=np.uint8)
LABELS = ["φ_1", "φ_2", "φ_b"]


def of_matrix(frame: int, **changes: object) -> Figure:
    panel = MatrixPanel(**{"title": "dif*", "values": MATRICES, "labels": LABELS, "colour_map": "RdBu_r", "low": 0,
                           "high": 1, "marked_row": -1, **changes})  # fmt: skip
    return recording(payload([panel], [], STEPS, legend="red is high"), frame)


def test_numbers_survive_a_payload_unchanged():
    data = payload([MatrixPanel("m", MATRICES, LABELS, "viridis", 0, 1)], [], STEPS)
    np.testing.assert_array_equal(decoded(data["panels"][0]["values"], "<f4"), MATRICES.ravel())


@pytest.mark.parametrize("frame", range(4))
def test_a_matrix_has_its_values_in_its_cells_in_the_player_s_colours(frame):
    figure = of_matrix(frame)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == [f"{value:.2f}" for value in MATRICES[frame].ravel()]
    data = payload([MatrixPanel("m", MATRICES, LABELS, "RdBu_r", 0, 1)], [], STEPS)
    figure.draw_without_rendering()
    colours = [to_hex(colour) for colour in axes.collections[0].get_facecolors()]
    assert colours == [data["panels"][0]["colours"][int(value * 256)] for value in MATRICES[frame].ravel()]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["$φ_{1}$", "$φ_{2}$", "$φ_{b}$"]
    assert figure.get_suptitle() == f"iteration {STEPS[frame]}" and figure.get_supxlabel() == "red is high"
    (outline,) = axes.patches
    assert outline.get_xy() == (0, 2) and outline.get_width() == 3


def test_an_absent_entry_has_no_number():
    values = MATRICES.copy()
    values[1, 0] = np.nan
    assert len(of_matrix(1, values=values, marked_row=None).axes[0].texts) == 6


def test_points_are_where_they_are_with_rings_where_they_began():
    data = payload([PointPanel("models", POINTS, LABELS, (0.5, 0.25))], [], STEPS, unit="fusion")
    figure = recording(data, 2)
    rings, points, cross = figure.axes[0].collections
    np.testing.assert_allclose(rings.get_offsets(), POINTS[0])
    np.testing.assert_allclose(points.get_offsets(), POINTS[2])
    np.testing.assert_allclose(cross.get_offsets(), [(0.5, 0.25)])
    assert figure.get_suptitle() == "fusion 4"


@pytest.mark.parametrize(("frame", "latest"), [(0, None), (1, 0), (2, 0), (3, 1)])
def test_images_are_those_recorded_last(frame, latest):
    panel = ImagePanel("A", IMAGES, list("abcde"), "gray", [1, 3])
    plots = [axes for axes in recording(payload([panel], [], STEPS), frame).axes if axes.get_title()]
    assert [axes.get_title() for axes in plots] == list("abcde")
    for axes, at in zip(plots, range(5), strict=True):
        if latest is None:
            assert not axes.images
        else:
            grey = np.asarray(axes.images[0].get_array())[..., 0]
            np.testing.assert_allclose(grey, IMAGES[latest, at] / 255, atol=1 / 255)


def test_curves_have_their_lines_a_reference_and_a_cursor():
    values = np.array([1.0, 0.1, 0.0, 0.01])
    other = np.array([2.0, np.nan, 1.0, 0.5])
    curve = Curve("spread", values, log=True, reference=0.03, name="measured", others={"bound": other})
    figure = recording(payload([], [curve, Curve("loss", values)], STEPS), 3)
    first, second = figure.axes
    lines = {line.get_label(): line for line in first.lines}
    np.testing.assert_allclose(lines["measured"].get_ydata(), np.where(values > 0, values, np.nan), rtol=1e-6)
    np.testing.assert_allclose(lines["bound"].get_ydata(), other)
    assert first.get_yscale() == "log" and second.get_yscale() == "linear"
    assert [list(line.get_ydata()) for line in first.lines].count([0.03, 0.03]) == 1
    assert [list(line.get_xdata()) for line in second.lines][-1] == [9, 9]
    assert second.get_xlabel() == "iteration" and not second.get_legend()


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_all_together_make_a_file_of_each_kind(kind):
    panels = [
        MatrixPanel("dif*", MATRICES, LABELS, "RdBu_r", 0, 1),
        PointPanel("models", POINTS, LABELS),
        ImagePanel("A", IMAGES, list("abcde"), "gray", [0, 3]),
    ]
    figure = recording(payload(panels, [Curve("loss", [1.0, 2.0, 3.0, 4.0])], STEPS), 1)
    assert figure.get_label() == "dif*, models, A, loss; iteration 3"
    content = export(figure, kind)
    if kind == "svg":
        assert b">models<" in content and b">iteration 3<" in content  # text stays text
    assert len(content) > 5000


def test_a_missing_frame_is_refused():
    for frame in (4, -1):
        with pytest.raises(IndexError, match=f"from 0 to 3, not {frame}"):
            of_matrix(frame)
