"""What the numbers in a mask file mean: from values to the lesion, and to what is ignored.

A mask of classes has few values. JPEG keeps white and black only roughly: a mask in JPEG with values near 0 and near
255 is taken as black and white, and that is said. PNG, most TIFF and NIfTI keep every value: there each is what
somebody wrote. All else (a grey picture, probabilities, a resampled mask, one that was JPEG before) is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from adbench_datasets.imaging.cases import Labels
from adbench_datasets.imaging.files import CaseError

LABEL_TOLERANCE = 1e-3
"""How far a label may be from a whole number: storage as scaled integers is not exact."""
MAX_CLASSES = 16
"""More values than this are no classes."""
WHITE = 128
"""From here a damaged black-and-white picture is white."""
NEAR = 32
"""How far JPEG moves black and white, except at edges."""
THRESHOLDED = "masks have values between black and white: what reaches {:g} is taken as lesion"
EMPTY_MASK = "the mask is all zero, but its place says that it shows a lesion"

Truth = tuple[NDArray[np.bool_], NDArray[np.bool_] | None, tuple[str, ...]]
"""Lesion, what to ignore (None where no label says so), notes."""


def read_labels(mask: NDArray[np.float32], name: str, labels: Labels, lossy: bool) -> Truth:
    """Sort the values of a mask (X, Y, Z) into lesion, ignored and background. Raises CaseError for other values.

    `lossy` says that it was stored in a way that changes values (JPEG).
    """
    if labels.threshold is not None:
        lesion = _read_grey(mask, name, labels.threshold)
        between = (mask > 0) & (mask < mask.max())
        return lesion, None, (THRESHOLDED.format(labels.threshold),) if between.any() else ()
    if labels.others != "error" and _is_damaged(mask):
        if lossy:
            return _black_and_white(mask, name, labels)
        if labels.others == "lesion":
            _check_written(mask, name)
    whole = _whole(mask, name)
    lesion, ignore = _among(whole, labels.lesion), _among(whole, labels.ignore)
    rest = _among(whole, labels.lesion | labels.ignore | labels.background)
    np.logical_not(rest, out=rest)
    notes: tuple[str, ...] = ()
    if rest.any():
        values = np.unique(whole[rest])
        if labels.others == "error":
            meant = ", ".join(map(str, sorted(labels.lesion | labels.ignore | labels.background)))
            raise CaseError(
                name, f"labels must be among {meant}, but the mask holds {_some(values)}. Correct it, or leave it out."
            )
        if len(values) > MAX_CLASSES or values[0] < 0:
            raise CaseError(
                name,
                f"a mask holds 0 and a few classes, but this holds {_some(values)}: it is a grey picture or a map "
                "of probabilities. Take the mask itself.",
            )
        if labels.others == "ignore":
            ignore |= rest
            notes = (f"mask values {_some(values)} are none of data.lesion_values: no metric counts those pixels",)
        else:
            lesion |= rest
            if len(values) > 1:
                notes = (f"mask values {_some(values)} are all taken as lesion: data.lesion_values says which are",)
    has_ignored = bool(labels.ignore) or labels.others == "ignore"
    return lesion, ignore if has_ignored else None, notes


def _whole(mask: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    planes = np.moveaxis(mask, -1, 0)  # one at a time: a mask may be large
    between = [plane[np.abs(np.rint(plane) - plane) > LABEL_TOLERANCE] for plane in planes]
    if any(map(len, between)):
        raise CaseError(
            name,
            f"labels must be whole numbers, but the mask holds {_some(np.concatenate(between))}: it was resampled, or "
            "is a map of probabilities. Take the original mask.",
        )
    return mask if all((np.rint(plane) == plane).all() for plane in planes) else np.rint(mask)


def _values(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """All values of a mask in order, found a slice at a time: a mask may be large."""
    return np.unique(np.concatenate([np.unique(plane) for plane in np.moveaxis(mask, -1, 0)]))


def _is_damaged(mask: NDArray[np.float32]) -> bool:
    """Whether values lie so near to others as no classes do, up to white."""
    values = _values(mask)
    return bool(WHITE <= values[-1] <= 255 and len(values) > 2 and np.diff(values).min() < NEAR / 4)


def _check_written(mask: NDArray[np.float32], name: str) -> None:
    """Raise CaseError where values lie both near black and near white, as those of a mask that was JPEG before do."""
    values = _values(mask)
    if ((values > 0) & (values <= NEAR)).any() and ((values >= 255 - NEAR) & (values < 255)).any():
        raise CaseError(
            name,
            f"the mask holds {_some(values)}, near black and near white: it is a grey picture, or was damaged by "
            "JPEG before it was saved as it is. Save it with 0 and 255, or choose values by data.lesion_values.",
        )


def _black_and_white(mask: NDArray[np.float32], name: str, labels: Labels) -> Truth:
    if labels.others == "ignore" and labels.lesion != {255}:
        raise CaseError(
            name,
            f"data.lesion_values names {', '.join(map(str, sorted(labels.lesion)))}, but the mask is JPEG, which "
            "changes values: white (255) alone can be told. Save the mask as PNG.",
        )
    lesion = mask >= WHITE
    between = np.count_nonzero((mask > NEAR) & (mask < 255 - NEAR))
    if 2 * between > np.count_nonzero(mask >= 255 - NEAR):
        raise CaseError(
            name,
            "a mask that is a picture is black and white, or has a few grey values far apart, but this has many: it is "
            "a grey picture, or classes damaged by JPEG. Save the mask as PNG with 0 and 255.",
        )
    note = f"masks are damaged as JPEG does: what reaches {WHITE} is taken as lesion"
    return lesion, None, (note,)


def _read_grey(mask: NDArray[np.float32], name: str, threshold: float) -> NDArray[np.bool_]:
    """Where a mask reaches the threshold. Raises CaseError where a slice has grey, but nowhere enough of it."""
    lesion = mask >= threshold
    too_dark = (mask != 0).any((0, 1)) & ~lesion.any((0, 1))
    if too_dark.any():
        raise CaseError(
            name,
            f"a mask that is a picture shows the lesion in white (255), but the brightest value of one is "
            f"{mask[..., too_dark].max():g}. Save it with 0 and 255.",
        )
    return lesion


def _among(values: NDArray[np.float32], wanted: Iterable[int]) -> NDArray[np.bool_]:
    """Where values are one of a few; unlike numpy's isin it does not copy a view."""
    found = np.zeros_like(values, dtype=bool)
    for value in wanted:
        for k in range(values.shape[2]):  # a slice at a time: a mask may be large
            found[..., k] |= values[..., k] == value
    return found


def _some(values: NDArray[np.float32]) -> str:
    """Name a few of the values."""
    found = np.unique(values)
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return ", ".join(f"{value:g}" for value in found[:5]) + more
