"""Whether methods differ by more than chance: sign flips of paired differences, Holm's correction, ranks, and seeds.

All is paired by subject: two methods are compared on the same subjects, whose own difficulty cancels out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

from adbench.metrics.student import COVERAGE, Scale

Floats = NDArray[np.float64]
ALPHA = 0.05
"""Chance that any difference in a table is called one where there is none."""
POWER = 0.8
EXACT = 14
"""Subjects up to which every one of the 2^n flips is taken."""
_TIE = 1e-12  # flips that give the same mean may differ by rounding
_EDGE = 1e-6
_AT_ONCE = 4096  # flips in memory


def sign_flip_p(differences: Floats, flips: int) -> Floats:
    """Two-sided p of means of paired differences (..., n) being 0, by flipping their signs; the same flips for all.

    All flips for up to `EXACT` subjects; `flips` random ones and the observed one for more (Phipson and Smyth 2010, so
    that p is never 0).
    """
    n = differences.shape[-1]
    observed = np.abs(differences.sum(axis=-1)) - _TIE
    as_extreme, drawn = np.zeros(observed.shape, np.int64), 0
    for signs in _signs(n, flips):
        as_extreme += (np.abs(differences @ signs.T) >= observed[..., None]).sum(axis=-1)
        drawn += len(signs)
    return as_extreme / drawn if n <= EXACT else (1 + as_extreme) / (1 + drawn)


def _signs(n: int, flips: int) -> Iterator[Floats]:
    """Signs (some flips, n) of 1 and -1."""
    if n <= EXACT:
        yield np.asarray(1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1), np.float64)
        return
    draw = np.random.default_rng(0)
    for start in range(0, flips, _AT_ONCE):
        yield np.asarray(1 - 2 * draw.integers(0, 2, (min(_AT_ONCE, flips - start), n), dtype=np.int8), np.float64)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p (Holm 1979): those not above alpha are rejected, and the chance of any false one is at most alpha."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate([min(1.0, (len(p) - k) * p[i]) for k, i in enumerate(order)])
    adjusted = np.empty(len(p))
    adjusted[order] = stepped
    return [float(value) for value in adjusted]


def enough(n: int, pairs: int) -> bool:
    """Whether n subjects could show a difference among so many pairs: the least p of a flip is 2^(1 - n)."""
    return pairs == 0 or 2.0 ** (1 - n) <= ALPHA / pairs


@dataclass(frozen=True)
class PairedTests:
    """All pairs of methods, tested on the same subjects."""

    pairs: dict[tuple[int, int], float]
    """(i, j), i < j -> p, adjusted by Holm over all pairs."""
    means: Floats
    detectable: float | None
    """Least difference that would be found with a probability of `POWER`; None for one method."""

    def better(self, i: int) -> list[int]:
        """The methods that are significantly better than method i."""
        return [j for j in range(len(self.means)) if j != i and self.means[j] > self.means[i] and self.differ(i, j)]

    def differ(self, i: int, j: int) -> bool:
        """Whether two methods differ by more than chance."""
        return self.pairs[min(i, j), max(i, j)] <= ALPHA

    @property
    def ranks(self) -> list[int]:
        """1 + the number of methods that are significantly better. Methods of one rank need not be equal."""
        return [1 + len(self.better(i)) for i in range(len(self.means))]


def compare(values: Floats, seeds: Sequence[Floats] | None = None) -> PairedTests:
    """Compare methods by their values (methods, subjects), of which higher is better.

    seeds: of each method the means over subjects of its seeds, (number of seeds,). Flips take the trainings as given;
    where any method has several, p is at least that of a t test whose error includes their spread.
    """
    pairs = list(combinations(range(len(values)), 2))
    flips = int(np.ceil(10 * len(pairs) / ALPHA))
    differences = np.array([values[i] - values[j] for i, j in pairs]).reshape(-1, values.shape[1])
    p = [float(q) for q in sign_flip_p(differences, flips)]
    if seeds is not None:
        p = [max(q, _seeds_p(values[i] - values[j], (seeds[i], seeds[j]))) for q, (i, j) in zip(p, pairs, strict=True)]
    adjusted = dict(zip(pairs, holm(p), strict=True))
    return PairedTests(adjusted, values.mean(axis=1), least_detectable(values, len(pairs)))


def _seeds_p(differences: Floats, seeds: Sequence[Floats]) -> float:
    """Two-sided p of a mean of differences by Student's t, its error over subjects and over the seeds of both sides.

    Satterthwaite's degrees of freedom; 0 where no side has several seeds, so that flips decide.
    """
    parts = [(float(of.var(ddof=1)) / len(of), len(of) - 1) for of in seeds if len(of) > 1]
    if not any(variance for variance, _ in parts):
        return 0.0
    parts.append((float(differences.var(ddof=1)) / len(differences), len(differences) - 1))
    total = sum(variance for variance, _ in parts)
    freedom = total**2 / sum(variance**2 / df for variance, df in parts)
    return float(2 * stats.t.sf(abs(differences.mean()) / total**0.5, freedom))


def least_detectable(values: Floats, pairs: int) -> float | None:
    """(t_{1 - alpha / 2m} + t_{power}) times the median standard error of the paired differences, m pairs."""
    n = values.shape[1]
    if not pairs or n < 2:
        return None
    differences = [a - b for a, b in combinations(values, 2)]
    error = float(np.median([d.std(ddof=1) for d in differences])) / n**0.5
    return float(stats.t.ppf(1 - ALPHA / 2 / pairs, n - 1) + stats.t.ppf(POWER, n - 1)) * error


@dataclass(frozen=True)
class OverSeeds:
    """Numbers over seeds, each of one shape; NaN where they are undefined."""

    mean: Floats
    sd: Floats
    """Standard deviation; NaN for one seed."""
    low: Floats
    high: Floats


def over_seeds(values: Floats, low: Floats, high: Floats, scale: Scale) -> OverSeeds:
    """The means of numbers over seeds; values with their intervals are (seeds, ...), NaN where undefined.

    The interval is conservative: subjects are the same for all seeds, and their half-widths are taken as if they erred
    together; that of the seeds' spread, Student's t over seeds, is added in squares. Both on the scale where the number
    has no edge. Undefined where any seed has none.
    """
    seeds, mean = len(values), values.mean(axis=0)
    if seeds == 1:
        return OverSeeds(mean, np.full_like(mean, np.nan), low[0], high[0])
    of_subjects = ((_unbounded(high, scale) - _unbounded(low, scale)) / 2).mean(axis=0)
    t = float(stats.t.ppf((1 + COVERAGE) / 2, seeds - 1))
    of_seeds = t * _unbounded(values, scale).std(axis=0, ddof=1) / seeds**0.5
    middle, reach = _unbounded(mean, scale), np.hypot(of_subjects, of_seeds)
    sd = values.std(axis=0, ddof=1)
    return OverSeeds(mean, sd, _bounded(middle - reach, scale), _bounded(middle + reach, scale))


def _unbounded(values: Floats, scale: Scale) -> Floats:
    if scale == "fraction":
        return np.asarray(logit(np.clip(values, _EDGE, 1 - _EDGE)))
    return np.log(np.maximum(values, _EDGE)) if scale == "count" else values


def _bounded(values: Floats, scale: Scale) -> Floats:
    return np.asarray(expit(values) if scale == "fraction" else np.exp(values) if scale == "count" else values)
