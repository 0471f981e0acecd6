"""A matrix written in a line comes back as it was, and what is no such line is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from arli_core.theory.written import SIZES, from_text, resized, to_text

light = settings(max_examples=60, deadline=None, derandomize=True)
squares = st.sampled_from(SIZES).flatmap(lambda size: arrays(np.float64, (size, size)))


@light
@given(matrix=squares)
def test_what_is_written_comes_back_to_twelve_digits(matrix):
    np.testing.assert_allclose(from_text(to_text(matrix)), matrix, rtol=1e-11)


def test_the_form_is_that_of_addresses():
    assert to_text(np.array([[0.5, 0.5], [1 / 3, 2 / 3]])) == "0.5,0.5;0.333333333333,0.666666666667"
    assert from_text("0.5,0.5; 0.2,0.8").tolist() == [[0.5, 0.5], [0.2, 0.8]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "could not convert"),
        ("1,2;3,x", "could not convert string to float: 'x'"),
        ("1", "from 2x2 to 8x8; its rows have 1 numbers"),
        ("1,2;3", "its rows have 2, 1 numbers"),
        ("1,2,3;4,5,6", "its rows have 3, 3 numbers"),
        (to_text(np.eye(9)), "from 2x2 to 8x8"),
    ],
)
def test_what_is_no_small_square_matrix_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        from_text(text)


@light
@given(matrix=squares, size=st.sampled_from(SIZES))
def test_a_resized_matrix_keeps_its_first_models_and_adds_none_that_mixes(matrix, size):
    new, overlap = resized(matrix, size), min(size, len(matrix))
    np.testing.assert_array_equal(new[:overlap, :overlap], matrix[:overlap, :overlap])
    np.testing.assert_array_equal(new[overlap:], np.eye(size)[overlap:])
    np.testing.assert_array_equal(new[:, overlap:], np.eye(size)[:, overlap:])


def test_a_size_that_is_none_is_refused():
    with pytest.raises(ValueError, match="size must be a whole number from 1 on, got 0"):
        resized(np.eye(2), 0)
