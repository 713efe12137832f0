"""Where the header of a NIfTI file says that its voxels lie: refused where it says two things, since readers differ.

nibabel takes the sform where there is one, else the qform, else voxel sizes alone; other readers take the qform, or
the voxel sizes beside the sform's directions. A file on which they would disagree shows another place in each.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from adbench_datasets.imaging.cases import FileRef
from adbench_datasets.imaging.files import CaseError
from adbench_datasets.imaging.grids import far_apart

VOXEL_MM = (0.05, 25.0)
MIN_VOLUME = 1e-3
"""Smallest volume of a voxel as a fraction of that with right angles: less, and two axes are almost parallel."""
MAX_SHEAR = 1e-3
"""Largest cosine of the angle between two axes: 0.06 degrees off a right angle, far above rounding in a header."""
SIZE_TOLERANCE = 0.01
"""How far pixdim may differ from the voxel sizes of the sform, as a fraction."""
OTHER_LENGTHS = {1: "metres", 3: "micrometres"}

Header = nib.Nifti1Header  # Nifti2Header is a subclass of it


def is_placed(header: Header) -> bool:
    """Whether a sform or a qform is set; without either, nobody knows which side is left."""
    return bool(header["sform_code"] > 0 or header["qform_code"] > 0)


def place_of(ref: FileRef, header: Header) -> NDArray[np.float64]:
    """Return the affine, (4, 4), index -> mm in RAS+. Raises CaseError where it is unusable or contradicts itself."""
    _check_sizes(ref, header)
    affine = np.asarray(header.get_best_affine(), np.float64)
    if not np.isfinite(affine).all():
        raise CaseError(ref, "the affine has entries that are NaN or infinite. Correct the header.")
    _check_shape(ref, affine)
    _check_agreement(ref, header, affine)
    return affine


def _check_sizes(ref: FileRef, header: Header) -> None:
    axes = min(3, len(header.get_data_shape()))
    if axes == 2 and header["pixdim"][3] == 0:
        header["pixdim"][3] = 1  # a slice need not say its thickness; the reference reader takes 1 as well
    stated = header["pixdim"][1:4]
    if not (np.isfinite(stated) & (stated > 0)).all():
        raise CaseError(
            ref,
            f"voxel sizes (pixdim[1..3]) must be positive numbers, not {stated.tolist()}: readers differ in what they "
            "make of others. Correct the header.",
        )
    unit = OTHER_LENGTHS.get(int(header["xyzt_units"]) & 7)
    if unit:
        raise CaseError(ref, f"lengths must be in mm, but the header says {unit} (xyzt_units). Correct the header.")


def _check_shape(ref: FileRef, affine: NDArray[np.float64]) -> None:
    spacing = nib.affines.voxel_sizes(affine)
    if not ((spacing >= VOXEL_MM[0]) & (spacing <= VOXEL_MM[1])).all():
        raise CaseError(
            ref,
            f"voxels must measure {VOXEL_MM[0]} to {VOXEL_MM[1]} mm, not {np.round(spacing, 6).tolist()}. "
            "Correct the header (sform, or qform where there is none).",
        )
    axes = affine[:3, :3] / spacing
    if abs(np.linalg.det(axes)) < MIN_VOLUME:
        raise CaseError(ref, "the affine is singular: two of its axes are parallel. Correct the header.")
    shear = np.abs(axes.T @ axes - np.eye(3)).max()
    if shear > MAX_SHEAR:
        angle = np.degrees(np.arccos(min(shear, 1.0)))
        raise CaseError(
            ref,
            f"the axes of a scan must stand at right angles (it may be oblique), but two of this affine stand at "
            f"{angle:.1f} degrees: it is sheared. Resample it to a grid with right angles.",
        )


def _check_agreement(ref: FileRef, header: Header, affine: NDArray[np.float64]) -> None:
    """Raise CaseError where the parts of the header place a voxel differently."""
    if header["sform_code"] <= 0:
        return
    spacing, stated = nib.affines.voxel_sizes(affine), np.asarray(header["pixdim"][1:4], np.float64)
    if not np.allclose(spacing, stated, rtol=SIZE_TOLERANCE, atol=0):
        raise CaseError(
            ref,
            f"one voxel size is needed, but pixdim says {np.round(stated, 4).tolist()} mm and the sform "
            f"{np.round(spacing, 4).tolist()} mm: readers differ in which they follow. Correct the header.",
        )
    if header["qform_code"] <= 0:
        return
    try:
        qform = header.get_qform()
    except (HeaderDataError, ValueError):
        qform = np.full((4, 4), np.nan)
    shape = (*header.get_data_shape()[:3], 1)[:3]
    shift = far_apart(qform, affine, shape)
    if not shift <= spacing.min() / 4:
        raise CaseError(
            ref,
            f"sform and qform must place voxels alike, but they are up to {shift:.4g} mm apart: readers differ in "
            "which they follow. Find out which is right, and set the other to it (or its code to 0).",
        )
