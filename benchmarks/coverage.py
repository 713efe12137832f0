"""How often 95 % intervals over few subjects hold the truth, on data as skewed as lesions are.

    python benchmarks/coverage.py [--draws 2000] [--resamples 400] [--json FILE]

Means: one number a subject from five distributions on [0, 1]. Pooled: Dice of lesions whose sizes are lognormal, with
quality apart from size ("even", "skewed") or falling with it ("small ones missed"). The interval of the library stands
beside the percentile bootstrap. Prints a Markdown table: the least coverage over the distributions of each row.

Seeds: means over subjects of several trainings that differ, with an interaction; the truth is the mean over all
trainings and subjects. Ranks: methods without any difference, and how often any pair of them is called different.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from adbench.metrics.chance import compare, over_seeds
from adbench.metrics.estimate import Estimate
from adbench.metrics.intervals import resample_weights
from adbench.metrics.student import Interval, resampled_error, t_interval

SUBJECTS = (3, 5, 10, 20, 50, 100)
CHANCE = (5, 10, 20, 100)
Floats = NDArray[np.float64]
Rng = np.random.Generator

MEANS: dict[str, tuple[Callable[[Rng, int], Floats], float]] = {
    "all or nothing": (lambda rng, n: rng.beta(0.7, 0.7, n), 0.5),
    "mostly low": (lambda rng, n: rng.beta(0.5, 2, n), 0.2),
    "very low": (lambda rng, n: rng.beta(0.4, 4, n), 0.4 / 4.4),
    "mostly high": (lambda rng, n: rng.beta(6, 1, n), 6 / 7),
    "three in ten are zero": (lambda rng, n: np.where(rng.random(n) < 0.3, 0, rng.beta(2, 2, n)), 0.35),
}


def lesions(shape: str, rng: Rng, n: int) -> Floats:
    """(3, n): lesion pixels, those found, and others flagged of each subject."""
    size = np.exp(rng.normal(0, 0.3 if shape == "even" else 1.2, n))
    quality = rng.beta(*{"even": (4, 2), "skewed": (1, 1.5), "small ones missed": (1, 1)}[shape], n)
    if shape == "small ones missed":
        quality = quality * np.minimum(1, size)
    return np.stack([size, size * quality, 0.5 * np.exp(rng.normal(-1, 1, n))])


def dice(sums: Floats) -> Floats:
    size, found, others = sums
    return np.asarray(2 * found / (size + found + others))


def percentiles(draws: Floats) -> Interval:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def mean_of(shape: str, rng: Rng, n: int, weights: NDArray[np.int64]) -> tuple[Interval, Interval, float]:
    draw, truth = MEANS[shape]
    values = draw(rng, n)
    estimate = Estimate.of_mean(values.tolist())
    assert estimate.low is not None
    assert estimate.high is not None
    return (estimate.low, estimate.high), percentiles(weights @ values / n), truth


def pooled_of(shape: str, rng: Rng, n: int, weights: NDArray[np.int64]) -> tuple[Interval, Interval, float]:
    counts = lesions(shape, rng, n)
    draws = dice(counts @ weights.T)
    error = resampled_error(draws, n)
    assert error is not None
    ours = t_interval(float(dice(counts.sum(axis=1))), error, n, "fraction")
    assert ours is not None
    return ours, percentiles(draws), TRUTHS[shape]


TRUTHS = {
    shape: float(dice(lesions(shape, np.random.default_rng(0), 4_000_000).sum(axis=1)))
    for shape in ("even", "skewed", "small ones missed")
}


def coverage(
    of: Callable[..., tuple[Interval, Interval, float]], shape: str, n: int, draws: int, resamples: int
) -> Floats:
    """(2,) fractions of draws whose interval holds the truth: ours, and the percentile bootstrap."""
    rng = np.random.default_rng([n, draws])
    held = np.zeros(2)
    for i in range(draws):
        weights = resample_weights([str(k) for k in range(n)], resamples, seed=i)
        ours, theirs, truth = of(shape, rng, n, weights)
        held += [ours[0] <= truth <= ours[1], theirs[0] <= truth <= theirs[1]]
    return held / draws


def seeds_coverage(seeds: int, n: int, draws: int) -> float:
    """Fraction of draws in which the interval over seeds and subjects holds the mean of all."""

    def values(rng: Rng, trainings: int, subjects: int) -> Floats:
        effects = rng.normal(0, 0.3, (trainings, 1)) + rng.normal(0, 1.5, subjects)
        return np.asarray(expit(effects + rng.normal(0, 0.5, (trainings, subjects)) - 0.5))

    truth = float(np.mean([values(np.random.default_rng([9, k]), 100, 100).mean() for k in range(300)]))
    rng, held = np.random.default_rng([seeds, n, draws]), 0
    for _ in range(draws):
        each = [Estimate.of_mean(of.tolist()) for of in values(rng, seeds, n)]
        numbers = (np.array([getattr(of, field) for of in each], np.float64) for field in ("value", "low", "high"))
        pooled = over_seeds(*numbers, "fraction")
        held += bool(pooled.low <= truth <= pooled.high)
    return held / draws


def family_wise(methods: int, seeds: int, n: int, draws: int) -> float:
    """Fraction of draws in which any of so many methods that do not differ is ranked below another.

    Trainings differ where there are several; one training is compared as it is.
    """
    rng = np.random.default_rng([methods, seeds, n, draws])
    shape = (draws, methods, seeds, n)
    trainings = rng.normal(0, 0.03 if seeds > 1 else 0, (*shape[:3], 1))
    values = rng.beta(0.7, 2, (draws, 1, 1, n)) + rng.gamma(0.3, 0.3, shape) + trainings
    ranks = [compare(of.mean(axis=1), list(of.mean(axis=2))).ranks for of in values]
    return float(np.mean([max(each) > 1 for each in ranks]))


def print_chance(draws: int) -> dict[str, dict[str, dict[int, float]]]:
    """Print and return the tables of seeds and of ranks."""
    found = {
        "coverage": {
            f"{s} seeds" if s > 1 else "1 seed": {n: seeds_coverage(s, n, draws) for n in CHANCE} for s in (1, 3, 5)
        },
        "any false difference": {
            f"{m} methods, {'1 seed' if s == 1 else f'{s} seeds'}": {n: family_wise(m, s, n, draws) for n in CHANCE}
            for m in (2, 5)
            for s in (1, 3)
        },
    }
    for what, rows in found.items():
        print(f"\n| {what} | {' | '.join(f'{n} subjects' for n in CHANCE)} |")
        print(f"| --- |{' ---: |' * len(CHANCE)}")
        for name, of in rows.items():
            print(f"| {name} | {' | '.join(f'{100 * value:.1f} %' for value in of.values())} |")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--json", type=Path, help="write all figures here")
    args = parser.parse_args()
    found = {
        name: {
            shape: {n: coverage(of, shape, n, args.draws, args.resamples).tolist() for n in SUBJECTS}
            for shape in shapes
        }
        for name, of, shapes in (("mean over subjects", mean_of, MEANS), ("pooled Dice", pooled_of, TRUTHS))
    }
    print(f"| least coverage of 95 % intervals | {' | '.join(f'{n} subjects' for n in SUBJECTS)} |")
    print(f"| --- |{' ---: |' * len(SUBJECTS)}")
    for name, shapes in found.items():
        for i, interval in enumerate(("Student's t on the logit", "percentile bootstrap")):
            least = [min(held[n][i] for held in shapes.values()) for n in SUBJECTS]
            print(f"| {name}, {interval} | {' | '.join(f'{100 * value:.0f} %' for value in least)} |")
    chance = print_chance(args.draws)
    if args.json:
        args.json.write_text(
            json.dumps(vars(args) | {"json": None, "coverage": found, "chance": chance}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
