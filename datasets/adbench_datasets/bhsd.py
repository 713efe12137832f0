"""`bhsd`: Brain Hemorrhage Segmentation Dataset, head CT of RSNA 2019 with five kinds of bleeds; lesion is their union.

Read as published: `label_192/images/ID_<patient>_ID_<study>.nii.gz` and `label_192/ground truths/<same name>` (names in
the archive may lack `.nii.gz`), or in the form for nnU-Net: `imagesTr`, `labelsTr`, `imagesTs`, `labelsTs`. Labels:
1 epidural, 2 intraparenchymal, 3 intraventricular, 4 subarachnoid, 5 subdural. Scans of one patient share a subject.
The layouts are from the dataset's page and its `dataset.json`; the files themselves were not seen.
"""

from __future__ import annotations

import re
from pathlib import Path

from adbench.contracts.dataset import DatasetInfo
from adbench_datasets.imaging.cases import Case, FileRef, Labels
from adbench_datasets.layouts.discovery import by_stem, check_names, find
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.scans import ScanDataset

FOLDERS = ("label_192", "BHSD", "bhsd", "BHSD/label_192", "bhsd/label_192")
PAIRS = {
    "label_192": (("images", "ground truths"), ("images", "ground_truths"), ("images", "labels")),
    "nnU-Net": (("imagesTr", "labelsTr"), ("imagesTs", "labelsTs")),
}
NAME = re.compile(r"(ID_[0-9A-Za-z]+)_(ID_[0-9A-Za-z]+)(?:_0000)?")
LABELS = Labels(lesion=frozenset({1, 2, 3, 4, 5}))


class BHSD(ScanDataset[ScanConfig]):
    """Reads the 192 labelled scans; unlabelled ones are not used."""

    Config = ScanConfig
    modality = "CT"
    info = DatasetInfo(
        summary="192 head CT scans with epidural, subdural, subarachnoid, intraparenchymal and intraventricular bleeds",
        licence="MIT (images: RSNA 2019 challenge terms)",
        citation="Wu et al. 2023, MLMI, DOI 10.1007/978-3-031-45673-2_15, arXiv 2308.11298",
        modality="CT (HU)",
        access="public: https://huggingface.co/datasets/WuBiao/BHSD (label_192.zip), unpacked",
        version="1",
        releases="label_192, or the form for nnU-Net",
        counts="192 labelled scans; about 2,000 unlabelled ones are not used",
        unconfirmed="the files: layouts are from public code or the set's page, none was seen",
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a scan. Raises DataError where no layout is found, or a label has no scan."""
        place = find_place(root)
        cases = []
        for images, masks in _pairs(place):
            scans, labels = _named(images), _named(masks)
            check_names(labels, scans, masks)
            cases += [_case(name, scan, labels.get(name)) for name, scan in scans.items()]
        return cases

    def release(self, root: Path) -> str:
        """The layout."""
        return str(release_of(find_place(root)))


def find_place(root: Path) -> Path:
    """Return the folder of the images' folder. Raises DataError saying what was looked for, and where."""
    return find(root, "bhsd", FOLDERS, release_of, "images/ and ground truths/, or imagesTr/ and labelsTr/ (ID_*_ID_*)")


def release_of(place: Path) -> str | None:
    """The layout in a folder, or None."""
    return next((name for name, pairs in PAIRS.items() if any(all(map(_named, _at(place, p))) for p in pairs)), None)


def _pairs(place: Path) -> list[tuple[Path, Path]]:
    """The folders of images and labels that hold something."""
    return [_at(place, pair) for pair in PAIRS[str(release_of(place))] if all(map(_named, _at(place, pair)))]


def _at(place: Path, pair: tuple[str, str]) -> tuple[Path, Path]:
    return place / pair[0], place / pair[1]


def _named(folder: Path) -> dict[str, Path]:
    """Name of the scan, without suffixes -> file."""
    found = {NAME.fullmatch(name): path for name, path in by_stem(folder, ("",)).items()}
    return {f"{match[1]}_{match[2]}": path for match, path in found.items() if match}


def _case(name: str, scan: Path, mask: Path | None) -> Case:
    patient, study = name.split("_ID_")
    lesion = FileRef(mask) if mask else None
    return Case(f"bhsd/{patient}", FileRef(scan), lesion, labels=LABELS, session=f"ID_{study}", shows_lesion=True)
