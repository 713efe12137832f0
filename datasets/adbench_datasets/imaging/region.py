"""Where the brain or head is in a scan, whatever frame of air it was stored with and whatever lesion it shows.

CT has a fixed threshold. MRI has none: where air is one value, as in skull-stripped scans, the region is what is
brighter; elsewhere air is noise, and Otsu's threshold parts it from tissue, on square roots, which a bright lesion
moves little. Rows and columns of constant air at the borders are taken off before either is decided, so that cropping
or padding with it changes nothing; cropping noise moves the threshold.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from adbench.errors import DataError
from adbench_datasets.imaging.cases import Scan

Units = Literal["mri", "hu", "grey"]
AIR_HU, BONE_HU = -500.0, 200.0
PADDING_HU = -1200.0  # what is less was never measured: scanners fill with -2000, -2048 or -3024
HEAD_HU = (0.0, 100.0)  # the median of a head lies within
RINGED = 0.25  # of soft tissue: dark rings that hold more of it than this are a skull turned dark, and no air
CONSTANT_AIR = 0.5  # of the frame: where one value fills more of it than this, air is that value
RIM, NOISE = 2, 0.25  # a rim of so many pixels is tissue where it is brighter than so much of bright tissue
HELD = 0.05  # of the frame: where less of it than this has the value of air, all of it may be bright noise:
EVEN, HEAD = 0.25, 0.25  # if its spread is less than so much of its contrast to a head that fills more than so much
DARKER = 0.05  # of the range: where the core of a scan is darker than its frame by more than this, it is inverted
FEW, UNDERSHOOT = 0.01, 0.05  # of voxels; of bright tissue: interpolation makes a few voxels negative by less
COUNTED_PARTS = 16
PLANE = np.ones((3, 3, 1), bool)
GREY_THRESHOLD = 12  # of 255: above what JPEG compression leaves in air
WHITE_AIR = 128  # of 255


def check_units(scan: Scan, units: Units) -> None:
    """Raise DataError where the numbers cannot be of the modality that the set is of."""
    low, high = float(scan.image.min()), float(scan.image.max())
    got = f"but {scan.source} runs from {low:g} to {high:g}"
    if units == "hu":
        _check_hu(scan, got)
    if units == "mri" and np.mean(scan.image < AIR_HU) > FEW:
        raise DataError(f"MRI must not be strongly negative, {got}, as CT in HU does. Look for the right file.")
    if units == "mri" and (below := _far_below_0(scan.image, low)) > FEW:
        raise DataError(
            f"MRI must not be negative but for noise, {got}, and {below:.0%} of its voxels lie far below 0: it was "
            "normalised, and what is negative would be taken for air. Give it as it was scanned."
        )
    if units == "mri" and low < high and _is_dark_within(scan.image, low, high):
        raise DataError(
            f"Air must be darker than tissue, but the frame of {scan.source} is brighter than what it holds: it is "
            "inverted, or filled with white. Give it with black air."
        )
    if units == "grey" and (low < 0 or high > 255):
        raise DataError(f"Windowed CT must have grey values from 0 to 255, {got}. Look for the right file.")
    if low == high:
        raise DataError(f"An image needs more than one value, {got}: it is empty. Fetch it again.")
    if units == "grey" and (air := _air(scan.image, GREY_THRESHOLD)) >= WHITE_AIR:
        raise DataError(f"Air must be dark, but that around {scan.source} is at {air:g} of 255: it is inverted.")


def _far_below_0(image: NDArray[np.float32], low: float) -> float:
    """Fraction of the voxels that are negative by more than interpolation makes them."""
    if low >= 0:
        return 0.0
    above = image[image > 0]
    if not above.size:
        return 1.0
    return float(np.mean(image < -UNDERSHOOT * np.percentile(above, 99, overwrite_input=True)))


def _is_dark_within(image: NDArray[np.float32], low: float, high: float) -> bool:
    """Whether nine tenths of the frame, within a black border, are brighter than the core."""
    image = image[_box(image > low) or (slice(None),) * 3]
    core = image[tuple(slice(n // 4, n - n // 4) for n in image.shape)]
    frame = image[..., image.shape[2] // 4 : image.shape[2] - image.shape[2] // 4]
    above = np.percentile(frame[_frame(frame)], 10) - np.median(core)
    return bool(above > DARKER * (high - low))


def _check_hu(scan: Scan, got: str) -> None:
    measured = scan.image[scan.image > PADDING_HU]
    low, high = (float(measured.min()), float(measured.max())) if measured.size else (0.0, 0.0)
    if low > AIR_HU or high < BONE_HU:
        raise DataError(
            f"CT must be in HU, with air below {AIR_HU:g} and bone above {BONE_HU:g}, {got}. Give the CT as it was "
            "reconstructed, neither windowed nor skull-stripped, with its rescale slope and intercept applied."
        )
    image = scan.image[_unframed(scan.image)]
    if (air := _air(image, AIR_HU)) > BONE_HU:
        raise DataError(
            f"Air must be below {AIR_HU:g} HU, but that around {scan.source} is at {air:g}: it is inverted."
        )
    if (ringed := _ringed(image)) > RINGED:
        raise DataError(
            f"Bone is brighter than what it holds, but {ringed:.0%} of the soft tissue in {scan.source} lies within "
            f"rings below {-BONE_HU:g} HU: it is inverted."
        )


def _unframed(image: NDArray[np.float32]) -> tuple[slice, ...]:
    """The box within a border of one value, whatever it is: scans that were resampled are padded with 0."""
    values = np.unique(image[_frame(image)])
    return (_box(image != values[0]) if len(values) == 1 else None) or (slice(None),) * 3


def _air(image: NDArray[np.float32], threshold: float) -> float:
    """The median of the frame, and of that within a border of padding or black: the brighter of the two."""
    box = _box(image > threshold)
    frames = [image] if box is None else [image, image[box]]
    return max(float(np.median(frame[_frame(frame)])) for frame in frames)


def _ringed(image: NDArray[np.float32]) -> float:
    """How much of the soft tissue lies, slice by slice, within dark rings that do not reach the frame."""
    within = soft = 0
    frame = _frame(image[..., :1])[..., 0]
    for k in range(image.shape[2]):
        plane = image[..., k]
        tissue = (plane > AIR_HU) & (plane < BONE_HU)
        dark, _ = ndimage.label(plane < -BONE_HU, PLANE[..., 0])
        rings = (dark > 0) & ~np.isin(dark, dark[frame])
        within += int(np.count_nonzero(tissue & ndimage.binary_fill_holes(rings)))
        soft += int(np.count_nonzero(tissue))
    return within / soft if soft else 0.0


def region_of(scan: Scan, units: Units) -> NDArray[np.bool_]:
    """The brain or the head, (X, Y, Z) bool: the scan's own mask, else the largest object brighter than air.

    Holes are filled slice by slice. Raises DataError where it is empty, or cannot be a head in HU.
    """
    region = scan.brain if scan.brain is not None else _brighter_than_air(scan, units)
    if not region.any():
        raise DataError(f"A scan must show a brain or head, but none was found in {scan.source}: its mask is empty.")
    middle = float(np.median(scan.image[region], overwrite_input=True)) if units == "hu" else 0.0
    if not HEAD_HU[0] <= middle <= HEAD_HU[1]:
        raise DataError(
            f"The median of a head in CT lies between {HEAD_HU[0]:g} and {HEAD_HU[1]:g} HU, but that of {scan.source} "
            f"is {middle:g}: its rescale intercept was left out or applied twice."
        )
    return region


def _brighter_than_air(scan: Scan, units: Units) -> NDArray[np.bool_]:
    if units != "hu":
        return filled(_largest(scan.image > _threshold(scan, units)))
    box = _unframed(scan.image)
    region = np.zeros(scan.image.shape, bool)
    region[box] = filled(_largest(scan.image[box] > AIR_HU))
    return region


def _threshold(scan: Scan, units: Units) -> float:
    if units == "grey":
        return GREY_THRESHOLD
    image, air = scan.image if scan.image.min() >= 0 else np.maximum(scan.image, 0), 0.0
    while (box := _box(image > air)) is not None:
        image = image[box]
        values, counts = np.unique(image[_frame(image)], return_counts=True)
        commonest = float(values[counts.argmax()])
        if commonest <= air or counts.max() < CONSTANT_AIR * counts.sum():
            break
        if commonest > np.median(image[image != commonest], overwrite_input=True):
            raise DataError(
                f"Air must be darker than tissue, but most of the frame of {scan.source} is at {commonest:g}, brighter "
                "than half of the rest: it is inverted, or filled with white. Give it with black air."
            )
        air = commonest
    if not (image > air).any():
        return air
    threshold = otsu(image)
    return air if _is_air(image, air, threshold) else threshold


def _is_air(image: NDArray[np.float32], air: float, threshold: float) -> bool:
    """Whether air has this one value: the outer rim of all that is brighter is then tissue, and not noise.

    Noise as bright as tissue is told from it by the frame: that holds no air, and is even and darker than a large head.
    """
    brighter = filled(_largest(image > air))
    rim = brighter & ~ndimage.binary_erosion(brighter, PLANE, iterations=RIM)
    bright = float(np.median(image[image >= threshold], overwrite_input=True))
    if np.median(image[rim], overwrite_input=True) <= NOISE * bright:
        return False
    frame = image[_frame(image)]
    if np.mean(frame == air) > HELD and np.mean(frame < air) <= HELD:
        return True
    low, middle, high = np.percentile(frame, [25, 50, 75])
    even = middle < threshold and high - low < EVEN * (bright - middle)
    return not (even and filled(_largest(image > threshold)).mean() > HEAD)


def filled(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the holes of a region in place, slice by slice."""
    for k in np.flatnonzero(region.any(axis=(0, 1))):
        region[..., k] = ndimage.binary_fill_holes(region[..., k])
    return region


def _box(inside: NDArray[np.bool_]) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds all that is inside; None where nothing is."""
    found = ndimage.find_objects(inside.view(np.uint8))
    return found[0] if found else None


def _frame(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The outermost pixels of each slice, (X, Y, Z) bool."""
    frame = np.ones(image.shape, bool)
    frame[1:-1, 1:-1] = False
    return frame


def otsu(image: NDArray[np.float32]) -> float:
    """The threshold with the largest variance between the two classes it makes (Otsu 1979), in 256 bins of the root.

    Negative values count as 0.
    """
    root = np.maximum(image, 0).ravel(order="K")  # in whatever order, so that nothing below copies it
    np.sqrt(root, out=root)
    low, high = float(root.min()), float(np.percentile(root, 99.5, overwrite_input=True))
    counts, edges = np.histogram(root, bins=256, range=(low, high if high > low else float(root.max())))
    middle = (edges[:-1] + edges[1:]) / 2
    below, moment = np.cumsum(counts), np.cumsum(counts * middle)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = below * above * (moment / below - (moment[-1] - moment) / above) ** 2
    return float(edges[1 + int(np.nanargmax(apart))] ** 2)


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, n = ndimage.label(mask)
    if n == 0:
        return mask
    sizes = np.zeros(n + 1, np.int64)
    for part in np.array_split(labels.reshape(-1), COUNTED_PARTS):  # counting takes twice the memory of what it counts
        sizes += np.bincount(part, minlength=n + 1)
    return np.asarray(labels == 1 + int(np.argmax(sizes[1:])))
