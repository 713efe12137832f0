"""NIfTI files (1 and 2, `.nii` or `.nii.gz`) by nibabel: every claim of the header is checked before it is followed."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import IO

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from adbench_datasets.imaging.cases import FileRef
from adbench_datasets.imaging.files import MAX_BYTES, CaseError, open_file
from adbench_datasets.imaging.grids import Stored

MAX_DEFLATE = 1032
"""Deflate cannot pack more than this many bytes into one: a small file cannot hold the volume of a huge header."""
VOXEL_MM = (0.05, 25.0)
MIN_VOLUME = 1e-3
"""Smallest volume of a voxel as a fraction of that with right angles: less, and two axes are almost parallel."""

Header = nib.Nifti1Header  # Nifti2Header is a subclass of it


def read_nifti(ref: FileRef, root: Path) -> Stored:
    """Read a volume, or a single slice, as float32, scaled as its header says. Gzip is known by content, not by name.

    Raises CaseError where the file is not NIfTI, damaged, too large, of several volumes, of a type other than real
    numbers, or without a usable place in space.
    """
    with open_file(ref, root) as (file, size):
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream: IO[bytes] = gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[assignment]
        header = _header(ref, stream)
        try:
            shape = _shape(ref, header, size * MAX_DEFLATE if packed else size)
            affine = _affine(ref, header)
            proxy = ArrayProxy(stream, header, mmap=False)
        except (HeaderDataError, ValueError, OverflowError) as error:  # ValueError: of NaN where a number is needed
            raise CaseError(ref, f"the header is not valid ({error}). Convert or fetch the file again.") from error
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, which is an error later
            values = np.asarray(proxy, dtype=np.float32)
        _read_to_end(ref, stream)
    return Stored(str(ref), values.reshape(shape, order="F"), affine, header.get_data_shape(), _qform(header))


def _header(ref: FileRef, stream: IO[bytes]) -> Header:
    """Parse the header as it is: nibabel's own check would repair some faults, such as voxels of size zero."""
    start = stream.read(540)
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        if kind.may_contain_header(start):
            header = kind(start[: kind.sizeof_hdr], check=False)
            if header["magic"].item() == kind.pair_magic:
                raise CaseError(ref, "is one half of a .hdr/.img pair. Convert it to .nii.gz.")
            return header
    raise CaseError(ref, "is not a NIfTI file (no NIfTI header found). Convert it to .nii.gz, or fetch it again.")


def _shape(ref: FileRef, header: Header, available: int) -> tuple[int, int, int]:
    """Return the shape as (X, Y, Z) after checking that the file can hold it; nothing has been reserved yet."""
    shape = header.get_data_shape()
    if len(shape) < 2 or min(shape) < 1:
        raise CaseError(ref, f"a volume or a slice is needed, but the header says shape {shape}. Leave out the case.")
    if math.prod(shape[3:]) != 1:
        raise CaseError(
            ref, f"one volume is needed, but shape {shape} has {math.prod(shape[3:])}. Extract the one to use."
        )
    try:
        dtype = header.get_data_dtype()
    except KeyError as error:
        raise CaseError(ref, f"voxels are of no known type (code {error}). Convert or fetch the file again.") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise CaseError(ref, f"voxels must be integers or floats of at most 64 bits, not {dtype}. Convert the file.")
    n_bytes = math.prod(shape) * max(4, dtype.itemsize)  # as stored, and as the float32 that they become
    if n_bytes > MAX_BYTES:
        raise CaseError(
            ref, f"shape {shape} of {dtype} takes {n_bytes} bytes, more than the limit of {MAX_BYTES}. Resample it."
        )
    offset = header.get_data_offset()
    if offset < header.single_vox_offset:
        raise CaseError(
            ref, f"voxels must start at byte {header.single_vox_offset} or later, not {offset}. Fetch it again."
        )
    needed = offset + math.prod(shape) * dtype.itemsize
    if needed > available:
        raise CaseError(
            ref,
            f"shape {shape} of {dtype} needs {needed} bytes, but the file can hold {available} at most: it is cut "
            "short, or its header is wrong. Fetch it again.",
        )
    x, y, z = (*shape[:3], 1)[:3]
    return x, y, z


def _affine(ref: FileRef, header: Header) -> NDArray[np.float64]:
    """Return the affine (sform, else qform, else voxel sizes alone), (4, 4), checked."""
    axes = min(3, len(header.get_data_shape()))
    if axes == 2 and header["pixdim"][3] == 0:
        header["pixdim"][3] = 1  # a slice need not say its thickness; the reference reader takes 1 as well
    stated = header["pixdim"][1 : 1 + axes]
    if not (np.isfinite(stated) & (stated != 0)).all():
        raise CaseError(ref, f"voxel sizes must be numbers other than 0, not {stated.tolist()}. Correct the header.")
    affine = np.asarray(header.get_best_affine(), np.float64)
    if not np.isfinite(affine).all():
        raise CaseError(ref, "the affine has entries that are NaN or infinite. Correct the header.")
    spacing = nib.affines.voxel_sizes(affine)
    if not ((spacing >= VOXEL_MM[0]) & (spacing <= VOXEL_MM[1])).all():
        raise CaseError(
            ref,
            f"voxels must measure {VOXEL_MM[0]} to {VOXEL_MM[1]} mm, not {np.round(spacing, 6).tolist()}. "
            "Correct the header (sform, or qform where there is none).",
        )
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < MIN_VOLUME:
        raise CaseError(ref, "the affine is singular: two of its axes are parallel. Correct the header.")
    return affine


def _qform(header: Header) -> NDArray[np.float64] | None:
    """Return the qform's affine; None where the file has none, or an invalid one beside its sform."""
    try:
        affine, _ = header.get_qform(coded=True)
    except (HeaderDataError, ValueError):
        return None
    return affine if affine is None or np.isfinite(affine).all() else None


def _read_to_end(ref: FileRef, stream: IO[bytes]) -> None:
    """Read what follows the voxels, nothing as a rule: checksums of gzip and zip are compared at the end only."""
    for _ in range(MAX_BYTES >> 20):
        if not stream.read(1 << 20):
            return
    raise CaseError(ref, f"more than {MAX_BYTES} bytes follow the voxels: the header is wrong. Fetch it again.")
