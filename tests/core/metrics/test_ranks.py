"""No number depends on the scale of the scores: only their order counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adbench.metrics.catalogue import METRICS
from adbench.metrics.estimate import Estimate
from adbench.metrics.evidence import Evidence
from adbench.metrics.intervals import Bounded
from adbench.metrics.maps import Maps

SIZE = 24
MAPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shifted by 1000": lambda s: s + 1000,
    "a millionth": lambda s: s * 1e-6,
    "a million times": lambda s: s * 1e6,
    "exponential": np.exp,
    "logarithm": lambda s: np.log(s + 1e-3),
    "below zero": lambda s: s - 5,
    "subnormal": lambda s: s * 1e-42,
    "ranks": lambda s: np.unique(s, return_inverse=True)[1].reshape(s.shape).astype(float),
}


def stack(seed: int, n: int, lesions: bool, values: int) -> list[Maps]:
    """Slices with scores of so many values, two of each subject."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    maps: list[Maps] = []
    for i in range(n):
        lesion = ((y - 8 - i % 5) ** 2 + (x - 12) ** 2 < 4 + 6 * (i % 3)) & lesions & (i % 4 != 3)
        scores = rng.gamma(2, 0.1, (SIZE, SIZE)) + lesion * (0.1 + 0.2 * (i % 3))
        scores = np.round(scores * values) / values
        maps.append((f"{'test' if lesions else 'healthy'} {i // 2}", scores[None], lesion[None], None))
    return maps


def unchanged(scores: np.ndarray) -> np.ndarray:
    return scores


def evidence(change: Callable[[np.ndarray], np.ndarray], seed: int, values: int) -> Evidence:
    """Of maps changed together, so that ranks run over all; float32 must carry the change without new ties."""
    test, healthy = stack(seed, 16, True, values), stack(seed + 1, 44, False, values)
    before = np.stack([scores for _, scores, _, _ in test + healthy])
    after = change(before).astype(np.float32)
    if change is not unchanged:
        assume(np.unique(after).size == np.unique(before.astype(np.float32)).size)
    changed = [(name, s, m, v) for (name, _, m, v), s in zip(test + healthy, after, strict=True)]
    maps, reference = changed[: len(test)], changed[len(test) :]
    return Evidence(
        images=lambda: iter(maps),
        pixel_level=np.ones(len(maps), bool),
        healthy=lambda: iter(reference),
        image_scores=after[: len(test)].max(axis=(1, 2, 3)),
        anomalous=np.array([m.any() for _, _, m, _ in maps]),
        image_level=np.ones(len(maps), bool),
        subjects=[name for name, *_ in maps],
        resamples=40,
    )


@cache
def as_they_are(seed: int, values: int) -> tuple[object, ...]:
    return measured(evidence(unchanged, seed, values))


def measured(of: Evidence) -> tuple[dict[str, Estimate], dict[str, Bounded], dict[str, list[int]]]:
    metrics = {key: metric.estimate(of) for key, metric in METRICS.items()}
    return metrics, of.pixel_intervals, {s: c.tolist() for s, c in of.flagged.pixels.items()}


@pytest.mark.parametrize("name", MAPS)
@settings(max_examples=2)
@given(seed=st.integers(0, 9), values=st.sampled_from([3, 40, 4096]))
def test_metrics_intervals_and_masks_are_unchanged_by_a_strictly_increasing_map(name: str, seed: int, values: int):
    assert measured(evidence(MAPS[name], seed, values)) == as_they_are(seed, values)


@settings(max_examples=4)
@given(seed=st.integers(0, 9), scale=st.floats(1e-6, 1e6), shift=st.floats(-1000, 1000))
def test_so_they_are_by_any_scale_and_shift(seed: int, scale: float, shift: float):
    assert measured(evidence(lambda s: scale * s + shift, seed, 256)) == as_they_are(seed, 256)


@settings(max_examples=4)
@given(seed=st.integers(0, 9), values=st.sampled_from([1, 3, 1024]))
def test_intervals_of_fractions_lie_between_nothing_and_one(seed: int, values: int):
    of = evidence(unchanged, seed, values)
    for key, metric in METRICS.items():
        found = metric.estimate(of)
        if found.low is not None and found.high is not None and not metric.unit:
            assert 0 <= found.low <= found.high <= 1, key


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-42])
def test_a_constant_map_finds_nothing_and_says_so(value: float):
    of = evidence(unchanged, 0, 256)
    test, healthy = ([(n, np.full_like(s, value), m, v) for n, s, m, v in maps()] for maps in (of.images, of.healthy))
    of = replace(of, images=lambda: iter(test), healthy=lambda: iter(healthy))
    prevalence = of.pixels.prevalence
    assert METRICS["auroc"].estimate(of).value == 0.5
    assert METRICS["auprc"].estimate(of).value == pytest.approx(prevalence)
    assert METRICS["best_dice"].estimate(of).value == pytest.approx(2 * prevalence / (1 + prevalence))
    assert METRICS["dice_5pct"].estimate(of).value == 0
    assert of.thresholds[0.05].rate_met == 0
