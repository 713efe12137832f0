"""Scans judged on their own grid, against their masks as drawn: one row a subject, at every threshold.

Score maps go back to the scan, linear in the plane; a voxel is flagged where its value is greater than the threshold.
Voxels that no image shows, and with region "brain" those outside the brain, are never flagged: lesions there count as
missed, and so do those that vanished at network size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adbench.contracts.scans import ScanView, Truth
from adbench.contracts.splits import Split
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.pixels import quantile
from adbench.metrics.volumes import VolumesAt, VolumeScores, best_dice, compare
from adbench.protocol.protocol import MeasurementProtocol
from adbench.protocol.scoring import ScoreMaps, Scorer, scored_pixels
from adbench.results.subjects import SEPARATOR

Floats = NDArray[np.float32]
Scored = tuple[ScanView, Truth, Floats]
"""A scan, its masks, and the score of each voxel: -inf where it has none."""


@dataclass(frozen=True)
class Judged:
    """The scans of a test set, judged."""

    subjects: pd.DataFrame
    """As `judge` gives them."""
    volumes: list[VolumesAt]
    perfect_dice: float | None


def judged_scans(scorer: Scorer, validation: Split, test: Split, protocol: MeasurementProtocol) -> Judged | None:
    """Judge the scans behind `test` at the transferred threshold; None for 2-D sets.

    The threshold is that of healthy images on their own scans' grids, or where they have none at network size.
    """
    data = scorer.cell.data
    scans = data.dataset.scans(test)
    if not scans:
        return None
    healthy_set = data.train_on.source.dataset if data.train_on else data.dataset
    thresholds = {"transferred": _threshold(scorer, healthy_set.scans(validation), validation, protocol)}
    subjects = judge(scans, scorer.maps(test, "test"), thresholds, protocol)
    perfect = subjects["perfect_dice"].astype("float64").mean()
    return Judged(subjects, summaries(subjects, thresholds), None if np.isnan(perfect) else float(perfect))


def _threshold(scorer: Scorer, scans: Sequence[ScanView], validation: Split, protocol: MeasurementProtocol) -> float:
    """The quantile of healthy scores on the grid that they are judged on."""
    histogram, maps = ScoreHistogram(), scorer.maps(validation, "validation")
    if not scans:
        for each in scored_pixels(validation, maps, protocol):
            histogram.add(*each)
    for scan, truth, scores in scored_scans(scans, maps, protocol):
        there = np.isfinite(scores) if truth.ignore is None else np.isfinite(scores) & ~truth.ignore
        if there.any():
            histogram.add(scan.subject, scores[there][None], truth.lesion[there][None])
    return quantile(histogram, protocol.transferred_quantile)


def scored_scans(scans: Sequence[ScanView], maps: ScoreMaps, protocol: MeasurementProtocol) -> Iterator[Scored]:
    """Yield every scan with its truth and its scores, one scan in memory at a time."""
    pick = _picker(maps)
    for scan in scans:
        truth = scan.truth(protocol.region == "brain")
        scores = scan.back(pick(scan.images))
        if truth.brain is not None:
            scores[~truth.brain] = -np.inf
        yield scan, truth, scores


def _picker(maps: ScoreMaps) -> Callable[[NDArray[np.intp]], Floats]:
    """Reads the maps of some images; slices of a scan may lie in several batches, and a batch holds several scans."""
    starts = [batch.where.start for batch in maps.batches]
    read = lru_cache(maxsize=4)(lambda i: maps.batches[i].read())

    def pick(images: NDArray[np.intp]) -> Floats:
        of = np.searchsorted(starts, images, side="right") - 1
        return np.stack([read(int(i))[at - starts[i]] for i, at in zip(of, images, strict=True)])

    return pick


def judge(
    scans: Sequence[ScanView], maps: ScoreMaps, thresholds: Mapping[str, float], protocol: MeasurementProtocol
) -> pd.DataFrame:
    """Return one row a subject, in the order of their names; of several scans of one, means of what is defined.

    Columns: subject, scans, lesion_voxels, unseen_lesion_voxels (that no image shows), perfect_dice (of the area
    fractions of the mask at network size, linear back, at the best threshold), and for each threshold the fields of
    `VolumeScores` as `<threshold>:<field>`, missing where not defined.
    """
    rows = [_row(*scored, thresholds) for scored in scored_scans(scans, maps, protocol)]
    numbers = pd.DataFrame(rows).set_index("subject").astype("float64")
    subjects = numbers.groupby(level="subject", sort=True)
    means = subjects.mean()
    means.insert(0, "scans", subjects.size())
    return means.reset_index()


def summaries(subjects: pd.DataFrame, thresholds: Mapping[str, float]) -> list[VolumesAt]:
    """The means over subjects at each threshold, and for how many a number is not defined."""
    found = []
    for name, value in thresholds.items():
        columns = {key: subjects[f"{name}{SEPARATOR}{key}"].astype("float64") for key in VolumeScores.model_fields}
        means = {key: None if column.isna().all() else float(column.mean()) for key, column in columns.items()}
        undefined = {key: int(column.isna().sum()) for key, column in columns.items() if column.isna().any()}
        found.append(VolumesAt(threshold=name, value=value, subjects=len(subjects), means=means, undefined=undefined))
    return found


def _row(
    scan: ScanView, truth: Truth, scores: Floats, thresholds: Mapping[str, float]
) -> dict[str, float | str | None]:
    perfect = scan.back(scan.fractions(truth.lesion))
    if truth.ignore is not None:
        perfect[truth.ignore] = 0
    row: dict[str, float | str | None] = {
        "subject": scan.subject,
        "lesion_voxels": int(np.count_nonzero(truth.lesion)),
        "unseen_lesion_voxels": int(np.count_nonzero(truth.lesion & np.isneginf(scores))),
        "perfect_dice": best_dice(perfect, truth.lesion),
    }
    for name, threshold in thresholds.items():
        found = compare(scores > threshold, truth.lesion, truth.affine, truth.ignore)
        row |= {f"{name}{SEPARATOR}{key}": value for key, value in found.model_dump().items()}
    return row
