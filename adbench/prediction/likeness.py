"""How like the images trained on a new scan is: its histogram against that of healthy images, and its traits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adbench.contracts.scans import Traits
from adbench.contracts.splits import Split
from adbench.prediction.card import BINS, HealthyCard
from adbench.protocol.halves import evenly

MOST_IMAGES = 1000
"""Healthy images of which a histogram is taken, even over subjects."""
FAR = 1.5
"""A scan is far where its distance is more than so many times the largest of a held-out healthy subject."""
COMMON = 0.25
"""A word is one of those trained on where so many of the scans have it, as a fraction."""
WIDER = 0.25
"""A number is unlike those trained on where it lies further outside of them than this fraction."""

Images = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Likeness:
    """How a scan compares with held-out healthy subjects."""

    distance: float
    """Mean difference of the cumulative histograms of intensities: 0 for the same, 1 for black against white."""
    healthy_as_far: float
    """Fraction of held-out healthy subjects that are as far or further."""
    healthy_furthest: float

    @property
    def is_far(self) -> bool:
        return self.distance > FAR * self.healthy_furthest


def healthy_card(calibration: Split, reference: Split, traits: Sequence[Traits]) -> HealthyCard:
    """The histogram of one half of the healthy validation subjects, how far those of the other lie, and traits."""
    mean = np.mean(list(_by_subject(calibration)), axis=0)
    distances = sorted(float(np.abs(each - mean).mean()) for each in _by_subject(reference))
    names = sorted({name for of in traits for name in of})
    values = {name: [of[name] for of in traits if name in of] for name in names}
    numbers = {name: [float(v) for v in of if not isinstance(v, str)] for name, of in values.items()}
    words = {name: _common([v for v in of if isinstance(v, str)]) for name, of in values.items()}
    return HealthyCard(
        histogram=tuple(mean.tolist()),
        distances=tuple(distances),
        numbers={name: (min(of), max(of)) for name, of in numbers.items() if of},
        words={name: tuple(of) for name, of in words.items() if of},
    )


def _common(words: Sequence[str]) -> list[str]:
    """Those of a good part of the scans: one that was judged wrongly hides nothing."""
    return sorted(word for word, times in Counter(words).items() if times >= COMMON * len(words))


def likeness(images: Images, brains: NDArray[np.bool_], healthy: HealthyCard) -> Likeness:
    """Compare the images (n, 1, H, W) of a scan with healthy ones."""
    distance = float(np.abs(cumulative(images[brains]) - np.array(healthy.histogram)).mean())
    others = np.array(healthy.distances)
    return Likeness(distance, float(np.mean(others >= distance)), float(others.max()))


def unlike(traits: Traits, healthy: HealthyCard) -> list[str]:
    """Say in words in what a scan is unlike those trained on."""
    said = []
    for name, value in traits.items():
        if isinstance(value, str):
            known = healthy.words.get(name)
            if known and value not in known:
                said.append(f"{name}: {value}; in the scans trained on: {' or '.join(known)}")
        elif name in healthy.numbers:
            low, high = healthy.numbers[name]
            if not low * (1 - WIDER) <= value <= high * (1 + WIDER):
                said.append(f"{name}: {value:.4g}; in the scans trained on: {low:.4g} to {high:.4g}")
    return said


def cumulative(values: NDArray[np.float32]) -> Floats:
    """Fraction of the values in [0, 1] that lie below each of `BINS` equal steps, (BINS,)."""
    counts = np.histogram(values, BINS, (0, 1))[0]
    return np.asarray(counts.cumsum() / max(1, values.size), np.float64)


def _by_subject(split: Split) -> Iterable[Floats]:
    """The cumulative histogram of each subject's images, within the brain where it is known."""
    split = evenly(split, MOST_IMAGES)
    images: Mapping[str, list[int]] = {name: [] for name in split.subjects}
    for i, name in enumerate(split.subjects):
        images[name].append(i)
    for own in images.values():
        stack = np.asarray(split.images[own])
        yield cumulative(stack.ravel() if split.brains is None else stack[split.brains[own]])
