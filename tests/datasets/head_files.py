"""Heads of smooth tissue with one bright lesion, and the ways in which files of them are stored.

Lesions are asymmetric in every direction. Stores differ as those of real files do: orientations, big-endian, scaled
integers, a fourth axis of length one.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from PIL import Image

SHAPE = (32, 40, 12)
SPACING = (6.0, 5.0, 8.0)
AIR, SKULL, BRAIN, BLEED = -1000.0, 900.0, 32.0, 68.0  # HU


@dataclass(frozen=True)
class Head:
    """One examination: canonical (X, Y, Z) arrays."""

    image: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    other: NDArray[np.bool_]
    """Another pathology, for sets that label one."""


@dataclass(frozen=True)
class Store:
    """How a volume lies on disk."""

    axes: str = "RAS"
    big_endian: bool = False
    scaled: bool = False
    four_d: bool = False


STORES = (
    Store("LPS"),
    Store("RAS", big_endian=True),
    Store("LAS", scaled=True),
    Store("PIR", four_d=True),
    Store("RAS"),
)


def head(seed: int, ct: bool = False, lesion: bool = True) -> Head:
    """A head whose lesion lies right, front and above of the middle, and a dark ventricle left of it."""
    rng = np.random.default_rng(seed)
    x, y, z = (np.linspace(-1, 1, n).reshape(np.roll((n, 1, 1), i)) for i, n in enumerate(SHAPE))
    r = np.sqrt((x / 0.85) ** 2 + (y / 0.9) ** 2 + (z / 1.05) ** 2)
    brain = r < 0.88
    phase = rng.uniform(0, 6, 3)
    texture = np.sin(3 * x + phase[0]) + np.sin(4 * y + phase[1]) + np.sin(2 * z + phase[2])
    at = np.array([0.35, 0.3, 0.15]) + rng.uniform(-0.05, 0.05, 3)
    sick = brain & (((x - at[0]) / 0.22) ** 2 + ((y - at[1]) / 0.2) ** 2 + ((z - at[2]) / 0.3) ** 2 < 1) & lesion
    other = brain & (((x + 0.4) / 0.2) ** 2 + ((y + 0.45) / 0.2) ** 2 + ((z + 0.3) / 0.25) ** 2 < 1)
    ventricle = ((x + 0.2) / 0.15) ** 2 + (y / 0.3) ** 2 + (z / 0.4) ** 2 < 1
    if ct:
        image = np.where(r < 1, SKULL, AIR) * np.ones(SHAPE)
        image[brain] = (BRAIN + 2 * texture)[brain]
        image[brain & ventricle] = 8
        image[sick] = BLEED
    else:
        image = np.where(brain, 300 + 25 * texture, 0)
        image[brain & ventricle] = 90
        image[sick] = 800
    return Head(np.rint(image).astype(np.float32), sick, brain, other)


def heads(n: int, ct: bool = False, clean: Iterable[int] = ()) -> list[Head]:
    """`n` different heads; those of which the index is in `clean` have no lesion."""
    without = set(clean)
    return [head(i, ct, lesion=i not in without) for i in range(n)]


def nifti(data: NDArray[Any], store: Store = Store(), dtype: str = "f4") -> nib.Nifti1Image:
    """A canonical array as a NIfTI image stored the way `store` says; its affine keeps the anatomy in place."""
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = -90, -100, -40
    image = nib.Nifti1Image(data.astype(dtype), affine)
    to = ornt_transform(io_orientation(affine), axcodes2ornt(store.axes))
    image = image.as_reoriented(to)
    array = np.asanyarray(image.dataobj)
    if store.four_d:
        array = array[..., None]
    stored = np.dtype("i2" if store.scaled else dtype)
    header = nib.Nifti1Header(endianness=">" if store.big_endian else "<")
    header.set_data_dtype(stored.newbyteorder(header.endianness))
    if store.scaled:
        array = 2 * (array.astype("f8") + 10)
    out = nib.Nifti1Image(array.astype(stored), image.affine, header)
    if store.scaled:  # value = 0.5 stored - 10: exact for whole numbers; nibabel writes the stored ones as they are
        out.header.set_slope_inter(0.5, -10.0)
    return out


def write_nifti(path: Path, data: NDArray[Any], store: Store = Store(), dtype: str = "f4") -> Path:
    """Write a canonical array to `path`, whose folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nifti(data, store, dtype), path)
    return path


def picture(plane: NDArray[Any]) -> NDArray[Any]:
    """An axial plane (X, Y) as a picture (H, W): front at the top, the patient's right on the left."""
    return np.ascontiguousarray(plane[::-1, ::-1].T)


def write_picture(path: Path, pixels: NDArray[np.uint8], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_csv(path: Path, rows: Sequence[Mapping[str, object]], encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def gzipped(image: nib.Nifti1Image) -> bytes:
    """The bytes of a `.nii.gz` file."""
    return gzip.compress(image.to_bytes(), mtime=0)


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    """A zip archive holding `files`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()
