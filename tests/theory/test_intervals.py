"""Intervals against a literal computation, against printed tables of Student's t, and against scipy's own."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from arli_core.theory.intervals import Interval, paired, t_interval

light = settings(max_examples=60, deadline=None, derandomize=True)
values = st.lists(st.floats(-100, 100), min_size=2, max_size=12)

# t_{n-1}(0.975) for n values, from the printed tables.
TABLE = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 10: 2.262, 31: 2.042}


@pytest.mark.parametrize(("n", "quantile"), TABLE.items())
def test_the_half_width_is_the_tables_quantile_times_the_standard_error(n, quantile):
    interval = t_interval([0.0, 1.0] + [0.5] * (n - 2))
    squares = 2 * 0.5**2  # about the mean 0.5
    half = quantile * math.sqrt(squares / (n - 1)) / math.sqrt(n)
    assert interval.mean == 0.5 and interval.n == n
    assert (interval.low, interval.high) == pytest.approx((0.5 - half, 0.5 + half), abs=2e-4)


@light
@given(values=values, confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_equal_to_a_literal_loop(values, confidence):
    n = len(values)
    mean = math.fsum(values) / n
    s = math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (n - 1))
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * s / math.sqrt(n)
    interval = t_interval(values, confidence)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((mean, mean - half, mean + half), abs=1e-9)
    assert {type(number) for number in (interval.mean, interval.low, interval.high)} == {float}


def test_it_covers_the_true_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(4000, 4))
    covered = [interval.low <= 3.0 <= interval.high for interval in map(t_interval, draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert t_interval([0.25]) == Interval(1, 0.25, None, None)
    assert t_interval([]) == Interval(0, None, None, None)
    assert not t_interval([0.25]).measurable


def test_equal_values_leave_no_doubt():
    assert t_interval([0.5] * 5) == Interval(5, 0.5, 0.5, 0.5)
    assert t_interval([0.5] * 5).measurable and not t_interval([0.0] * 5).measurable


def test_measurable_means_zero_lies_outside():
    assert t_interval([1, 1.1, 0.9]).measurable and t_interval([-1, -1.1, -0.9]).measurable
    assert not t_interval([1, -1, 0.5]).measurable


def test_a_paired_interval_by_hand():
    """Differences 3, 4, 5: mean 4, s = 1, so ± 4.3027 / √3. Each side alone varies by 40 and more."""
    first, second = {0: 13.0, 1: 54.0, 2: 95.0}, {0: 10.0, 1: 50.0, 2: 90.0}
    interval = paired(first, second)
    assert (interval.n, interval.mean) == (3, 4.0) and interval.measurable
    assert interval.high == pytest.approx(4 + 4.302653 / math.sqrt(3), rel=1e-6)


@light
@given(values=values, others=values)
def test_pairing_is_the_t_test_of_the_differences(values, others):
    first, second = dict(enumerate(values)), dict(enumerate(others))
    n = min(len(first), len(second))
    forward, backward = paired(first, second), paired(second, first)
    assert forward.n == n and forward == t_interval([values[i] - others[i] for i in range(n)])
    mirrored = (-forward.mean, -forward.high, -forward.low)
    assert (backward.mean, backward.low, backward.high) == pytest.approx(mirrored, abs=1e-9)


def test_only_common_seeds_count():
    assert paired({0: 1.0, 1: 2.0, 7: 9.0}, {1: 1.5, 2: 0.0, 0: 1.0}) == t_interval([0.0, 0.5])
    assert paired({0: 1.0}, {1: 1.0}) == Interval(0, None, None, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_numbers_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        t_interval([1.0, bad])


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_confidence_is_a_share(confidence):
    with pytest.raises(ValueError, match="between 0 and 1"):
        t_interval([1.0, 2.0], confidence)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1e308, -1e308, 1e308], "the interval must be finite"),
        ([10**400, 1], "beyond the range of float64"),
        ([1j, 2], "real numbers"),
        ([{}, 2], "real numbers"),
        (["1", "2"], "real numbers"),
        ([[1, 2], [3, 4]], r"\[n\], got shape \(2, 2\)"),
        ([[1], [2, 3]], "real numbers"),
    ],
)
def test_values_without_an_interval_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        t_interval(values)


def test_differences_beyond_float64_are_refused():
    with pytest.raises(ValueError, match="beyond the range"):
        paired({0: 10**400, 1: 1}, {0: 1, 1: 1})
    with pytest.raises(ValueError, match="finite"):
        paired({0: 1e308, 1: 1}, {0: -1e308, 1: 1})


@pytest.mark.parametrize("confidence", [math.nan, 10**400])
def test_a_confidence_is_a_number(confidence):
    with pytest.raises(ValueError, match="confidence"):
        t_interval([1, 2], confidence)
