"""Files for the tests of reading: volumes in any orientation and type, and faulty ones."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from adbench_datasets.imaging.cases import Case, FileRef, Labels
from numpy.typing import NDArray

SHAPE = (5, 6, 7)
SPACING = (0.8, 1.5, 3.0)


def volume(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> NDArray[np.int16]:
    """Whole numbers from 0 to 99, no two volumes alike under a flip or a swap of axes."""
    return np.random.default_rng(seed).integers(0, 100, shape).astype(np.int16)


def grid(spacing: tuple[float, ...] = SPACING) -> NDArray[np.float64]:
    """An affine along the axes, RAS+, with its corner somewhere."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -30, 12.5, 7
    return affine


def nifti(array: NDArray[Any], affine: NDArray[np.float64] | None = None, endian: str = "<") -> nib.Nifti1Image:
    header = nib.Nifti1Header(endianness=endian)
    header.set_data_dtype(array.dtype)
    return nib.Nifti1Image(array, grid() if affine is None else affine, header)


def write(path: Path, image: nib.Nifti1Image) -> FileRef:
    """Save as `.nii` or `.nii.gz`, by the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), 1) if path.name.endswith(".gz") else image.to_bytes())
    return FileRef(path)


def edited(image: nib.Nifti1Image, **fields: Any) -> bytes:
    """The file's bytes with fields of its header set to any values, which nibabel itself would not write."""
    raw = bytearray(image.to_bytes())
    size = image.header.sizeof_hdr
    header = type(image.header)(bytes(raw[:size]), check=False)
    for name, value in fields.items():
        header[name] = value
    raw[:size] = header.binaryblock
    return bytes(raw)


def healthy(ref: Any, **options: Any) -> Case:
    return Case("s1", ref, lesion_free=True, **options)


def with_mask(root: Path, mask: NDArray[Any], affine: NDArray[np.float64] | None = None, **labels: Any) -> Case:
    """A case of `volume()` on `grid()` with a mask."""
    image = write(root / "image.nii", nifti(volume()))
    return Case("s1", image, write(root / "mask.nii.gz", nifti(mask, affine)), labels=Labels(**labels))


def some_mask(dtype: str = "u1") -> NDArray[Any]:
    return (volume(seed=1) > 80).astype(dtype)
