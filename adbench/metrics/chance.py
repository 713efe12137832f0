"""Whether methods differ by more than chance: sign flips of paired differences, Holm's correction, ranks, and seeds.

All is paired by subject: two methods are compared on the same subjects, whose own difficulty cancels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit, logit

from adbench.metrics.estimate import Estimate
from adbench.metrics.student import COVERAGE, Scale

Floats = NDArray[np.float64]
ALPHA = 0.05
"""Chance that any difference in a table is called one where there is none."""
POWER = 0.8
EXACT = 14
"""Subjects up to which every one of the 2^n flips is taken."""
_TIE = 1e-12  # flips that give the same mean may differ by rounding
_EDGE = 1e-6
_AT_A_TIME = 1 << 14  # flips in memory as floats


def sign_flip_p(differences: Floats, flips: int, seed: int = 0) -> float:
    """Two-sided p of a mean of paired differences (n,) being 0, by flipping their signs.

    All flips for up to `EXACT` subjects; `flips` random ones and the observed one for more (Phipson and Smyth 2010, so
    that p is never 0).
    """
    return _share(_flipped(differences[None], flips, seed)[0], float(differences.sum()), len(differences) <= EXACT)


def _flipped(values: Floats, flips: int, seed: int = 0) -> Floats:
    """Sums over subjects of values (methods, n) under each flip of signs, alike for all methods: (methods, flips)."""
    n = values.shape[1]
    if n <= EXACT:
        return np.asarray(values @ (1 - 2 * (np.arange(2**n) >> np.arange(n)[:, None] & 1)))
    drawn = np.random.default_rng(seed).integers(0, 2, (flips, n), dtype=np.int8)
    pieces = [values @ part.T for part in np.array_split(drawn, -(-flips // _AT_A_TIME))]
    return np.asarray(values.sum(axis=1)[:, None] - 2 * np.concatenate(pieces, axis=1))


def _share(sums: Floats, observed: float, exact: bool) -> float:
    """The share of the flips whose sum is no smaller than the one observed; with that one where they were drawn."""
    as_large = np.count_nonzero(np.abs(sums) >= abs(observed) - _TIE)
    return float(as_large / len(sums) if exact else (1 + as_large) / (1 + len(sums)))


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
class Comparison:
    """All pairs of methods on the same subjects."""

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


def compare(values: Floats, seeds: Sequence[Floats] | None = None) -> Comparison:
    """Compare methods by their values (methods, subjects), of which higher is better.

    seeds: of each method the means over subjects of its seeds, (number of seeds,). Flips take the trainings as given;
    where any method has several, p is at least that of a t test whose error includes their spread.
    """
    pairs = list(combinations(range(len(values)), 2))
    flips = int(np.ceil(10 * len(pairs) / ALPHA))
    sums, observed, exact = _flipped(values, flips), values.sum(axis=1), values.shape[1] <= EXACT
    p = [_share(sums[i] - sums[j], float(observed[i] - observed[j]), exact) for i, j in pairs]
    if seeds is not None:
        p = [max(q, _seeds_p(values[i] - values[j], (seeds[i], seeds[j]))) for q, (i, j) in zip(p, pairs, strict=True)]
    adjusted = dict(zip(pairs, holm(p), strict=True))
    return Comparison(adjusted, values.mean(axis=1), least_detectable(values, len(pairs)))


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


def over_seeds(estimates: Sequence[Estimate], scale: Scale) -> tuple[Estimate, float | None]:
    """The mean of one metric over seeds, and its standard deviation; None for one seed.

    The interval is conservative: subjects are the same for all seeds, and their half-widths are taken as if they erred
    together; that of the seeds' spread, Student's t over seeds, is added in squares. Both on the scale where the number
    has no edge. None where any seed has none.
    """
    values = np.array([estimate.value for estimate in estimates if estimate.value is not None])
    if len(values) < len(estimates) or not len(values):
        return Estimate(value=None), None
    if len(values) == 1:
        return estimates[0], None
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    reaches = [_reach(estimate, scale) for estimate in estimates]
    if any(reach is None for reach in reaches):
        return Estimate(value=mean), sd
    of_subjects = float(np.mean([reach for reach in reaches if reach is not None]))
    t = float(stats.t.ppf((1 + COVERAGE) / 2, len(values) - 1))
    of_seeds = t * float(_unbounded(values, scale).std(ddof=1)) / len(values) ** 0.5
    reach = float(np.hypot(of_subjects, of_seeds))
    middle = _unbounded(np.array([mean]), scale)[0]
    return Estimate.of(mean, (_bounded(middle - reach, scale), _bounded(middle + reach, scale))), sd


def _reach(estimate: Estimate, scale: Scale) -> float | None:
    """Half the width of an interval, where the number has no edge."""
    if estimate.low is None or estimate.high is None:
        return None
    low, high = _unbounded(np.array([estimate.low, estimate.high]), scale)
    return float(high - low) / 2


def _unbounded(values: Floats, scale: Scale) -> Floats:
    if scale == "fraction":
        return np.asarray(logit(np.clip(values, _EDGE, 1 - _EDGE)))
    return np.log(np.maximum(values, _EDGE)) if scale == "count" else values


def _bounded(value: float, scale: Scale) -> float:
    return float(expit(value) if scale == "fraction" else np.exp(value) if scale == "count" else value)
