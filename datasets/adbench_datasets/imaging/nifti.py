"""NIfTI files (1 and 2, `.nii` or `.nii.gz`) by nibabel: every claim of the header is checked before it is followed."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import IO

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.volumeutils import apply_read_scaling, array_from_file
from numpy.typing import NDArray

from adbench_datasets.imaging.cases import FileRef
from adbench_datasets.imaging.files import MAX_BYTES, CaseError, open_file
from adbench_datasets.imaging.grids import Stored
from adbench_datasets.imaging.header_place import Header, is_placed, place_of

MAX_DEFLATE = 1032
"""Deflate cannot pack more than this many bytes into one: a small file cannot hold the volume of a huge header."""
SLAB = 8
"""Slices that are scaled at a time."""
NO_PLACE = "neither sform nor qform is set: which side is left is not known, and is taken as nibabel does (LAS)"


def read_nifti(ref: FileRef, root: Path, first_volume: bool = False) -> Stored:
    """Read a volume, or a single slice, as float32, scaled as its header says. Gzip is known by content, not by name.

    With `first_volume` the first of several volumes is read, which a note says.

    Raises CaseError where the file is not NIfTI, damaged, too large, of several volumes, of a type other than real
    numbers, or where its header contradicts itself about where voxels lie (`header_place`).
    """
    with open_file(ref, root) as (file, size):
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream: IO[bytes] = gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[assignment]
        header = _header(ref, stream)
        try:
            shape = _shape(ref, header, size * MAX_DEFLATE if packed else size, first_volume)
            affine = place_of(ref, header)
            scaling = header.get_slope_inter()
        except (HeaderDataError, ValueError, OverflowError) as error:  # ValueError: of NaN where a number is needed
            raise CaseError(ref, f"the header is not valid ({error}). Convert or fetch the file again.") from error
        values = _values(stream, header, shape, scaling)
        _read_to_end(ref, stream)
    stored_shape, placed = header.get_data_shape(), is_placed(header)
    notes = [] if placed else [NO_PLACE]
    if (volumes := math.prod(stored_shape[3:])) != 1:
        stored_shape = shape
        notes.append(f"forced: of {volumes} volumes the first is taken")
    return Stored(str(ref), values, affine, stored_shape, placed, tuple(notes))


def _values(
    stream: IO[bytes],
    header: Header,
    shape: tuple[int, int, int],
    scaling: tuple[float | None, float | None],
) -> NDArray[np.float32]:
    """The first volume in the order of the file, slope and intercept applied as nibabel does.

    That takes float64 as a rule, so a few slices are read at a time.
    """
    values = np.empty(shape, np.float32, order="F")
    dtype, offset = header.get_data_dtype(), header.get_data_offset()
    for k in range(0, shape[2], SLAB):
        slab = values[..., k : k + SLAB]
        start = offset + k * math.prod(shape[:2]) * dtype.itemsize
        raw = array_from_file(slab.shape, dtype, stream, start, mmap=False)  # type: ignore[arg-type]  # takes any stream
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, which is an error later
            slab[...] = apply_read_scaling(raw, *scaling)
    return values


def _header(ref: FileRef, stream: IO[bytes]) -> Header:
    """Parse the header as it is: nibabel's own check would repair some faults, such as voxels of size zero."""
    start = stream.read(540)
    for version in (nib.Nifti1Header, nib.Nifti2Header):
        if version.may_contain_header(start):
            header = version(start[: version.sizeof_hdr], check=False)
            if header["magic"].item() == version.pair_magic:
                raise CaseError(ref, "is one half of a .hdr/.img pair. Convert it to .nii.gz.")
            return header
    raise CaseError(ref, "is not a NIfTI file (no NIfTI header found). Convert it to .nii.gz, or fetch it again.")


def _shape(ref: FileRef, header: Header, available: int, first_volume: bool) -> tuple[int, int, int]:
    """Return the shape as (X, Y, Z) after checking that the file can hold it; nothing has been reserved yet."""
    shape = header.get_data_shape()
    if len(shape) < 2 or min(shape) < 1:
        raise CaseError(ref, f"a volume or a slice is needed, but the header says shape {shape}. Leave out the case.")
    if math.prod(shape[3:]) != 1 and not first_volume:
        raise CaseError(
            ref, f"one volume is needed, but shape {shape} has {math.prod(shape[3:])}. Extract the one to use."
        )
    try:
        dtype = header.get_data_dtype()
    except KeyError as error:
        raise CaseError(ref, f"voxels are of no known type (code {error}). Convert or fetch the file again.") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise CaseError(ref, f"voxels must be integers or floats of at most 64 bits, not {dtype}. Convert the file.")
    if (bits := int(header["bitpix"])) != 8 * dtype.itemsize:
        raise CaseError(
            ref, f"{dtype} has {8 * dtype.itemsize} bits, but the header says {bits} (bitpix). Fetch it again."
        )
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


def _read_to_end(ref: FileRef, stream: IO[bytes]) -> None:
    """Read what follows the voxels, nothing as a rule: checksums of gzip and zip are compared at the end only."""
    for _ in range(MAX_BYTES >> 20):
        if not stream.read(1 << 20):
            return
    raise CaseError(ref, f"more than {MAX_BYTES} bytes follow the voxels: the header is wrong. Fetch it again.")
