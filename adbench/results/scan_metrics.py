"""What scans are judged by on their own grid, as columns: one object a number, for pages, CSV file and glossary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from adbench.metrics.catalogue import METRICS
from adbench.metrics.estimate import Estimate
from adbench.metrics.metric import Metric
from adbench.metrics.points import POINTS
from adbench.metrics.student import FEWEST, Scale
from adbench.metrics.volumes import SHOWN
from adbench.results.record import Record, ScansRecord

UNDEFINED = Estimate(value=None)


@dataclass(frozen=True)
class ScanMetric:
    """A number of a set of scans."""

    key: str
    """Its name in the CSV file."""
    title: str
    glossary: str
    of: Callable[[ScansRecord], Estimate]
    scale: Scale = "fraction"
    point: str = ""
    """Key of the operating point that it is read at; empty where it needs no threshold."""
    higher_is_better: bool = True
    fewest: int = FEWEST
    """Subjects below which its interval is not shown, as of `adbench.metrics.metric.Metric`."""

    @property
    def heading(self) -> str:
        """As a table shows it, with its unit."""
        return self.title


FIELDS = {name: shown for name, shown in SHOWN.items() if shown.title}
"""The fields of `VolumeScores` that are shown."""


def _pooled(field: str, scans: ScansRecord) -> Estimate:
    return Estimate(value=getattr(scans, field))


def _mean(field: str, point: str, scans: ScansRecord) -> Estimate:
    judged = next((volumes for volumes in scans.volumes if volumes.point == point), None)
    if judged is None:
        return UNDEFINED
    subjects = scans.subjects - judged.undefined.get(field, 0)
    return judged.means.get(field, UNDEFINED).among(subjects, FIELDS[field].fewest)


_METRICS = (
    ScanMetric(
        "scan_best_dice",
        "⌈DICE⌉",
        "of all voxels that an image shows and all of lesions.",
        partial(_pooled, "best_dice"),
    ),
    ScanMetric("scan_auprc", "AUPRC", "of the same voxels.", partial(_pooled, "auprc")),
    ScanMetric("scan_auroc", "AUROC", "of the same voxels.", partial(_pooled, "auroc")),
    ScanMetric(
        "scan_perfect_dice",
        "perfect map",
        "mean over subjects of the Dice that a perfect map of network size reaches: what size alone costs.",
        lambda scans: scans.perfect_dice,
    ),
    *(
        ScanMetric(
            f"scan_{name}_{point.key}",
            field.title,
            field.glossary,
            partial(_mean, name, point.key),
            field.scale,
            point.key,
            field.higher_is_better,
            field.fewest,
        )
        for point in POINTS
        for name, field in FIELDS.items()
    ),
)
SCAN_METRICS: dict[str, ScanMetric] = {metric.key: metric for metric in _METRICS}
"""Undefined for sets of pictures."""


def numbers() -> dict[str, Metric | ScanMetric]:
    """All numbers with an interval, by key: the metrics, then what scans are judged by."""
    return {**METRICS, **SCAN_METRICS}


def estimate(record: Record, key: str) -> Estimate:
    """One of `numbers` in a record, with its interval only where there are subjects enough for it."""
    if key not in SCAN_METRICS:
        return record.shown(key)
    scans = record.measurement.scans if record.measurement else None
    return SCAN_METRICS[key].of(scans) if scans else UNDEFINED
