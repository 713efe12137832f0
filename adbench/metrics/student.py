"""95 % intervals of Student's t on a scale where a number has no edge, so that they stay within what it can be.

Percentile bootstraps of few subjects are too short (`benchmarks/coverage.py`). So are these of numbers that few of the
subjects carry, unless they count for fewer degrees of freedom.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

Interval = tuple[float, float]
Scale = Literal["fraction", "count", "difference"]
"""What a number can be: from 0 to 1, from 0 on, or anything. Intervals are symmetric in logit, logarithm, itself."""
COVERAGE = 0.95
FEWEST = 3
"""Subjects below which nothing is known of how often an interval holds the truth: there is none."""
NEVER = 10**9
"""For `Metric.fewest`: no number of subjects that was simulated is enough."""
_EDGE = 1e-6  # nearer to 0 or 1 a logit says no more


def freedom_of(sizes: NDArray[np.integer]) -> float:
    """Degrees of freedom of the error of a pooled number, to which subjects contribute by the sizes of their lesions.

    The estimated variance is near a sum of w_i^2 e_i^2, w_i the share of a subject and e_i its residual. By
    Satterthwaite (1946, Biometrics Bulletin 2, 110) it has (sum w_i^2)^2 / sum w_i^4 of them, as have errors over
    clusters of unequal size (Bell and McCaffrey 2002, Survey Methodology 28, 169), less the one that the number itself
    takes. That is n - 1 where all are of one size, and 1 at least.
    """
    squares = np.asarray(sizes, np.float64) ** 2
    return max(float(squares.sum() ** 2 / (squares**2).sum()) - 1, 1.0) if squares.any() else 1.0


def t_interval(value: float, error: float, n: int, scale: Scale, freedom: float | None = None) -> Interval | None:
    """The interval of a number with a standard error, estimated from n independent subjects.

    That error has n - 1 degrees of freedom where no others are given. None where n < `FEWEST`, and where all subjects
    agree: without spread it would have no width, as if the value were certain.
    """
    if n < FEWEST or error == 0:
        return None
    return around(value, reach_of(error, n - 1 if freedom is None else freedom), scale)


def reach_of(error: float, freedom: float) -> float:
    """How far Student's t lets a number with this standard error lie from its truth."""
    return _quantile(freedom) * error


def around(value: float, reach: float, scale: Scale) -> Interval:
    """The ends in this reach of a number, symmetric on its scale."""
    if scale == "difference":
        return value - reach, value + reach
    if scale == "count":
        at = max(value, _EDGE)
        return float(at * np.exp(-reach / at)), float(at * np.exp(min(reach / at, 500.0)))
    at = min(max(value, _EDGE), 1 - _EDGE)
    reach /= at * (1 - at)
    return float(expit(logit(at) - reach)), float(expit(logit(at) + reach))


@cache
def _quantile(freedom: float) -> float:
    return float(stats.t.ppf((1 + COVERAGE) / 2, freedom))


def resampled_error(draws: NDArray[np.float64], n: int) -> float | None:
    """Standard error from the defined values of resamples of n subjects; None where fewer than two are defined.

    The spread of resamples is too small by the root of (n - 1) / n, as that of a sample is.
    """
    defined = draws[~np.isnan(draws)]
    return float(defined.std(ddof=1) * np.sqrt(n / (n - 1))) if defined.size > 1 and n > 1 else None


def error_bound(
    value: float,
    error: float,
    n: int,
    scale: Scale,
    of_value: float,
    of_error: float,
    freedom: float | None = None,
) -> float:
    """How far an end of `t_interval` can move when value and error are known to within these bounds alone."""
    middle = t_interval(value, error, n, scale, freedom)
    if middle is None:
        return 0.0
    moved = [
        t_interval(value + a * of_value, max(error + b * of_error, 0.0), n, scale, freedom)
        for a, b in product((-1, 1), repeat=2)
    ]
    return max(abs(x - y) for ends in moved if ends for x, y in zip(ends, middle, strict=True))
