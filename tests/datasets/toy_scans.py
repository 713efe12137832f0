"""A set of toy scans, and its files."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.scans import ScanDataset

from adbench.contracts.dataset import DataRuntime, DatasetInfo

SHAPE = (40, 50, 10)

X, Y, Z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")

LESION = ((X - 0.3) / 0.25) ** 2 + ((Y - 0.3) / 0.2) ** 2 + ((Z - 0.2) / 0.4) ** 2 < 1

N = 10

FEW = {"size": 64, "spacing_mm": "keep", "min_area_fraction": 0.1}


class Toy(ScanDataset[ScanConfig]):
    """`<subject>.nii` and `<subject>_mask.nii`; `<subject>_clean.nii` without a mask is known to be free of lesions."""

    Config = ScanConfig
    modality = "MRI"
    info = DatasetInfo("toy scans", "CC0-1.0", "generated", "MRI", "none needed", "1")

    def cases(self, root: Path) -> list[Case]:
        images = [path for path in root.iterdir() if path.suffix == ".nii" and not path.stem.endswith("_mask")]
        return [self.case(path) for path in images]

    def case(self, path: Path) -> Case:
        mask = path.with_name(f"{path.stem}_mask.nii")
        return Case(
            f"toy/{path.stem}",
            FileRef(path),
            FileRef(mask) if mask.exists() else None,
            lesion_free=path.stem.endswith("_clean"),
        )


def save(path: Path, data: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 2.0, 4.0, 1])), path)


def scan(seed: int) -> np.ndarray:
    brain = X**2 + Y**2 + Z**2 < 0.9
    values = np.where(brain, 100 + 10 * np.random.default_rng(seed).standard_normal(SHAPE), 0)
    return np.where(LESION, 200, values).astype(np.float32)


def write(root: Path, n: int = N) -> Path:
    root.mkdir(exist_ok=True)
    for i in range(n):
        save(root / f"s{i}.nii", scan(i))
        save(root / f"s{i}_mask.nii", np.roll(LESION, i % 2, 2).astype(np.uint8))
    return root


def make(
    root: Path | None, cls: type[ScanDataset] = Toy, cache: Path | None = None, said: list | None = None, **fields
):
    runtime = DataRuntime(cache, workers=1, notify=(said if said is not None else []).append)
    return cls(ScanConfig(**{**FEW, **fields}), root, runtime)
