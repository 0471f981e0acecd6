"""What can be said from few seeds: means with Student's t intervals, of values and of paired differences. Pure.

    mean ± t_{n-1}((1 + c) / 2) s / √n,    s² = Σ (x_i - mean)² / (n - 1)

for n values x_i taken as independent draws from a normal distribution, and confidence c = 0.95 (Student 1908). The
quantile of the t distribution is exact, not that of the normal: with 5 seeds it is 2.776, not 1.960.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from .precision import array, finite, number

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean of n values and its interval. None where there is none: the mean of no value, the interval of one."""

    n: int
    mean: float | None
    low: float | None
    high: float | None

    @property
    def measurable(self) -> bool:
        """Whether there is an interval and zero lies outside it."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@np.errstate(all="ignore")
def t_interval(values: Iterable[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of finite values with its t interval, as above. ValueError where one is not finite, or so large that
    the interval is not, and for anything but a row of real numbers.
    """
    sample, confidence = array(list(values), "values"), number(confidence, "confidence")
    if sample.ndim != 1:
        raise ValueError(f"values must be [n], got shape {sample.shape}")
    if not np.isfinite(sample).all():
        raise ValueError(f"a mean is of finite values, got {sample.tolist()}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence lies between 0 and 1, got {confidence}")
    n = len(sample)
    if n < 2:
        return Interval(n, float(sample[0]) if n else None, None, None)
    mean = sample.mean()
    half = stdtrit(n - 1, (1 + confidence) / 2) * sample.std(ddof=1) / np.sqrt(n)
    return Interval(n, *finite(np.array([mean, mean - half, mean + half]), "the interval").tolist())


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Interval:
    """The t interval of the differences first[k] - second[k] over the seeds k that both have.

    Pairing removes what a seed does to both sides: where they rise and fall together, this interval is narrower than
    one of the difference of two means. ValueError as `t_interval`.
    """
    return t_interval(number(first[k], "values") - number(second[k], "values") for k in first if k in second)
