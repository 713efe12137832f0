"""How often 95 % intervals over few subjects hold the truth, on data as skewed as lesions are.

    python benchmarks/coverage.py [--draws 1000] [--resamples 300] [--json FILE] [--part NAME]

One simulation for each way in which a number and its interval come about, by the library's own functions:

- means over subjects of fractions (AUPRC, Dice, F1 of each) and of numbers without an upper end (mm, %, components);
- pixels pooled (⌈DICE⌉, AUPRC, AUROC): lesions of lognormal sizes, scores whose contrast differs by subject;
- Dice and sensitivity at a threshold that healthy subjects, of whom there are few, decide;
- ratios pooled (lesion recall, false components a slice) and lesion F1;
- image-level AUROC and AUPRC, of one image a subject and of eight.

Subjects are those with lesions. Prints a Markdown table: the least coverage over the distributions of each row; the
percentile bootstrap stands beside two of them. What is done is printed and written as it comes: a run that is cut keeps
its figures.

Seeds: means over subjects of several trainings that differ, with an interaction; the truth is the mean over all
trainings and subjects. Ranks: methods without any difference, and how often any pair of them is called different.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from adbench.metrics.bins import Bins
from adbench.metrics.catalogue.at_points import f1_estimate
from adbench.metrics.chance import compare, over_seeds
from adbench.metrics.estimate import Estimate
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.images import image_metrics
from adbench.metrics.intervals import bootstrap, ratio, resample_weights, resampled
from adbench.metrics.resampled_thresholds import draws_at, interval_at
from adbench.metrics.student import Interval, Scale

SUBJECTS = (3, 5, 10, 20, 50, 100, 200)
CHANCE = (5, 10, 20, 100)
PERCENTILE = "percentile bootstrap"
Floats = NDArray[np.float64]
Rng = np.random.Generator
Held = dict[str, tuple[Interval | None, float]]
"""Row of the table -> the interval of one draw, None where there is none, and the truth."""

FRACTIONS: dict[str, tuple[Callable[[Rng, int], Floats], float]] = {
    "all or nothing": (lambda rng, n: rng.beta(0.7, 0.7, n), 0.5),
    "mostly low": (lambda rng, n: rng.beta(0.5, 2, n), 0.2),
    "very low": (lambda rng, n: rng.beta(0.4, 4, n), 0.4 / 4.4),
    "mostly high": (lambda rng, n: rng.beta(6, 1, n), 6 / 7),
    "three in ten are zero": (lambda rng, n: np.where(rng.random(n) < 0.3, 0, rng.beta(2, 2, n)), 0.35),
}
COUNTS: dict[str, tuple[Callable[[Rng, int], Floats], float]] = {
    "HD95, alike": (lambda rng, n: rng.gamma(9, 4, n), 36),
    "HD95, some far": (lambda rng, n: np.exp(rng.normal(3, 0.6, n)), float(np.exp(3 + 0.6**2 / 2))),
    "components": (lambda rng, n: rng.poisson(rng.gamma(1, 20, n)).astype(float), 20),
    "components, half of them none": (lambda rng, n: rng.poisson(rng.gamma(0.3, 10, n)).astype(float), 3),
}
VOLUMES: dict[str, tuple[Callable[[Rng, int], Floats], float]] = {
    f"AVD, {name}": (
        lambda rng, n, at=at: 100 * np.exp(rng.normal(*at, n)),
        float(100 * np.exp(at[0] + at[1] ** 2 / 2)),
    )
    for name, at in {"large lesions": (-1, 0.7), "small ones": (1, 1.5)}.items()
}


def means(
    row: str, shapes: dict[str, tuple[Callable[[Rng, int], Floats], float]], scale: Scale
) -> Callable[[str, Rng, int, NDArray[np.int64]], Held]:
    """One number a subject."""

    def draw(shape: str, rng: Rng, n: int, weights: NDArray[np.int64]) -> Held:
        of, truth = shapes[shape]
        values = of(rng, n)
        return {row: (ends(Estimate.of_mean(values.tolist(), scale)), truth)} | (
            {f"{row}, {PERCENTILE}": (percentiles(weights @ values / n), truth)} if scale == "fraction" else {}
        )

    return draw


def ends(of: Estimate) -> Interval | None:
    return None if of.low is None or of.high is None else (of.low, of.high)


def percentiles(draws: Floats) -> Interval:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


EDGES = np.linspace(-5, 9, 80)
BINS = Bins(np.arange(EDGES.size, dtype=np.int32), np.ones(EDGES.size, bool))  # each holds a single value
PIXELS = {"even": (0.3, 0.0, 0.3), "skewed": (1.2, 0.0, 1.0), "small ones missed": (1.2, 0.8, 0.5)}
"""Spread of the logarithm of the sizes of lesions, contrast that a larger one has more, spread of contrasts."""


def pixels(shape: str, rng: Rng, n: int) -> NDArray[np.int64]:
    """(2, n, bins): lesion and other pixels of each subject, as many as are expected."""
    spread, more, contrasts = PIXELS[shape]
    size = rng.normal(0, spread, n)
    background = rng.normal(0, 0.3, n)
    contrast = background + 2 + more * size + rng.normal(0, contrasts, n)
    shares = [np.diff(norm.cdf(EDGES - middle[:, None])) for middle in (contrast, background)]
    inner = np.stack([200 * np.exp(size)[:, None] * shares[0], 20_000 * shares[1]])
    return np.pad(np.rint(inner).astype(np.int64), ((0, 0), (0, 0), (1, 1)))


@cache
def pooled_truth(shape: str) -> dict[str, float]:
    rng = np.random.default_rng(0)
    counts = sum(pixels(shape, rng, 5000).sum(axis=1, keepdims=True) for _ in range(20))
    found = resampled(ScoreHistogram.from_counts(BINS, ["all"], np.asarray(counts)), np.ones((1, 1), np.int64))
    return {name: float(of[0][0]) for name, of in found.items()}


TITLES = {"best_dice": "⌈DICE⌉", "auprc": "AUPRC", "auroc": "AUROC"}


def pooled(shape: str, rng: Rng, n: int, weights: NDArray[np.int64]) -> Held:
    """Pixels of all subjects."""
    hist = ScoreHistogram.from_counts(BINS, [f"{i:03d}" for i in range(n)], pixels(shape, rng, n))
    truth, draws = pooled_truth(shape), resampled(hist, weights)["best_dice"][0]
    held = {f"pooled {TITLES[name]}": (of.interval, truth[name]) for name, of in bootstrap(hist, weights).items()}
    return held | {f"pooled ⌈DICE⌉, {PERCENTILE}": (percentiles(draws), truth["best_dice"])}


RATE = 0.01
HEALTHY = (3, 4, 20)
"""Healthy subjects that a threshold comes from."""
AT_POINT = {"dice": "Dice at 1 %", "subject_dice": "subject Dice at 1 %", "sensitivity": "sensitivity at 1 %"}


@cache
def truth_at_point(shape: str) -> dict[str, float]:
    """At the threshold of all healthy subjects."""
    found = pixels(shape, np.random.default_rng(0), 50_000).astype(np.float64)
    shares = (found[1] / found[1].sum(axis=1, keepdims=True)).mean(axis=0)
    above = shares[::-1].cumsum()[::-1] - shares
    (hits, false), size = found[:, :, 1 + int(np.argmax(above <= RATE)) :].sum(axis=2), found[0].sum(axis=1)
    return {
        "dice": float(2 * hits.sum() / (size + hits + false).sum()),
        "subject_dice": float((2 * hits / (size + hits + false)).mean()),
        "sensitivity": float(hits.sum() / size.sum()),
    }


def at_point(shape: str, rng: Rng, n: int, weights: NDArray[np.int64]) -> Held:
    """Pixels flagged at a threshold of which healthy subjects decide; as many slices for both."""
    counts = pixels(shape, rng, n)
    test = ScoreHistogram.from_counts(BINS, [f"{i:03d}" for i in range(n)], counts)
    held: Held = {}
    for some in HEALTHY:
        healthy = pixels(shape, rng, some)
        healthy[0] = 0
        reference = ScoreHistogram.from_counts(BINS, [f"{i:03d}" for i in range(some)], healthy)
        as_is = draws_at(test, reference, RATE, np.ones((1, n), np.int64))
        sizes = counts[0].sum(axis=1)
        for key, draws in draws_at(test, reference, RATE, weights).items():
            interval = interval_at(key, float(as_is[key].test[0][0]), draws, sizes, some).interval
            held[f"{AT_POINT[key]}, {some} healthy subjects"] = interval, truth_at_point(shape)[key]
    return held


COMPONENTS = {"alike": (4, 2, 4.0), "skewed": (1, 1.5, 1.0), "few lesions": (1, 1, 0.3)}
"""Of the fraction found (beta) and of the numbers of lesions (shape of gamma)."""


def components(shape: str, rng: Rng, n: int) -> NDArray[np.int64]:
    """(n, 4): lesions, those found, components, false ones of each subject."""
    a, b, alike = COMPONENTS[shape]
    quality = rng.beta(a, b, n)
    lesions = 1 + rng.poisson(rng.gamma(alike, 8 / alike, n))
    found, false = rng.binomial(lesions, quality), rng.poisson(rng.gamma(alike, 10 / alike, n))
    return np.stack([lesions, found, found + false, false], axis=1)


SLICES = 60


@cache
def counted_truth(shape: str) -> tuple[float, float, float]:
    lesions, found, both, false = components(shape, np.random.default_rng(0), 1_000_000).sum(axis=0)
    recall, precision = found / lesions, (both - false) / both
    return recall, false / 1_000_000 / SLICES, 2 * recall * precision / (recall + precision)


def counted(shape: str, rng: Rng, n: int, weights: NDArray[np.int64]) -> Held:
    """Lesions and components of all subjects."""
    of = components(shape, rng, n)
    recall, false, f1 = counted_truth(shape)
    slices = np.full(n, SLICES)
    return {
        "lesion recall": (ends(ratio(of[:, 1], of[:, 0], weights)), recall),
        "lesion F1": (ends(f1_estimate(of.astype(np.float64), weights)), f1),
        "false components a slice": (ends(ratio(of[:, 3], slices, weights, "count")), false),
    }


IMAGES = {"one image a subject": (1, 1.5), "eight, unlike between subjects": (8, 1.5), "hardly any missed": (8, 4.0)}


def images(shape: str, rng: Rng, n: int) -> tuple[Floats, NDArray[np.bool_], list[str]]:
    """Scores, labels and subjects: n with lesions (of several images in about half of them), and n without."""
    each, contrast = IMAGES[shape]
    has = np.repeat(np.arange(2 * n) < n, each) & (rng.random(2 * n * each) < (1.0 if each == 1 else 0.5))
    own = np.repeat(rng.normal(0, 0.7, 2 * n), each)
    return own + has * contrast + rng.normal(0, 1, has.size), has, [f"{i // each:04d}" for i in range(has.size)]


@cache
def ranked_truth(shape: str) -> tuple[float, float]:
    scores, has, _ = images(shape, np.random.default_rng(0), 100_000)
    return float(roc_auc_score(has, scores)), float(average_precision_score(has, scores))


def ranked(shape: str, rng: Rng, n: int, weights: NDArray[np.int64]) -> Held:
    """Images of as many subjects without lesions beside those with."""
    scores, has, subjects = images(shape, rng, n)
    found, (auroc, auprc) = (
        image_metrics(scores, has, subjects, len(weights)),
        ranked_truth(shape),
    )
    return {
        "image AUROC": (found.image_auroc_interval, auroc),
        "image AUPRC": (found.image_auprc_interval, auprc),
    }


SIMULATED: dict[str, tuple[tuple[Callable[[str, Rng, int, NDArray[np.int64]], Held], tuple[str, ...]], ...]] = {
    "pixels": ((pooled, tuple(PIXELS)),),
    "points": ((at_point, tuple(PIXELS)),),
    "lesions": ((counted, tuple(COMPONENTS)),),
    "means": (
        (means("mean over subjects of fractions", FRACTIONS, "fraction"), tuple(FRACTIONS)),
        (means("mean over subjects of mm or components", COUNTS, "count"), tuple(COUNTS)),
        (means("mean over subjects of AVD", VOLUMES, "count"), tuple(VOLUMES)),
    ),
    "images": ((ranked, tuple(IMAGES)),),
}


def coverage(
    draw: Callable[[str, Rng, int, NDArray[np.int64]], Held], shape: str, n: int, draws: int, resamples: int
) -> dict[str, float]:
    """Row -> the fraction of the intervals that hold the truth, among the draws that have one."""
    rng = np.random.default_rng([n, draws])
    held: dict[str, list[bool]] = defaultdict(list)
    for i in range(draws):
        weights = resample_weights([str(k) for k in range(n)], resamples, seed=i)
        for row, (interval, truth) in draw(shape, rng, n, weights).items():
            if interval is not None:
                held[row].append(interval[0] <= truth <= interval[1])
    return {row: float(np.mean(each)) for row, each in held.items()}


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


Coverage = dict[str, dict[str, dict[int, float]]]
"""Row of the table -> distribution -> subjects -> coverage."""


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
        print_table(what, CHANCE, {name: list(of.values()) for name, of in rows.items()}, digits=1)
    return found


def print_table(title: str, subjects: tuple[int, ...], rows: dict[str, list[float]], digits: int = 0) -> None:
    print(f"\n| {title} | {' | '.join(f'{n} subjects' for n in subjects)} |")
    print(f"| --- |{' ---: |' * len(subjects)}")
    for name, of in rows.items():
        print(f"| {name} | {' | '.join(f'{100 * value:.{digits}f} %' for value in of)} |", flush=True)


def simulated(part: str, draws: int, resamples: int) -> Iterator[Coverage]:
    """All that is known of a part after each number of subjects."""
    found: Coverage = defaultdict(lambda: defaultdict(dict))
    for n in SUBJECTS:
        for draw, shapes in SIMULATED[part]:
            for shape in shapes:
                for row, held in coverage(draw, shape, n, draws, resamples).items():
                    found[row][shape][n] = held
                    print(f"{row}, {shape}, {n} subjects: {100 * held:.1f} %", file=sys.stderr, flush=True)
        yield found


def keep(path: Path | None, part: str, figures: dict[str, Any]) -> None:
    """Write a part of the file, and leave the others as they are."""
    if path:
        known = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(known | {part: figures}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--part", choices=(*SIMULATED, "chance"), help="simulate this alone")
    args = parser.parse_args()
    for part in SIMULATED if args.part is None else {args.part} & SIMULATED.keys():
        for found in simulated(part, args.draws, args.resamples):
            keep(args.json, part, {"draws": args.draws, "resamples": args.resamples, "coverage": found})
        rows = {row: [min(of[n] for of in shapes.values()) for n in SUBJECTS] for row, shapes in found.items()}
        print_table("least coverage of 95 % intervals", SUBJECTS, rows)
    if args.part in (None, "chance"):
        keep(args.json, "chance", {"draws": args.draws} | print_chance(args.draws))


if __name__ == "__main__":
    main()
