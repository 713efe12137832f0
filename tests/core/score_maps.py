"""Score maps of a few subjects, and their metrics by other means."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.maps import Maps

SCORES = {
    "continuous": lambda rng, n: rng.gamma(2, 0.1, n),
    "signed": lambda rng, n: rng.normal(0, 3, n),
    "few values": lambda rng, n: rng.integers(-4, 5, n),
    "wide range": lambda rng, n: rng.normal(0, 1, n) * 10.0 ** rng.integers(-35, 35, n),
    "zeros of both signs": lambda rng, n: np.where(rng.random(n) < 0.7, rng.choice([0.0, -0.0], n), 1.0),
    "close together": lambda rng, n: 1 + rng.integers(-20, 20, n) * 2.0**-20,
}
several_scores = pytest.mark.parametrize("shape", SCORES)


def make_maps(shape: str, seed: int, subjects: int = 4, pixels: int = 150, lesion: float = 0.2) -> list[Maps]:
    """Maps of a few subjects; some lesion scores are raised by one, so that there is something to find."""
    rng = np.random.default_rng(seed)
    maps: list[Maps] = []
    for i in range(subjects):
        is_lesion = rng.random(pixels) < lesion
        scores = np.asarray(SCORES[shape](rng, pixels), np.float64)
        scores += is_lesion * rng.integers(0, 2, pixels)
        maps.append((f"s{i}", scores.astype(np.float32), is_lesion, None))
    return maps


def fill(maps: Iterable[Maps]) -> ScoreHistogram:
    maps = list(maps)
    return ScoreHistogram.of(lambda: maps)


def pool(maps: Iterable[Maps]) -> tuple[np.ndarray, np.ndarray]:
    maps = list(maps)
    return np.concatenate([s.ravel() for _, s, _, _ in maps]), np.concatenate([m.ravel() for _, _, m, _ in maps])


def dice(scores: np.ndarray, lesion: np.ndarray, threshold: float) -> float:
    flagged = scores >= np.float32(threshold)
    return float(2 * (flagged & lesion).sum() / (flagged.sum() + lesion.sum()))


def brute_force(scores: np.ndarray, lesion: np.ndarray) -> tuple[float, float]:
    """Best Dice and the highest threshold that reaches it, one threshold after the other."""
    return max((dice(scores, lesion, t), float(t)) for t in np.unique(scores))


def rereader(maps: list[Maps]) -> Callable[[], Iterable[Maps]]:
    return lambda: iter(maps)
