"""Healthy validation subjects in two halves: on one a method calibrates, from the other the thresholds come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from adbench.contracts.splits import Split, calibration_subjects
from adbench.errors import DataError


def halved(validation: Split) -> tuple[Split, Split]:
    """The images of the calibration half and those of the reference half, which share no subject.

    Raises:
        DataError: all images are of one subject.
    """
    calibration = calibration_subjects(validation.subjects)
    inside = np.array([subject in calibration for subject in validation.subjects], bool)
    if inside.all():
        raise DataError(
            f"Healthy validation images are parted by subject, one half for the method and one for thresholds, but all "
            f"{len(validation)} are of {validation.subjects[0]!r}. Add healthy validation images of another subject."
        )
    return validation.take(np.flatnonzero(inside)), validation.take(np.flatnonzero(~inside))


def evenly(split: Split, most: int) -> Split:
    """Up to so many images, even over subjects and, within each, over its images."""
    return split.take(places(split.subjects, most))


def places(subjects: Sequence[str], most: int) -> NDArray[np.intp]:
    """Where the images of these subjects stand that are taken, ascending."""
    images: dict[str, list[int]] = {}
    for i, subject in enumerate(subjects):
        images.setdefault(subject, []).append(i)
    quotas = dict.fromkeys(images, 0)
    left = min(most, len(subjects))
    while left:
        for subject in images:  # a round gives one to each that has one left
            if left and quotas[subject] < len(images[subject]):
                quotas[subject] += 1
                left -= 1
    taken = [own[k] for subject, own in images.items() for k in middles(len(own), quotas[subject])]
    return np.array(sorted(taken), np.intp)


def in_turn(subjects: Sequence[str], order: Iterable[int]) -> list[int]:
    """The places of an order so that one of every subject comes before a second of any."""
    turns: Counter[str] = Counter()
    keyed: list[tuple[int, int, int]] = []
    for i in order:
        turns[subjects[i]] += 1
        keyed.append((turns[subjects[i]], len(keyed), int(i)))
    return [i for _, _, i in sorted(keyed)]


def middles(n: int, count: int) -> list[int]:
    """So many places of n, in the middle of equal parts."""
    return [int((2 * k + 1) * n / (2 * count)) for k in range(count)]
