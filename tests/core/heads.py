"""Small heads as NIfTI: healthy FLAIR of several people, and one with a bright lesion."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SHAPE = (40, 48, 10)
SPACING = (4.0, 3.5, 8.0)


def affine() -> NDArray[np.float64]:
    matrix = np.diag([*SPACING, 1.0])
    matrix[:3, 3] = -80, -90, 12
    return matrix


def head(seed: int, lesion: bool = False) -> NDArray[np.int16]:
    """Whole numbers, air 0, (40, 48, 10); axes to the right, front and up."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = (x / 0.8) ** 2 + (y / 0.85) ** 2 + (z / 1.3) ** 2 < 1
    tissue = 300 + 100 * y + 10 * rng.standard_normal(SHAPE)
    values = np.where(inside, np.clip(tissue, 100, 700), 0)
    if lesion:
        values[(x - 0.3) ** 2 + (y - 0.2) ** 2 + (z / 2) ** 2 < 0.012] = 1500
    return values.astype(np.int16)


def image(values: NDArray[np.generic]) -> nib.Nifti1Image:
    return nib.Nifti1Image(values, affine())


def write_set(root: Path, people: int = 8) -> Path:
    """Healthy people alone in the layout of folders; return the root."""
    (root / "train").mkdir(parents=True)
    for seed in range(people):
        nib.save(image(head(seed)), root / "train" / f"person{seed}.nii.gz")
    return root


def write_patient(root: Path) -> Path:
    """A patient's scan outside of the set."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "patient.nii.gz"
    nib.save(image(head(100, lesion=True)), path)
    return path
