"""What is written about a scan beside its map: scores, volumes, components, thresholds and warnings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy import ndimage

from adbench.contracts.scans import PreparedScan
from adbench.errors import counted
from adbench.prediction.card import NOTICE, ModelCard, PointCard
from adbench.prediction.likeness import Likeness, likeness, unlike
from adbench.results.record import Frozen

MOST_COMPONENTS = 100
OUTSIDE = 0.05
"""It is warned where more than this fraction of what is flagged lies outside the head or brain."""
Floats = NDArray[np.float32]


class Component(Frozen):
    """Connected flagged voxels, also by corners."""

    voxels: int
    ml: float | None
    """None where voxel sizes are unknown."""
    centre_mm_ras: tuple[float, float, float] | None
    highest_score: float


class Flagged(Frozen):
    """What an operating point flags."""

    key: str
    rate: float
    threshold: float
    voxels: int
    ml: float | None
    n_components: int
    components: tuple[Component, ...]
    """The largest ones first, at most 100."""


class ScanScores(Frozen):
    """Of the voxels that slices show: within the brain or head where that is known."""

    mean: float
    percentile_99: float
    highest: float


class SliceScores(Frozen):
    """One score for each slice, as image-level metrics have them."""

    slice: int
    """From 0, along the third axis in canonical orientation."""
    percentile_99: float
    """Of its map, the same rule for all methods."""
    own: float
    """The method's own image-level score."""


class LikenessReport(Frozen):
    """How like held-out healthy images the scan is (`adbench.prediction.likeness`)."""

    histogram_distance: float
    healthy_as_far: float
    healthy_furthest: float
    healthy_subjects: int
    """Held-out ones, of whom few say little."""


class ModelName(Frozen):
    sha256: str
    method: str
    trained_on: str


class ScanReport(Frozen):
    format: int = 1
    notice: str = NOTICE
    name: str
    model: ModelName
    shape: tuple[int, int, int]
    """Of the scan in canonical orientation."""
    slices_scored: int
    scores: ScanScores
    slices: tuple[SliceScores, ...]
    points: tuple[Flagged, ...]
    likeness: LikenessReport
    warnings: tuple[str, ...]


def report_of(
    card: ModelCard,
    sha256: str,
    name: str,
    prepared: PreparedScan,
    scores: Floats,
    points: Sequence[PointCard],
    slices: Sequence[SliceScores],
    cautions: Sequence[str] = (),
) -> ScanReport:
    """Describe the scores (X, Y, Z) of a scan, -inf where a voxel has none."""
    x, y, z = scores.shape
    seen = np.isfinite(scores)
    truth = prepared.view.truth(with_brain=True)
    inside = seen if truth.brain is None else seen & truth.brain
    values = scores[inside if inside.any() else seen]
    like = likeness(prepared.images, prepared.brains, card.healthy)
    affine = truth.affine if prepared.view.sized else None
    return ScanReport(
        name=name,
        model=ModelName(sha256=sha256, method=card.method, trained_on=card.trained_on.name),
        shape=(x, y, z),
        slices_scored=len(prepared.images),
        scores=ScanScores(
            mean=float(values.mean(dtype=np.float64)),
            percentile_99=float(np.percentile(values, 99)),
            highest=float(values.max()),
        ),
        slices=tuple(slices),
        points=tuple(_flagged(scores, point, affine) for point in points),
        likeness=LikenessReport(
            histogram_distance=like.distance,
            healthy_as_far=like.healthy_as_far,
            healthy_furthest=like.healthy_furthest,
            healthy_subjects=len(card.healthy.distances),
        ),
        warnings=(*cautions, *_warnings(card, prepared, like), *_outside(scores, points, truth.brain)),
    )


def _warnings(card: ModelCard, prepared: PreparedScan, like: Likeness) -> list[str]:
    said = [*prepared.cautions, *unlike(prepared.traits, card.healthy)]
    if like.is_far:
        held_out = counted(len(card.healthy.distances), "held-out healthy subject")
        said.append(
            f"intensities are unlike those of healthy scans: the histogram differs by {like.distance:.3f}, that of "
            f"{held_out} by {like.healthy_furthest:.3f} at most"
        )
    if not prepared.view.sized:
        said.append("the size of a pixel is unknown: volumes are in voxels, and places in mm are not given")
    return said


def _outside(scores: Floats, points: Sequence[PointCard], brain: NDArray[np.bool_] | None) -> list[str]:
    """A warning where much of what is flagged lies in air, or in the skull of a scan with a mask of the brain."""
    if brain is None:
        return []
    masks = {point.rate: scores > point.threshold for point in points}
    parts = {rate: float(np.mean(~brain[flagged])) for rate, flagged in masks.items() if flagged.any()}
    said = [f"{100 * part:.0f} % of what is flagged at {rate:g}" for rate, part in parts.items() if part > OUTSIDE]
    if not said:
        return []
    return [
        f"outside the head or brain lies {', '.join(said)}: with --set protocol.region=brain at export nothing is "
        "flagged there"
    ]


def _flagged(scores: Floats, point: PointCard, affine: NDArray[np.float64] | None) -> Flagged:
    mask = scores > point.threshold
    voxel_ml = None if affine is None else float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    labels, n = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    largest = np.argsort(-sizes, kind="stable")[:MOST_COMPONENTS] + 1
    total = int(sizes.sum())
    return Flagged(
        key=point.key,
        rate=point.rate,
        threshold=point.threshold,
        voxels=total,
        ml=None if voxel_ml is None else round(total * voxel_ml, 6),
        n_components=n,
        components=tuple(_components(scores, labels, largest, sizes, voxel_ml, affine)),
    )


def _components(
    scores: Floats,
    labels: NDArray[np.int32],
    which: NDArray[np.intp],
    sizes: NDArray[np.int64],
    voxel_ml: float | None,
    affine: NDArray[np.float64] | None,
) -> list[Component]:
    boxes = ndimage.find_objects(labels)
    components = []
    for label in which.tolist():
        box = boxes[label - 1]
        inside = labels[box] == label
        centre = np.argwhere(inside).mean(axis=0) + [part.start for part in box]
        place = None if affine is None else tuple(round(float(mm), 2) for mm in apply_affine(affine, centre))
        size = int(sizes[label - 1])
        ml = None if voxel_ml is None else round(size * voxel_ml, 6)
        highest = float(scores[box][inside].max())
        components.append(Component(voxels=size, ml=ml, centre_mm_ras=place, highest_score=highest))
    return components
