"""From a `Case` to a `Scan`: images and masks read, checked against each other, and brought into canonical orientation.

Oblique scans are not resampled: axes are swapped and flipped to the nearest of right, front and up. Nothing is
repaired: a NaN, a label without meaning or a mask on another grid is a `CaseError` that names the file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from adbench_datasets.imaging.cases import Case, FileRef, Scan, chosen_labels
from adbench_datasets.imaging.files import CaseError
from adbench_datasets.imaging.grids import Stored, place_on, to_canonical, to_source
from adbench_datasets.imaging.labels import EMPTY_MASK, read_labels
from adbench_datasets.imaging.nifti import read_nifti
from adbench_datasets.imaging.pictures import is_picture, read_pictures

__all__ = ["CaseError", "read_case", "to_source"]

Files = FileRef | Sequence[FileRef | None]


def read_case(case: Case, root: Path, channel: int | None = None, first_volume: bool = False) -> Scan:
    """Read one case. `root` is the data folder: no file outside of it is opened.

    `channel` chooses one of the image's channels where pictures are in colour; with `first_volume` the first of an
    image's several volumes is read. Arrays of the scan may be views with
    negative strides: `np.ascontiguousarray` makes one that PyTorch takes. Raises CaseError for any fault of the case.
    """
    image = _read(case.image, case, root, channel=channel, first_volume=first_volume)
    check_values(image)
    lesion = ignore = brain = None
    notes = list(image.notes)
    if case.lesion is not None:
        mask = _read(case.lesion, case, root, like=image)
        placed = _on_grid(image, mask, notes)
        lesion, ignore, said = read_labels(placed, mask.name, case.labels, mask.lossy)
        notes += said
        _check_edges(lesion, mask.name, "lesion")
        if case.shows_lesion and (empty := _empty(case.lesion, lesion)):
            raise CaseError(empty[0], EMPTY_MASK)
    elif not case.lesion_free:
        raise CaseError(
            image.name, "has no lesion mask, nor is it known to be free of lesions. Add one, or leave it out."
        )
    if case.brain is not None:
        mask = _read(case.brain, case, root, like=image)
        placed = _on_grid(image, mask, notes)
        brain = (
            read_labels(placed, mask.name, chosen_labels(None), mask.lossy)[0] if is_picture(case.brain) else placed > 0
        )
        if not brain.any():
            raise CaseError(
                mask.name, f"the brain mask of {image.name} is empty. Make it again, or leave out the case."
            )
        _check_edges(brain, mask.name, "brain")
    sized = case.spacing_mm is not None or not _in_slices(case.image)
    return dataclasses.replace(
        as_scan(image, case.subject, sized), lesion=lesion, brain=brain, ignore=ignore, notes=tuple(notes)
    )


def as_scan(image: Stored, subject: str, sized: bool = True) -> Scan:
    """Return an image alone as a scan; `sized` says whether its affine is in mm."""
    x, y, z = voxel_sizes(image.canonical_affine).tolist()
    return Scan(
        subject=subject,
        image=to_canonical(image.values, image.affine),
        lesion=None,
        brain=None,
        ignore=None,
        spacing_mm=(x, y, z) if sized else None,
        affine=image.canonical_affine,
        source=image.name,
        source_shape=image.shape,
        source_affine=image.affine,
        notes=image.notes,
    )


def _in_slices(files: Files) -> bool:
    return is_picture(files) if isinstance(files, FileRef) else True


def _empty(masks: Files, lesion: NDArray[np.bool_]) -> list[FileRef]:
    """Those of the files that show no lesion: of slices each one, but where there is none."""
    if isinstance(masks, FileRef):
        return [] if lesion.any() else [masks]
    flags = np.asarray(lesion.any(axis=(0, 1)))
    return [ref for ref, shown in zip(masks, flags, strict=True) if ref is not None and not shown]


def _read(
    files: Files,
    case: Case,
    root: Path,
    channel: int | None = None,
    like: Stored | None = None,
    first_volume: bool = False,
) -> Stored:
    if isinstance(files, FileRef):
        if not is_picture(files):
            return read_nifti(files, root, first_volume)
        files = [files]
    return read_pictures(files, root, case.spacing_mm, channel, like)


def check_values(image: Stored) -> None:
    """Raise CaseError where an image holds nothing, or values that are no numbers."""
    finite = np.isfinite(image.values)
    if not finite.all():
        raise CaseError(
            image.name,
            f"all values must be finite float32 numbers, but {finite.size - np.count_nonzero(finite)} of {finite.size} "
            "are NaN or infinite. Set them to what they stand for, or leave out the case.",
        )
    least = image.values.min()
    if least == image.values.max():
        raise CaseError(image.name, f"the image is blank: all values are {least:g}. Fetch it again, or leave it out.")


def _check_edges(mask: NDArray[np.bool_], name: str, what: str) -> None:
    if (mask[[0, -1]].all(axis=(0, 1)) & mask[:, [0, -1]].all(axis=(0, 1))).any():
        raise CaseError(
            name,
            f"a {what} does not reach all four edges of a slice along their whole length, but this mask does: it "
            "covers the whole frame, or is inverted. Correct it, or leave out the case.",
        )


def _on_grid(image: Stored, mask: Stored, notes: list[str]) -> NDArray[np.float32]:
    """Return a mask in canonical orientation; notes say where it came from another grid.

    Raises CaseError where it is not finite, or cannot be placed on the image.
    """
    if not np.isfinite(mask.values).all():
        raise CaseError(mask.name, "the mask holds NaN or infinite values. Make it again, or leave out the case.")
    found = place_on(image, mask)
    if found is None:
        raise CaseError(
            mask.name,
            f"a mask must lie on the grid of its image, or be brought there whole by the affines, but this is {mask}, "
            f"and {image.name} is {image}. "
            "Take the mask that was drawn on this image, or leave out the case.",
        )
    placed, said = found
    notes += said
    return placed
