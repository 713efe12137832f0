"""What scans are judged by on their own grid, as columns: one object a number, for pages, CSV file and glossary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from adbench.metrics.estimate import Estimate
from adbench.metrics.points import POINTS
from adbench.metrics.student import FEWEST, Scale
from adbench.metrics.volumes import VolumeScores
from adbench.results.record import ScansRecord

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


class Field(NamedTuple):
    """A field of `VolumeScores` that is shown."""

    title: str
    glossary: str
    higher_is_better: bool = True
    fewest: int = FEWEST


FIELDS = {
    "dice": Field("Dice", "mean over the subjects of 2 |P ∩ R| / (|P| + |R|)."),
    "hd95_mm": Field(
        "HD95 mm", "mean 95th percentile of the distances between both boundaries; lower is better.", False
    ),
    "avd_percent": Field(
        "AVD %",
        "mean absolute difference of the volumes, as a percentage of the lesions'; lower is better.",
        False,
        200,
    ),
    "lesion_recall": Field(
        "lesion recall", "mean fraction of the lesions (26-connected) of which any voxel is flagged."
    ),
    "lesion_precision": Field("lesion precision", "mean fraction of the components that touch a lesion."),
    "lesion_f1": Field("lesion F1", "mean F1 of that recall and of the fraction of components that touch a lesion."),
    "lesion_f1_one_to_one": Field(
        "one-to-one F1", "mean F1 where components and lesions of an IoU of 0.1 are matched."
    ),
    "false_components": Field(
        "false components a scan", "mean number of those that touch no lesion; lower is better.", False
    ),
}


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
            VolumeScores.scale(name),
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
