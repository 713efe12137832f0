"""From a scan to axial slices, and from maps on those slices back to the scan: pure functions for all adapters.

A slice is shown as radiologists see it: row 0 is the most anterior, column 0 the patient's right. So pixel (row,
column) of slice z of a canonical volume (X, Y, Z) is the voxel (X - 1 - column, Y - 1 - row, z).

Order of the steps: region of the brain or head (`region`), intensities to [0, 1] and 0 outside the region, choice of
slices, resampling with cropping or padding in one step (`placement`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from adbench.contracts.splits import content_hash
from adbench.errors import DataError
from adbench_datasets.imaging.cases import Scan
from adbench_datasets.imaging.placement import Placement, axial, nearest, placement_of, triangle
from adbench_datasets.imaging.preprocessing_config import PreprocessingConfig
from adbench_datasets.imaging.region import Units, check_units, region_of

MOST_LESION = 0.5
"""Of a brain or head: a mask that covers more is one of the brain or of tissue. Real ones reach 0.22."""
LEAST_SIDE = 8
"""Fewer voxels along a side of an axial slice show nothing."""
LENGTH_MM = (80.0, 300.0)
"""Of a brain or head in axial slices, those of infants too."""
UNLIKELY = (
    f"the brain or head is less than {LENGTH_MM[0]:g} or more than {LENGTH_MM[1]:g} mm long in its slices: the voxel "
    "sizes may be wrong, so that it is shown too small, or cut off"
)
OUTSIDE = "the lesion lies outside the brain or head that was found: it counts, though the image is 0 there"
OUTLINE = "masks may be outlines: they enclose more than they mark, and only what is marked counts as lesion"
VERSION = 3
"""Raise it when the same scan and config would give other slices."""
EIGHT = np.ones((3, 3), bool)


class Content(IntEnum):
    """What a slice may be used for."""

    HEALTHY = 0
    NEAR = 1
    """Without a lesion, but too near to one to be trained on."""
    LESION = 2
    UNCLEAR = 3
    """Pathology in the scan, of which no lesion pixel is left: neither healthy nor a test of anything. Left out."""


@dataclass(frozen=True)
class Prepared:
    """The kept slices of one scan, and what was found in it."""

    placement: Placement
    images: NDArray[np.float32]
    """(n, 1, size, size) in [0, 1]."""
    lesions: NDArray[np.bool_]
    brains: NDArray[np.bool_]
    ignores: NDArray[np.bool_]
    contents: NDArray[np.uint8]
    hashes: list[str]
    """Of the canonical float32 slices before any of this."""
    scan_hash: str
    """Of the whole scan."""
    facts: dict[str, Any] = field(default_factory=dict)


def prepare(scan: Scan, config: PreprocessingConfig, units: Units, region: NDArray[np.bool_] | None = None) -> Prepared:
    """Turn a scan into slices. Raises DataError where it is of the wrong modality, empty, not axial, or cannot
    be resampled.

    `region` is that of the scan where it was found, and the modality checked, before.
    """
    width, height, _ = scan.image.shape
    if min(width, height) < LEAST_SIDE:
        raise DataError(
            f"Axial slices are needed, but those of {scan.source} have {width} x {height} voxels: it is a single "
            "sagittal or coronal slice, or its header names the axes wrongly. Give the whole scan."
        )
    if region is None:
        check_units(scan, units)
        region = region_of(scan, units)
    notes = (*scan.notes, *_lesion_notes(scan, region), *_length_notes(scan, region))
    area = region.sum(axis=(0, 1))
    z = _kept(scan, area, config)
    placement = placement_of(scan, region, z, config)
    scaled = scale_of(scan, region, units, config)
    rows, columns = (
        triangle(placement.positions(axis), scan.image.shape[1 - axis], placement.step[axis]) for axis in (0, 1)
    )
    n, size = len(z), config.size
    images = np.zeros((n, 1, size, size), np.float32)
    masks = {name: np.zeros((n, 1, size, size), bool) for name in ("lesions", "brains", "ignores")}
    for i, k in enumerate(z):
        values = scaled(scan.image[..., k : k + 1]) * region[..., k : k + 1]
        stored_alike = np.ascontiguousarray(axial(values, 0))  # products of other layouts may round otherwise
        images[i, 0] = rows @ stored_alike @ columns.T
        masks["brains"][i, 0] = nearest(axial(region, k), placement)
        if scan.ignore is not None:
            masks["ignores"][i, 0] = nearest(axial(scan.ignore, k), placement)
        if scan.lesion is not None:
            lesion, small = _resampled_lesion(axial(scan.lesion, k), placement, config.min_lesion_px)
            masks["lesions"][i, 0] = lesion
            masks["ignores"][i, 0] |= small & ~lesion
    masks["lesions"] &= ~masks["ignores"]
    found = _facts(scan, region, scaled)
    del region  # the scan is copied to be hashed
    return Prepared(
        placement=placement,
        images=np.clip(images, 0, 1),
        **masks,
        contents=_contents(scan, z, masks["lesions"], config.healthy_margin_slices),
        hashes=[content_hash(np.ascontiguousarray(axial(scan.image, k))) for k in z],
        scan_hash=content_hash(scan.image),
        facts=found | {"notes": list(notes)},
    )


def _lesion_notes(scan: Scan, region: NDArray[np.bool_]) -> tuple[str, ...]:
    """What is to be said of where the lesion lies.

    Raises DataError where it, or what no metric counts, covers most of the brain or head.
    """
    if scan.ignore is not None and (share := _share(scan.ignore, region)) > MOST_LESION:
        raise DataError(
            f"What no metric counts covers at most {MOST_LESION:.0%} of a brain or head, but the mask values that are "
            f"no lesion cover {share:.0%} of {scan.source}: they are tissue or background, which the mask of a lesion "
            "has as 0. Save it so."
        )
    if scan.lesion is None or not scan.lesion.any():
        return ()
    share = _share(scan.lesion, region)
    if share > MOST_LESION:
        raise DataError(
            f"A lesion covers at most {MOST_LESION:.0%} of a brain or head, but that of {scan.source} covers "
            f"{share:.0%}: its mask is one of the brain or of tissue. Take the mask of the lesion."
        )
    return (*(() if share else (OUTSIDE,)), *((OUTLINE,) if _is_outline(scan.lesion) else ()))


def _is_outline(lesion: NDArray[np.bool_]) -> bool:
    """Whether the holes of its slices are larger than it is."""
    marked = enclosed = 0
    for k in np.flatnonzero(lesion.any(axis=(0, 1))):
        size = int(np.count_nonzero(lesion[..., k]))
        marked += size
        enclosed += int(np.count_nonzero(ndimage.binary_fill_holes(lesion[..., k]))) - size
    return enclosed > marked


def _share(mask: NDArray[np.bool_], region: NDArray[np.bool_]) -> float:
    """How much of a region a mask covers."""
    covered = sum(int(np.count_nonzero(mask[..., k] & region[..., k])) for k in range(region.shape[2]))
    return covered / int(np.count_nonzero(region))


def _length_notes(scan: Scan, region: NDArray[np.bool_]) -> tuple[str, ...]:
    """What is to be said of how large a brain or head is, where that is known."""
    if scan.spacing_mm is None:
        return ()
    box = ndimage.find_objects(region.any(axis=2).view(np.uint8))[0]
    length = max((part.stop - part.start) * mm for part, mm in zip(box, scan.spacing_mm[:2], strict=True))
    return () if LENGTH_MM[0] <= length <= LENGTH_MM[1] else (UNLIKELY,)


Scale = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From values of a scan, a few slices as a rule, to [0, 1], float32."""


def scale_of(scan: Scan, region: NDArray[np.bool_], units: Units, config: PreprocessingConfig) -> Scale:
    """How values within the region become [0, 1]. Percentiles are those of the whole region."""
    if units == "mri":
        limits = [config.lower_percentile, config.upper_percentile]
        low, high = np.percentile(scan.image[region], limits, overwrite_input=True)
    elif units == "hu":
        low = config.window_centre_hu - config.window_width_hu / 2
        high = low + config.window_width_hu
    else:
        low, high = 0.0, 255.0
    if not high > low:
        raise DataError(f"A brain must have more than one intensity, but that in {scan.source} has only {low:g}.")

    def scaled(values: NDArray[np.float32]) -> NDArray[np.float32]:
        values = values - np.float32(low)
        values *= np.float32(1 / (high - low))
        return np.clip(values, 0, 1, out=values)

    return scaled


def _kept(scan: Scan, area: NDArray[np.int_], config: PreprocessingConfig) -> list[int]:
    every = 1
    if config.slice_step_mm is not None:
        if scan.spacing_mm is None:
            raise DataError(
                f"data.slice_step_mm={config.slice_step_mm:g} needs to know how far slices lie apart, but "
                f"{scan.source} does not say: leave it null."
            )
        every = max(1, round(config.slice_step_mm / scan.spacing_mm[2]))
    large = (area > 0) & (area >= config.min_area_fraction * area.max())
    return [int(k) for k in np.flatnonzero(large) if k % every == 0]


def _resampled_lesion(
    lesion: NDArray[np.bool_], placement: Placement, min_lesion_px: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The lesion of one slice at the placement's pixels, and what became too small: to be ignored by all metrics.

    Of a lesion that lost all its pixels, the one nearest to its centre is ignored.
    """
    labels, n = ndimage.label(lesion, EIGHT)
    parts = nearest(labels, placement)
    sizes = np.bincount(parts.ravel(), minlength=n + 1)
    small = np.isin(parts, np.flatnonzero(sizes < min_lesion_px)) & (parts > 0)
    for part in 1 + np.flatnonzero(sizes[1:] == 0):
        where = np.argwhere(labels == part).mean(axis=0)
        row, column = np.rint(
            [(where[a] - placement.centre[a]) / placement.step[a] + (placement.size - 1) / 2 for a in (0, 1)]
        ).astype(int)
        if 0 <= row < placement.size and 0 <= column < placement.size:  # one beyond the frame is not seen at all
            small[row, column] = True
    return (parts > 0) & ~small, small


def _contents(scan: Scan, z: list[int], lesions: NDArray[np.bool_], margin: int) -> NDArray[np.uint8]:
    sick = np.zeros(scan.image.shape[2], bool)
    for mask in (scan.lesion, scan.ignore):
        if mask is not None:
            sick |= mask.any(axis=(0, 1))
    near = ndimage.maximum_filter1d(sick, 2 * margin + 1, mode="constant")
    contents = np.where(sick[z], Content.UNCLEAR, np.where(near[z], Content.NEAR, Content.HEALTHY))
    return np.where(lesions.any(axis=(1, 2, 3)), Content.LESION, contents).astype(np.uint8)


def _facts(scan: Scan, region: NDArray[np.bool_], scaled: Scale) -> dict[str, Any]:
    """Spacing, intensities before and after, size of each lesion (3-D, 26-connected) in voxels."""
    voxels: list[int] = []
    if scan.lesion is not None and scan.lesion.any():
        box = ndimage.find_objects(scan.lesion.astype(np.uint8))[0]
        voxels = np.bincount(ndimage.label(scan.lesion[box], np.ones((3, 3, 3)))[0].ravel())[1:].tolist()
    return {
        "spacing_mm": scan.spacing_mm,
        "range": [float(scan.image.min()), float(scan.image.max())],
        "median": [
            float(np.median(scan.image[region], overwrite_input=True)),
            float(np.median(scaled(scan.image[region]), overwrite_input=True)),
        ],
        "lesion_voxels": voxels,
        "slices": scan.image.shape[2],
    }
