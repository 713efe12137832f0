"""Scans judged on their own grid, against their masks as drawn: pooled, and one row a subject at every threshold.

Score maps go back to the scan, linear in the plane; a voxel is flagged where its value is greater than the threshold.
Voxels that no image shows, and with region "brain" those outside the brain, are never flagged: lesions there count as
missed, and so do those that vanished at network size. Healthy maps, from which thresholds come, go the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adbench.contracts.scans import ScanView, Truth
from adbench.contracts.splits import Split
from adbench.metrics.estimate import Estimate
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.maps import Maps, Reread
from adbench.metrics.pixels import pixel_metrics
from adbench.metrics.points import POINTS
from adbench.metrics.student import Scale
from adbench.metrics.thresholds import healthy_thresholds
from adbench.metrics.volumes import SHOWN, best_dice, compare
from adbench.protocol.data import Data
from adbench.protocol.protocol import MeasurementProtocol
from adbench.protocol.scoring import ScoreMaps, Scorer, scored_pixels
from adbench.results.record import ScansRecord, VolumesRecord
from adbench.results.subjects import SEPARATOR

Floats = NDArray[np.float32]
UNSEEN = np.finfo(np.float32).min
"""The score of a lesion voxel that no image shows, where scores must be finite: below every other."""


@dataclass(frozen=True)
class Judged:
    """The scans of a test set, judged."""

    subjects: pd.DataFrame
    """As `judge` gives them."""
    record: ScansRecord


def judged_scans(
    scorer: Scorer, healthy: tuple[Split, ScoreMaps], test: tuple[Split, ScoreMaps], protocol: MeasurementProtocol
) -> Judged | None:
    """Judge the scans behind the test images at every operating point; None for 2-D sets.

    Thresholds are those of healthy images on their own scans' grids; where these are pictures, at network size.
    """
    data, (split, maps) = scorer.cell.data, test
    scans = [scan for scan in data.dataset.scans(split) if scan.sized]
    if not scans:
        return None
    on_grid = healthy_on_grid(data, *healthy, protocol)
    reread: Reread = on_grid or partial(scored_pixels, *healthy, protocol)
    of_points = healthy_thresholds(reread, [point.rate for point in POINTS])
    missing = {point.key: point.missing(each) for point, each in zip(POINTS, of_points, strict=True)}
    thresholds = {point.key: each.threshold for point, each in zip(POINTS, of_points, strict=True)}
    supported = {key: value for key, value in thresholds.items() if missing[key] is None}
    subjects = judge(scans, maps, supported, protocol)
    volumes = [_volumes(subjects, key, thresholds[key], missing[key]) for key in thresholds]
    return Judged(subjects, _record(scans, maps, subjects, volumes, on_grid is not None, protocol))


def healthy_on_grid(data: Data, split: Split, maps: ScoreMaps, protocol: MeasurementProtocol) -> Reread | None:
    """The voxels of healthy scans on their own grids, as metrics read them; None where healthy images are pictures."""
    healthy_set = data.train_on.source.dataset if data.train_on else data.dataset
    scans = healthy_set.scans(split)
    return partial(healthy_voxels, scans, maps, protocol) if scans else None


def _record(
    scans: Sequence[ScanView],
    maps: ScoreMaps,
    subjects: pd.DataFrame,
    volumes: list[VolumesRecord],
    thresholds_on_grid: bool,
    protocol: MeasurementProtocol,
) -> ScansRecord:
    reread = partial(judged_voxels, scans, maps, protocol)
    pooled = pixel_metrics(reread, ScoreHistogram.of(reread))
    drawn, unseen = (float((subjects[name] * subjects["scans"]).sum()) for name in ("lesion_voxels", "unseen_voxels"))
    return ScansRecord(
        subjects=len(subjects),
        scans=len(scans),
        best_dice=pooled.best_dice,
        auprc=pooled.auprc,
        auroc=pooled.auroc,
        perfect_dice=_mean(subjects["perfect_dice"], "fraction"),
        unseen_lesion_fraction=unseen / drawn if drawn else None,
        thresholds_on_grid=thresholds_on_grid,
        volumes=volumes,
    )


def _volumes(subjects: pd.DataFrame, key: str, threshold: float, missing: str | None) -> VolumesRecord:
    names = [] if missing else list(SHOWN)
    columns = {name: subjects[f"{key}{SEPARATOR}{name}"] for name in names}
    return VolumesRecord(
        point=key,
        threshold=threshold,
        missing=missing,
        means={name: _mean(column, SHOWN[name].scale) for name, column in columns.items()},
        undefined={name: int(column.isna().sum()) for name, column in columns.items() if column.isna().any()},
    )


def _mean(column: pd.Series[float], scale: Scale) -> Estimate:
    return Estimate.of_mean(column.dropna().tolist(), scale)


def healthy_voxels(scans: Sequence[ScanView], maps: ScoreMaps, protocol: MeasurementProtocol) -> Iterator[Maps]:
    """Yield the voxels that healthy images show, as metrics read them."""
    for scan, truth, scores in scored_scans(scans, maps, protocol):
        healthy = np.isfinite(scores) & ~truth.lesion
        if truth.ignore is not None:
            healthy &= ~truth.ignore
        yield scan.subject, scores, truth.lesion, healthy


def judged_voxels(scans: Sequence[ScanView], maps: ScoreMaps, protocol: MeasurementProtocol) -> Iterator[Maps]:
    """Yield the voxels that test images show, and all lesion voxels, as metrics read them."""
    for scan, truth, scores in scored_scans(scans, maps, protocol):
        seen = np.isfinite(scores)
        counts = seen | truth.lesion
        if truth.ignore is not None:
            counts &= ~truth.ignore
        yield scan.subject, np.where(seen, scores, UNSEEN), truth.lesion, counts


def scored_scans(
    scans: Sequence[ScanView], maps: ScoreMaps, protocol: MeasurementProtocol
) -> Iterator[tuple[ScanView, Truth, Floats]]:
    """Yield every scan with its truth and the score of each voxel, -inf where it has none; one scan in memory."""
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

    Columns: subject, scans, lesion_voxels, unseen_voxels (of lesions that no image shows), perfect_dice (of the area
    fractions of the mask at network size, linear back, at the best threshold), and for each threshold the fields of
    `VolumeScores` as `<threshold>:<field>`, missing where not defined.
    """
    rows = [_row(*scored, thresholds) for scored in scored_scans(scans, maps, protocol)]
    numbers = pd.DataFrame(rows).set_index("subject").astype("float64")
    subjects = numbers.groupby(level="subject", sort=True)
    means = subjects.mean()
    means.insert(0, "scans", subjects.size())
    return means.reset_index()


def _row(scan: ScanView, truth: Truth, scores: Floats, thresholds: Mapping[str, float]) -> dict[str, object]:
    perfect = scan.back(scan.fractions(truth.lesion))
    if truth.ignore is not None:
        perfect[truth.ignore] = 0
    row: dict[str, object] = {
        "subject": scan.subject,
        "lesion_voxels": int(np.count_nonzero(truth.lesion)),
        "unseen_voxels": int(np.count_nonzero(truth.lesion & np.isneginf(scores))),
        "perfect_dice": best_dice(perfect, truth.lesion),
    }
    for name, threshold in thresholds.items():
        judged = compare(scores > threshold, truth.lesion, truth.affine, truth.ignore)
        row |= {f"{name}{SEPARATOR}{key}": value for key, value in judged.model_dump().items()}
    return row
