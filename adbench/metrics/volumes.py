"""A predicted volume against a lesion mask, on one grid: Dice, HD95, AVD, lesion recall and F1 of the WMH challenge.

As its public `evaluation.py` (github.com/hjkuijf/wmhchallenge; Kuijf et al. 2019, DOI 10.1109/TMI.2019.2905770):

    Dice = 2 |P n R| / (|P| + |R|)          AVD = 100 |V_P - V_R| / V_R, in percent
    HD95 = the larger of the two directed 95th percentiles (`numpy.percentile`) of the distances in mm between the
           centres of boundary voxels; boundary = mask minus its erosion by 3 x 3 voxels in the plane of axes 0 and 1,
           and what lies beyond the grid counts as mask
    recall = share of the lesions that P touches, precision = share of the components of P that touch R (26-connected,
           one voxel is enough); 1 where there are none; F1 = their harmonic mean, 0 where both are 0

Voxels to ignore (label 2 there) are removed from P first. Since a mask of ones has F1 = 1 by that rule, another one
stands beside: components are matched one to one where their IoU is at least 0.1, F1 = 2 matches / (all components).

Not defined, None: Dice and one-to-one F1 where P and R are empty; HD95 where either has no boundary; AVD where R is
empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree

from adbench.metrics.student import FEWEST, NEVER, Scale

MIN_IOU = 0.1
"""Of a lesion and a component that are matched one to one."""
PLANE = np.ones((3, 3, 1), bool)
CONNECTED = np.ones((3, 3, 3), bool)

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Shown:
    """How a number of scans is shown: all that tables, CSV file and glossary need to know of its field."""

    title: str = ""
    """With its unit; empty where it is counted alone, and not shown."""
    glossary: str = ""
    scale: Scale = "fraction"
    higher_is_better: bool = True
    fewest: int = FEWEST
    """Subjects below which its interval is not shown, as of `adbench.metrics.metric.Metric`."""


SHOWN = {
    "dice": Shown("Dice", "mean over the subjects of 2 |P ∩ R| / (|P| + |R|)."),
    "hd95_mm": Shown(
        "HD95 mm", "mean 95th percentile of the distances between both boundaries; lower is better.", "count", False
    ),
    "avd_percent": Shown(
        "AVD %",
        "mean absolute difference of the volumes, as a percentage of the lesions'; lower is better.",
        "count",
        False,
        fewest=NEVER,
    ),
    "lesion_recall": Shown(
        "lesion recall", "mean fraction of the lesions (26-connected) of which any voxel is flagged."
    ),
    "lesion_precision": Shown("lesion precision", "mean fraction of the components that touch a lesion."),
    "lesion_f1": Shown("lesion F1", "mean F1 of that recall and of that precision; a mask of ones has 1."),
    "lesion_f1_one_to_one": Shown(
        "one-to-one F1", "mean F1 where components and lesions of an IoU of 0.1 are matched."
    ),
    "lesions": Shown(scale="count"),
    "components": Shown(scale="count"),
    "false_components": Shown(
        "false components a scan", "mean number of those that touch no lesion; lower is better.", "count", False
    ),
}
"""Field of `VolumeScores` -> how it is shown."""


class VolumeScores(BaseModel):
    """What one mask is worth; None is not defined. A number is a field, its entry above, its value in `compare`."""

    model_config = ConfigDict(frozen=True)

    dice: float | None
    hd95_mm: float | None
    avd_percent: float | None
    lesion_recall: float
    lesion_precision: float
    lesion_f1: float
    lesion_f1_one_to_one: float | None
    lesions: int
    components: int
    """Of the prediction."""
    false_components: int
    """Those that touch no lesion."""


def compare(
    prediction: Mask, reference: Mask, affine: NDArray[np.floating[Any]], ignore: Mask | None = None
) -> VolumeScores:
    """Judge `prediction` against `reference`, both (X, Y, Z) on the grid of `affine` (4, 4), index -> mm.

    Axes 0 and 1 span the slices. Raises ValueError where shapes differ.
    """
    given = [mask for mask in (prediction, reference, ignore) if mask is not None]
    if prediction.ndim != 3 or any(mask.shape != prediction.shape or mask.dtype != np.bool_ for mask in given):
        raise ValueError(f"Masks must be bool of one shape (X, Y, Z), got {[(m.dtype, m.shape) for m in given]}.")
    if ignore is not None:
        prediction = prediction & ~ignore
    p, r = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    lesions, n_lesions = ndimage.label(reference, CONNECTED)
    components, n_components = ndimage.label(prediction, CONNECTED)
    both = prediction & reference
    found, hits = (len(np.unique(labels[both])) for labels in (lesions, components))
    recall = found / n_lesions if n_lesions else 1.0
    precision = hits / n_components if n_components else 1.0
    return VolumeScores(
        dice=2 * int(np.count_nonzero(both)) / (p + r) if p + r else None,
        hd95_mm=hd95_mm(prediction, reference, affine),
        avd_percent=100 * abs(p - r) / r if r else None,
        lesion_recall=recall,
        lesion_precision=precision,
        lesion_f1=2 * recall * precision / (recall + precision) if recall + precision else 0.0,
        lesion_f1_one_to_one=_one_to_one(lesions, components, n_lesions, n_components),
        lesions=n_lesions,
        components=n_components,
        false_components=n_components - hits,
    )


def hd95_mm(prediction: Mask, reference: Mask, affine: NDArray[np.floating[Any]]) -> float | None:
    """The 95th percentile Hausdorff distance in mm; None where either mask has no boundary."""
    ours, theirs = (_boundary_mm(mask, affine) for mask in (prediction, reference))
    if not len(ours) or not len(theirs):
        return None
    directed = (KDTree(b).query(a)[0] for a, b in ((ours, theirs), (theirs, ours)))
    return float(max(np.percentile(distances, 95) for distances in directed))


def _boundary_mm(mask: Mask, affine: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Centres of the boundary voxels, (n, 3)."""
    boundary = mask & ~ndimage.binary_erosion(mask, PLANE, border_value=1)
    return np.asarray(np.argwhere(boundary) @ affine[:3, :3].T + affine[:3, 3], np.float64)


def _one_to_one(
    lesions: NDArray[np.integer[Any]], components: NDArray[np.integer[Any]], n_lesions: int, n_components: int
) -> float | None:
    """F1 of the matching with the most pairs."""
    if not n_lesions + n_components:
        return None
    sizes = (
        np.bincount(lesions.ravel(), minlength=n_lesions + 1),
        np.bincount(components.ravel(), minlength=n_components + 1),
    )
    both = (lesions > 0) & (components > 0)
    pairs, shared = np.unique(lesions[both] * np.int64(n_components + 1) + components[both], return_counts=True)
    lesion, component = np.divmod(pairs, n_components + 1)
    alike = shared >= MIN_IOU * (sizes[0][lesion] + sizes[1][component] - shared)
    rows, columns = (np.unique(labels[alike], return_inverse=True)[1] for labels in (lesion, component))
    may = np.zeros((rows.max(initial=-1) + 1, columns.max(initial=-1) + 1))
    may[rows, columns] = 1
    matches = may[linear_sum_assignment(may, maximize=True)].sum()
    return float(2 * matches / (n_lesions + n_components))


def best_dice(values: NDArray[np.float32], reference: Mask) -> float | None:
    """The largest Dice of {values > t} over all t, of values >= 0 of which 0 flags nothing; None without a lesion."""
    positives = int(np.count_nonzero(reference))
    if not positives:
        return None
    flagged = values > 0
    order = np.argsort(-values[flagged], kind="stable")
    ordered, hits = values[flagged][order], np.cumsum(reference[flagged][order])
    last = np.flatnonzero(np.diff(ordered, append=-1.0))  # of equal values, all are flagged or none
    dice = 2 * hits[last] / (last + 1 + positives)
    return float(dice.max(initial=0.0))
