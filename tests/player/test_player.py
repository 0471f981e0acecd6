import base64
import json

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex
from streamlit.testing.v1 import AppTest

from arli_core.player import Curve, ImagePanel, MatrixPanel, PointPanel, payload

FRAMES, SIZE = 4, 3
VALUES = np.random.default_rng(0).uniform(0, 1, (FRAMES, SIZE, SIZE))
IMAGES = np.random.default_rng(1).integers(0, 256, (2, 2, 5, 6), dtype=np.uint8)
POINTS = np.random.default_rng(2).normal(size=(FRAMES, SIZE, 2))
STEPS = [0, 1, 5, 9]


def matrix(**changes):
    return MatrixPanel(**{"title": "dif", "values": VALUES, "labels": ["φ_1", "φ_2", "φ_b"],
                          "colour_map": "RdYlBu_r", "low": 0, "high": 1} | changes)  # fmt: skip


def images(**changes):
    return ImagePanel(**{"title": "A", "values": IMAGES, "captions": ["cat", "dog"],
                         "colour_map": "gray", "at": [0, 2]} | changes)  # fmt: skip


def points(**changes):
    return PointPanel(**{"title": "models", "values": POINTS, "labels": ["φ_1", "φ_2", "φ_b"]} | changes)


def curve(**changes):
    return Curve(**{"title": "deviation", "values": [1, 0.5, 0.25, 0.125]} | changes)


def decoded(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def test_values_come_back():
    values = VALUES.copy()
    values[1, 2] = np.nan
    sent = json.loads(json.dumps(payload([matrix(values=values, marked_row=-1), images()], [curve()], STEPS)))
    table, pictures = sent["panels"]
    np.testing.assert_array_equal(decoded(table["values"], "<f4").reshape(values.shape), values.astype("f4"))
    np.testing.assert_array_equal(decoded(pictures["values"], "u1").reshape(IMAGES.shape), IMAGES)
    np.testing.assert_array_equal(decoded(sent["curves"][0]["values"], "<f4"), [1, 0.5, 0.25, 0.125])
    assert sent["steps"] == STEPS
    assert table["marked_row"] == 2
    assert (pictures["height"], pictures["width"], pictures["at"]) == (5, 6, [0, 2])


def test_points_and_further_lines_come_back():
    lines = {"bound": [2, 1, 0.5, np.nan], "pace": [1, 1, 1, 1]}
    sent = payload([points(target=[0.5, -1])], [curve(name="measured", others=lines)], STEPS)
    [panel], [line] = json.loads(json.dumps(sent))["panels"], sent["curves"]
    np.testing.assert_array_equal(decoded(panel["values"], "<f4").reshape(POINTS.shape), POINTS.astype("f4"))
    assert (panel["kind"], panel["labels"], panel["target"]) == ("points", ["φ_1", "φ_2", "φ_b"], [0.5, -1])
    assert payload([points()], [], STEPS)["panels"][0]["target"] is None
    assert line["name"] == "measured"
    assert [entry["name"] for entry in line["others"]] == ["bound", "pace"]
    np.testing.assert_array_equal(decoded(line["others"][0]["values"], "<f4"), [2, 1, 0.5, np.nan])


def test_float_images_fill_the_bytes():
    sent = payload([images(values=np.array([0, 0.5, 1.0]).reshape(1, 1, 1, 3), captions=["x"], at=[3])], [], STEPS)
    assert decoded(sent["panels"][0]["values"], "u1").tolist() == [0, 128, 255]


@pytest.mark.parametrize("name", ["RdYlBu_r", "viridis"])
def test_colours_are_those_of_matplotlib(name):
    colours = payload([matrix(colour_map=name)], [], STEPS)["panels"][0]["colours"]
    assert len(colours) == 256
    for value in (0.0, 0.1, 0.5, 0.77, 1.0):
        assert colours[min(int(value * 256), 255)] == to_hex(colormaps[name](value))


def test_a_whole_recording_stays_small():
    frames = np.zeros((500, 6, 6))
    panels = [matrix(values=frames, labels=list("abcdef")) for _ in range(3)]
    assert len(json.dumps(payload(panels, [curve(values=np.ones(500))], range(500)))) < 310_000


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (matrix, {"values": VALUES[0]}, r"matrix panel 'dif': values must be \[frames, m, m\], not \[3, 3\]"),
        (matrix, {"labels": ["a", "b"]}, r"'dif': 3 labels are needed, one for each row, not 2"),
        (matrix, {"values": np.full((4, 3, 3), np.inf)}, r"'dif': values must be finite, or NaN where"),
        (matrix, {"low": 1}, r"'dif': low must be a number below high, not 1 with high 1"),
        (matrix, {"high": np.nan}, r"'dif': low must be a number below high"),
        (matrix, {"marked_row": 3}, r"'dif': marked_row must be None or from -3 to 2, not 3"),
        (matrix, {"digits": 7}, r"'dif': digits must be a whole number from 0 to 6, not 7"),
        (matrix, {"colour_map": "nope"}, r"'dif': colour_map must be one of matplotlib's, .* not 'nope'"),
        (images, {"values": IMAGES[0]}, r"image panel 'A': values must be \[sets, images, height, width\]"),
        (
            images,
            {"values": IMAGES * 2.0},
            r"'A': values must be uint8, or float in 0..1, not float64 from 4.0 to 510.0",
        ),
        (images, {"values": IMAGES * np.nan}, r"'A': values must be uint8, or float in 0..1"),
        (images, {"captions": ["cat"]}, r"'A': 2 captions are needed, one for each image, not 1"),
        (images, {"at": [2, 0]}, r"'A': at must hold 2 frames, ascending from 0 on, not \[2, 0\]"),
        (images, {"at": [0]}, r"'A': at must hold 2 frames"),
        (points, {"values": VALUES[0]}, r"point panel 'models': values must be \[frames, m, 2\], not \[3, 3\]"),
        (points, {"values": POINTS * np.nan}, r"'models': values must be finite"),
        (points, {"labels": ["a"]}, r"'models': 3 labels are needed, one for each point, not 1"),
        (points, {"target": [0, np.inf]}, r"'models': target must be None or two finite numbers"),
        (curve, {"others": {"b": [1, 2, 3, 4]}}, r"'deviation': a name is needed where there are others"),
        (curve, {"name": "a", "others": {key: [1] for key in "bcd"}}, r"'deviation': at most two others .*, not 3"),
        (curve, {"name": "a", "others": {"b": [np.inf]}}, r"'deviation': values must be finite, or NaN for a gap"),
        (curve, {"values": VALUES}, r"curve 'deviation': values must be \[frames\], not \[4, 3, 3\]"),
        (curve, {"values": [np.inf]}, r"'deviation': values must be finite, or NaN for a gap"),
        (
            curve,
            {"log": True, "reference": 0},
            r"'deviation': reference must be finite and positive on a log axis",
        ),
    ],
)
def test_invalid_parts_are_named(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"panels": [matrix(values=VALUES[:3])]}, r"matrix panel 'dif': values must have 4 frames, .* not 3"),
        ({"panels": [images(at=[0, 4])]}, r"image panel 'A': at must stay below the 4 frames"),
        ({"panels": [points(values=POINTS[:3])]}, r"point panel 'models': values must have 4 frames, .* not 3"),
        (
            {"curves": [curve(name="a", others={"b": [1, 2]})]},
            r"curve 'deviation': values must have 4 frames, .* not 2",
        ),
        ({"curves": [curve(values=[1])]}, r"curve 'deviation': values must have 4 frames, .* not 1"),
        ({"steps": [0, 1, 1, 2]}, r"steps must hold the iteration of each frame: .* strictly ascending"),
        ({"steps": [0.5, 1.5]}, r"steps must hold .* whole numbers"),
        ({"steps": []}, r"steps must hold .* at least one"),
        ({"frame": 4}, r"frame must be a whole number from 0 to 3, not 4"),
        ({"frames_per_second": 0}, r"frames_per_second must be positive, not 0"),
    ],
)
def test_parts_that_do_not_fit_a_payload_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        payload(**{"panels": [matrix()], "curves": [curve()], "steps": STEPS} | arguments)


PAGE = """
import streamlit as st
from arli_core.player import Curve, payload
from pages.parts.shell.player import play

t = int(st.query_params.get("t", 5))
st.text(play(payload([], [Curve("x", [0.0] * 100)], range(100), frame=t), "player", follow={follow!r}))
"""


class Reader:
    """Someone at the player of a page, and what the server sends to it."""

    def __init__(self, follow):
        self.app = AppTest.from_string(PAGE.format(follow=follow), default_timeout=60).run()

    def stops_at(self, frame, jump):
        self.app.session_state["player"] = {"frame": {"index": frame, "jump": jump}}
        self.app.run()

    def opens(self, frame):
        self.app.query_params["t"] = str(frame)
        self.app.run()

    @property
    def sees(self):
        assert not self.app.exception
        data = json.loads(self.app.get("bidi_component")[0].proto.json)
        return int(self.app.text[0].value), (data["frame"], data["jump"])


def test_the_address_follows_the_player_and_the_player_the_address():
    reader = Reader(follow="t")
    assert reader.sees == (5, (5, 0))
    reader.stops_at(37, 0)
    assert reader.sees == (37, (5, 0)) and reader.app.query_params["t"] == "37"
    reader.opens(5)  # back to where the player began, at once: a request all the same
    assert reader.sees == (5, (5, 1))
    reader.stops_at(60, 0)  # on its way before the request: out of date
    assert reader.sees == (5, (5, 1)) and reader.app.query_params["t"] == "5"
    reader.stops_at(8, 1)
    reader.app.run()
    assert reader.sees == (8, (5, 1)) and reader.app.query_params["t"] == "8"
    reader.stops_at(9, 1)
    reader.opens(8)
    assert reader.sees == (8, (8, 2))


def test_after_another_page_the_player_begins_where_the_reader_left_it():
    reader = Reader(follow="t")
    reader.stops_at(37, 0)
    del reader.app.session_state["player"]
    reader.app.run()
    assert reader.sees == (37, (37, 1))


def test_a_page_need_not_follow_its_player():
    reader = Reader(follow=None)
    reader.stops_at(37, 0)
    reader.app.run()
    assert reader.sees == (37, (5, 0)) and "t" not in reader.app.query_params
    reader.opens(6)
    assert reader.sees == (6, (6, 1))
