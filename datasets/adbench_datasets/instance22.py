"""`instance22`: plain head CT with intracranial haemorrhage of the INSTANCE 2022 challenge.

`train/data/001.nii.gz` (HU) and `train/label/001.nii.gz` (0 and 1), 5 mm slices; the folder may also be called
`train_1` or `train_2`. Scans of the challenge's evaluation and test sets have no public labels and are not read. The
layout is from the code of public loaders.
"""

from __future__ import annotations

from pathlib import Path

from adbench.contracts.dataset import DatasetInfo
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.layouts.discovery import by_stem, check_names, files, find
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.scans import ScanDataset

PARTS = ("train", "train_1", "train_2")
ABOVE = ("INSTANCE22", "INSTANCE2022", "instance22", "INSTANCE_ICH")
FOLDERS = (*PARTS, *ABOVE, *(f"{above}/{part}" for above in ABOVE for part in PARTS))


class Instance22(ScanDataset[ScanConfig]):
    """Reads the training set, the only one with labels."""

    Config = ScanConfig
    modality = "CT"
    info = DatasetInfo(
        summary="head CT of 100 patients with intracranial haemorrhage of five kinds, 5 mm slices",
        licence="by the agreement of the challenge, for registered participants",
        citation="Li et al. 2023, arXiv 2301.03281 (INSTANCE 2022)",
        modality="CT (HU)",
        access="after registration: https://instance.grand-challenge.org (training set)",
        version="1",
        releases="challenge training set",
        counts="100 labelled scans of 200",
        unconfirmed="the files: layouts are from public code or the set's page, none was seen",
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a scan. Raises DataError where the folders are not found, or a label has no scan."""
        place = find_place(root)
        scans, masks = by_stem(place / "data"), by_stem(place / "label")
        check_names(masks, scans, place / "label")
        return [
            Case(
                f"instance22/{name}", FileRef(scan), FileRef(masks[name]) if name in masks else None, shows_lesion=True
            )
            for name, scan in scans.items()
        ]

    def release(self, root: Path) -> str:
        """The only one."""
        return "training set"


def find_place(root: Path) -> Path:
    """Return the folder that holds data/ and label/. Raises DataError saying what was looked for, and where."""
    return find(root, "instance22", FOLDERS, _recognise, "the folders data and label with NIfTI files (train/)")


def _recognise(place: Path) -> str | None:
    return "train" if files(place / "data") and files(place / "label") else None
