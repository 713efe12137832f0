"""`tcga-lgg`: FLAIR of 110 patients with lower-grade glioma, skull on, as single slices (Buda et al. 2019).

`kaggle_3m/TCGA_<site>_<id>_<date>/<same>_<n>.tif` are RGB: channel 1 is FLAIR, the others are scans before and after
contrast (or FLAIR again where those are missing). `<same>_<n>_mask.tif` is 0 or 255, one a slice. Slices count from
the feet up.

The pictures do not say how large their pixels are, so nothing is resampled to mm: with `spacing_mm="fit"` the whole
picture is brought to `size`. Its 256 x 256 pixels are not equal in mm from one patient to the next.
"""

from __future__ import annotations

import re
from pathlib import Path

from adbench.contracts.dataset import DatasetInfo
from adbench_datasets.imaging.cases import Case, FileRef, Labels
from adbench_datasets.layouts.discovery import check_owner, files, find, listing
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.scans import ScanDataset

FOLDERS = ("kaggle_3m", "lgg-mri-segmentation/kaggle_3m", "lgg-mri-segmentation")
PATIENT = re.compile(r"TCGA_([A-Z0-9]+_[A-Z0-9]+)_(\d{8})")
SLICE = re.compile(r"(TCGA_[A-Z0-9]+_[A-Z0-9]+_\d{8})_(\d+)(?:_mask)?\.tif")
FLAIR_CHANNEL = 1
LABELS = Labels(lesion=frozenset({255}))


class TCGALGG(ScanDataset[ScanConfig]):
    """Reads the folder `kaggle_3m`."""

    Config = ScanConfig
    modality = "MRI"
    channel = FLAIR_CHANNEL
    info = DatasetInfo(
        summary="FLAIR of lower-grade glioma, skull on: tumour-free slices to train on, tumours to find",
        licence="CC BY 3.0 (TCIA TCGA-LGG); the Kaggle copy adds its own terms",
        pictures="Slices of TCGA-LGG (The Cancer Imaging Archive, CC BY 3.0), resampled.",
        citation="Buda et al. 2019, Computers in Biology and Medicine 109:218-225, arXiv 1906.03720",
        modality="MRI FLAIR",
        access="public: https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation, folder kaggle_3m",
        version="2",
        releases="the Kaggle copy, kaggle_3m",
        counts="110 patients, 3,929 slices, 1,373 with tumour",
        unconfirmed="pixel sizes, which the pictures do not say",
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a patient's folder; a slice or mask that is missing is found when the case is read."""
        place = find(root, "tcga-lgg", FOLDERS, _recognised, "kaggle_3m/TCGA_<site>_<id>_<date>/*.tif")
        return [_case(folder) for folder in listing(place) if PATIENT.fullmatch(folder.name)]

    def release(self, root: Path) -> str:
        """The name of the Kaggle copy's folder."""
        return "kaggle_3m"


def _recognised(place: Path) -> str | None:
    return "kaggle_3m" if any(PATIENT.fullmatch(folder.name) for folder in listing(place)) else None


def _case(folder: Path) -> Case:
    """Slices 1 to the last: a number that is missing is named as the file that it should be."""
    match = PATIENT.fullmatch(folder.name)
    assert match is not None  # the caller chose such folders
    names = [name for path in files(folder, (".tif",)) if (name := SLICE.fullmatch(path.name))]
    for name in names:
        check_owner(folder / name[0], name[1], folder.name)
    numbers = range(1, 1 + max((int(name[2]) for name in names), default=1))
    stem = folder / folder.name
    return Case(
        subject=f"tcga/{match[1]}",
        image=[FileRef(Path(f"{stem}_{n}.tif")) for n in numbers],
        lesion=[FileRef(Path(f"{stem}_{n}_mask.tif")) for n in numbers],
        labels=LABELS,
        session=match[2],
    )
