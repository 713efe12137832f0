"""From a scan to axial slices, and from maps on those slices back to the scan: pure functions for all adapters.

A slice is shown as radiologists see it: row 0 is the most anterior, column 0 the patient's right. So pixel (row,
column) of slice z of a canonical volume (X, Y, Z) is the voxel (X - 1 - column, Y - 1 - row, z).

Order of the steps: region of the brain or head, intensities to [0, 1] and 0 outside the region, choice of slices,
resampling with cropping or padding in one step. Output pixel r lies at source pixel
    centre + (r - (size - 1) / 2) * step,      step = spacing of the output / spacing of the source,
for images (triangle filter of width max(1, step): bilinear, and area-weighted where pixels get larger), labels
(nearest neighbour) and the way back alike, so none is shifted against another. The centre is that of the region's
bounding box, moved by less than a source pixel so that without resampling pixels are copied exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from adbench.contracts.dataset import DatasetConfig
from adbench.contracts.splits import content_hash
from adbench.errors import DataError
from adbench_datasets.imaging.cases import Scan

VERSION = 1
"""Raise it when the same scan and config would give other slices."""
Units = Literal["mri", "hu", "grey"]
AIR_HU, BONE_HU = -500.0, 200.0
STRIPPED_FRAME, STRIPPED_MAX = 0.9, 0.6  # share of zeros on the frame of the slices; largest share of the rest
HEAD_OF_OTSU = 0.7  # fat, skin and the darkest tissue lie below the threshold that parts air from bright tissue
GREY_THRESHOLD = 12  # of 255: above what JPEG compression leaves in air
EIGHT = np.ones((3, 3), bool)


class PreprocessingConfig(DatasetConfig):
    """How a scan becomes slices. Every field is part of the cache's key. Adapters may set other defaults."""

    size: Literal[64, 128, 160, 192, 256] = Field(128, description="side of the square slices in pixels")
    spacing_mm: Annotated[float, Field(gt=0)] | Literal["fit", "keep"] = Field(
        "fit", description='pixel size in mm; "fit": fov_mm / size; "keep": pixels as stored'
    )
    fov_mm: float = Field(
        192, gt=0, description='side of the square in mm where spacing_mm is "fit"; the whole slice if that is unknown'
    )
    slice_step_mm: float | None = Field(None, gt=0, description="take a slice about every so many mm; null: each one")
    lower_percentile: float = Field(1.0, ge=0, lt=50, description="MRI: percentile within the region that becomes 0")
    upper_percentile: float = Field(99.5, gt=50, le=100, description="MRI: percentile that becomes 1; above is clipped")
    window_centre_hu: float = Field(40, description="CT: centre of the window in HU")
    window_width_hu: float = Field(120, gt=0, description="CT: width of the window in HU")
    min_area_fraction: float = Field(
        0.2, ge=0, le=1, description="keep slices whose brain or head has this fraction of the largest slice's area"
    )
    min_lesion_px: int = Field(1, ge=1, description="lesions of fewer pixels in a slice are ignored by all metrics")
    healthy_margin_slices: int = Field(1, ge=0, description="slices this near to a lesion are not trained on")


class Kind(IntEnum):
    """What a slice may be used for."""

    HEALTHY = 0
    NEAR = 1
    """Without a lesion, but too near to one to be trained on."""
    LESION = 2
    UNCLEAR = 3
    """Pathology in the scan, of which no lesion pixel is left: neither healthy nor a test of anything. Left out."""


class SlicePlan(BaseModel):
    """What is needed to bring maps of the kept slices back to the scan."""

    model_config = ConfigDict(frozen=True)

    source: str
    shape: tuple[int, int, int]
    """Of the canonical volume, (X, Y, Z)."""
    affine: tuple[tuple[float, ...], ...]
    source_shape: tuple[int, ...]
    source_affine: tuple[tuple[float, ...], ...]
    size: int
    step: tuple[float, float]
    """Source pixels per output pixel along rows and columns."""
    centre: tuple[float, float]
    """Row and column of the source slice that the middle of the output shows."""
    z: tuple[int, ...]
    """Canonical index of each kept slice."""

    def positions(self, axis: int) -> NDArray[np.float64]:
        """Source coordinate of each output row (axis 0) or column (axis 1), (size,)."""
        from_middle = np.arange(self.size, dtype=np.float64) - (self.size - 1) / 2
        return np.asarray(self.centre[axis] + from_middle * self.step[axis])


@dataclass(frozen=True)
class Prepared:
    """The kept slices of one scan, and what was found in it."""

    plan: SlicePlan
    images: NDArray[np.float32]
    """(n, 1, size, size) in [0, 1]."""
    lesions: NDArray[np.bool_]
    brains: NDArray[np.bool_]
    ignores: NDArray[np.bool_]
    kinds: NDArray[np.uint8]
    hashes: list[str]
    """Of the canonical float32 slices before any of this."""
    scan_hash: str
    """Of the whole scan."""
    facts: dict[str, Any] = field(default_factory=dict)


def prepare(scan: Scan, config: PreprocessingConfig, units: Units) -> Prepared:
    """Turn a scan into slices. Raises DataError where it is of the wrong modality, empty, or cannot be resampled."""
    check_units(scan, units)
    region = region_of(scan, units)
    area = region.sum(axis=(0, 1))
    z = _kept(scan, area, config)
    plan = _plan(scan, region, z, config)
    values = intensities(scan, region, units, config)
    rows, columns = (_triangle(plan.positions(axis), scan.image.shape[1 - axis], plan.step[axis]) for axis in (0, 1))
    n, size = len(z), config.size
    images = np.zeros((n, 1, size, size), np.float32)
    masks = {name: np.zeros((n, 1, size, size), bool) for name in ("lesions", "brains", "ignores")}
    for i, k in enumerate(z):
        images[i, 0] = rows @ axial(values, k) @ columns.T
        masks["brains"][i, 0] = _nearest(axial(region, k), plan)
        if scan.ignore is not None:
            masks["ignores"][i, 0] = _nearest(axial(scan.ignore, k), plan)
        if scan.lesion is not None:
            lesion, small = _resampled_lesion(axial(scan.lesion, k), plan, config.min_lesion_px)
            masks["lesions"][i, 0] = lesion
            masks["ignores"][i, 0] |= small & ~lesion
    masks["lesions"] &= ~masks["ignores"]
    return Prepared(
        plan=plan,
        images=np.clip(images, 0, 1),
        **masks,
        kinds=_kinds(scan, z, masks["lesions"], config.healthy_margin_slices),
        hashes=[content_hash(np.ascontiguousarray(axial(scan.image, k))) for k in z],
        scan_hash=content_hash(scan.image),
        facts=_facts(scan, region, values),
    )


def axial(volume: NDArray[Any], z: int) -> NDArray[Any]:
    """One slice (Y, X) of a canonical volume (X, Y, Z): anterior up, the patient's right on the left."""
    return volume[::-1, ::-1, z].T


def check_units(scan: Scan, units: Units) -> None:
    """Raise DataError where the numbers cannot be of the modality that the set is of."""
    low, high = float(scan.image.min()), float(scan.image.max())
    found = f"but {scan.source} runs from {low:g} to {high:g}"
    if units == "hu" and (low > AIR_HU or high < BONE_HU):
        raise DataError(
            f"CT must be in HU, with air below {AIR_HU:g} and bone above {BONE_HU:g}, {found}. Give the CT as it was "
            "reconstructed, neither windowed nor skull-stripped."
        )
    if units == "mri" and np.mean(scan.image < AIR_HU) > 0.01:
        raise DataError(f"MRI must not be strongly negative, {found}, as CT in HU does. Look for the right file.")
    if units == "grey" and (low < 0 or high > 255):
        raise DataError(f"Windowed CT must have grey values from 0 to 255, {found}. Look for the right file.")
    if low == high:
        raise DataError(f"An image needs more than one value, {found}: it is empty. Fetch it again.")


def region_of(scan: Scan, units: Units) -> NDArray[np.bool_]:
    """The brain or the head, (X, Y, Z) bool: the scan's own mask, else the largest object above a threshold.

    That is 0 for skull-stripped MRI (air exactly 0), 0.7 of Otsu's threshold for other MRI, -500 HU for CT. Holes are
    filled slice by slice. Raises DataError where it is empty.
    """
    if scan.brain is not None:
        region = scan.brain
    else:
        region = _largest(scan.image > _threshold(scan.image, units))
        for k in np.flatnonzero(region.any(axis=(0, 1))):
            region[..., k] = ndimage.binary_fill_holes(region[..., k])
    if not region.any():
        raise DataError(f"A scan must show a brain or head, but none was found in {scan.source}: its mask is empty.")
    return region


def _threshold(image: NDArray[np.float32], units: Units) -> float:
    if units != "mri":
        return AIR_HU if units == "hu" else GREY_THRESHOLD
    frame = np.ones(image.shape[:2], bool)
    frame[1:-1, 1:-1] = False
    if np.mean(image[frame] == 0) >= STRIPPED_FRAME and np.mean(image > 0) <= STRIPPED_MAX:
        return 0.0
    return HEAD_OF_OTSU * otsu(image)


def otsu(image: NDArray[np.float32]) -> float:
    """The threshold with the largest variance between the two classes it makes (Otsu 1979), in 256 bins."""
    low, high = float(image.min()), float(np.percentile(image, 99.5))
    counts, edges = np.histogram(image, bins=256, range=(low, high if high > low else float(image.max())))
    middle = (edges[:-1] + edges[1:]) / 2
    below, moment = np.cumsum(counts), np.cumsum(counts * middle)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (moment / below - (moment[-1] - moment) / above) ** 2
    return float(edges[1 + int(np.nanargmax(apart))])


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, n = ndimage.label(mask)
    if n == 0:
        return mask
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))


def intensities(
    scan: Scan, region: NDArray[np.bool_], units: Units, config: PreprocessingConfig
) -> NDArray[np.float32]:
    """Values in [0, 1], 0 outside the region, (X, Y, Z) float32. Percentiles are those of the whole region."""
    if units == "mri":
        low, high = np.percentile(scan.image[region], [config.lower_percentile, config.upper_percentile])
    elif units == "hu":
        low = config.window_centre_hu - config.window_width_hu / 2
        high = low + config.window_width_hu
    else:
        low, high = 0.0, 255.0
    if not high > low:
        raise DataError(f"A brain must have more than one intensity, but that in {scan.source} has only {low:g}.")
    values = (scan.image - np.float32(low)) * np.float32(1 / (high - low))
    np.clip(values, 0, 1, out=values)
    values *= region
    return values


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


def _plan(scan: Scan, region: NDArray[np.bool_], z: list[int], config: PreprocessingConfig) -> SlicePlan:
    width, height, _ = scan.image.shape
    flat = axial(np.any(region, axis=2, keepdims=True), 0)
    centre = [_middle(np.any(flat, axis=1 - axis)) for axis in (0, 1)]
    if config.spacing_mm == "keep":
        step = (1.0, 1.0)
    elif scan.spacing_mm is not None:
        target = config.fov_mm / config.size if config.spacing_mm == "fit" else config.spacing_mm
        step = (target / scan.spacing_mm[1], target / scan.spacing_mm[0])
    elif config.spacing_mm == "fit":  # nothing can be cropped by mm: show the whole slice
        step = (max(width, height) / config.size,) * 2
        centre = [(height - 1) / 2, (width - 1) / 2]
    else:
        raise DataError(
            f"data.spacing_mm={config.spacing_mm:g} needs the size of the stored pixels, but {scan.source} does not "
            'give it: use "fit" or "keep".'
        )
    middle = (config.size - 1) / 2
    return SlicePlan(
        source=scan.source,
        shape=scan.image.shape,
        affine=scan.affine.tolist(),
        source_shape=scan.source_shape,
        source_affine=scan.source_affine.tolist(),
        size=config.size,
        step=step,
        centre=(float(np.floor(centre[0] - middle) + middle), float(np.floor(centre[1] - middle) + middle)),
        z=tuple(z),
    )


def _middle(occupied: NDArray[np.bool_]) -> float:
    at = np.flatnonzero(occupied)
    return float(at[0] + at[-1]) / 2


def _triangle(positions: NDArray[np.float64], n: int, step: float) -> NDArray[np.float32]:
    """Weights (len(positions), n) of source pixels 0..n-1; beyond them lies 0, so a row there sums to less than 1."""
    width = max(1.0, step)
    reach = int(np.ceil(width)) + 1
    around = np.floor(positions)[:, None] + np.arange(-reach, reach + 1)
    total = np.maximum(0, 1 - np.abs(around - positions[:, None]) / width).sum(axis=1, keepdims=True)
    near = np.maximum(0, 1 - np.abs(np.arange(n) - positions[:, None]) / width)
    return np.asarray(near / total, np.float32)


def _nearest(mask: NDArray[Any], plan: SlicePlan) -> NDArray[Any]:
    """A source slice (H, W) at the plan's pixels, (size, size); 0 beyond it."""
    index = [np.rint(plan.positions(axis)).astype(int) for axis in (0, 1)]
    inside = [(at >= 0) & (at < n) for at, n in zip(index, mask.shape, strict=True)]
    taken = mask[np.ix_(*(np.where(ok, at, 0) for at, ok in zip(index, inside, strict=True)))]
    return np.where(np.logical_and.outer(*inside), taken, np.zeros((), mask.dtype))


def _resampled_lesion(
    lesion: NDArray[np.bool_], plan: SlicePlan, min_lesion_px: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The lesion of one slice at the plan's pixels, and what became too small: to be ignored by all metrics.

    Of a lesion that lost all its pixels, the one nearest to its centre is ignored.
    """
    labels, n = ndimage.label(lesion, EIGHT)
    parts = _nearest(labels, plan)
    sizes = np.bincount(parts.ravel(), minlength=n + 1)
    small = np.isin(parts, np.flatnonzero(sizes < min_lesion_px)) & (parts > 0)
    for part in 1 + np.flatnonzero(sizes[1:] == 0):
        where = np.argwhere(labels == part).mean(axis=0)
        row, column = np.rint(
            [(where[a] - plan.centre[a]) / plan.step[a] + (plan.size - 1) / 2 for a in (0, 1)]
        ).astype(int)
        if 0 <= row < plan.size and 0 <= column < plan.size:  # one beyond the frame is not seen at all
            small[row, column] = True
    return (parts > 0) & ~small, small


def _kinds(scan: Scan, z: list[int], lesions: NDArray[np.bool_], margin: int) -> NDArray[np.uint8]:
    sick = np.zeros(scan.image.shape[2], bool)
    for mask in (scan.lesion, scan.ignore):
        if mask is not None:
            sick |= mask.any(axis=(0, 1))
    near = ndimage.maximum_filter1d(sick, 2 * margin + 1, mode="constant")
    kinds = np.where(sick[z], Kind.UNCLEAR, np.where(near[z], Kind.NEAR, Kind.HEALTHY))
    return np.where(lesions.any(axis=(1, 2, 3)), Kind.LESION, kinds).astype(np.uint8)


def _facts(scan: Scan, region: NDArray[np.bool_], values: NDArray[np.float32]) -> dict[str, Any]:
    """Spacing, intensities before and after, size of each lesion (3-D, 26-connected) in voxels."""
    voxels: list[int] = []
    if scan.lesion is not None and scan.lesion.any():
        box = ndimage.find_objects(scan.lesion.astype(np.uint8))[0]
        voxels = np.bincount(ndimage.label(scan.lesion[box], np.ones((3, 3, 3)))[0].ravel())[1:].tolist()
    return {
        "spacing_mm": scan.spacing_mm,
        "range": [float(scan.image.min()), float(scan.image.max())],
        "median": [float(np.median(scan.image[region])), float(np.median(values[region]))],
        "lesion_voxels": voxels,
        "slices": scan.image.shape[2],
    }


def restore(maps: NDArray[np.float32], plan: SlicePlan, z: Sequence[int] | None = None) -> NDArray[np.float32]:
    """Bring maps (n, 1, size, size) of slices back: (X, Y, Z) float32 on the canonical grid, `plan.affine`.

    `z` are the slices' canonical indices; None: all that were kept. Other slices, and what lies beyond the square,
    are 0.
    """
    z = plan.z if z is None else z
    if maps.shape != (len(z), 1, plan.size, plan.size):
        raise DataError(
            f"{plan.source} has {len(z)} slices of {plan.size} x {plan.size}, so maps must be "
            f"({len(z)}, 1, {plan.size}, {plan.size}), got {maps.shape}."
        )
    volume = np.zeros(plan.shape, np.float32)
    rows, columns = (_back(plan, axis) for axis in (0, 1))
    for i, k in enumerate(z):
        axial(volume, k)[...] = rows @ maps[i, 0] @ columns.T
    return volume


def _back(plan: SlicePlan, axis: int) -> NDArray[np.float32]:
    at = np.arange(plan.shape[1 - axis], dtype=np.float64)
    positions = (at - plan.centre[axis]) / plan.step[axis] + (plan.size - 1) / 2
    return _triangle(np.asarray(positions), plan.size, 1 / plan.step[axis])


def as_stored(volume: NDArray[Any], plan: SlicePlan) -> NDArray[Any]:
    """Turn a canonical volume's axes to those of the file, whose affine is `plan.source_affine`."""
    stored, canonical = (nib.io_orientation(np.array(affine)) for affine in (plan.source_affine, plan.affine))
    turned = nib.apply_orientation(volume, nib.orientations.ornt_transform(canonical, stored))
    return np.asarray(turned)
