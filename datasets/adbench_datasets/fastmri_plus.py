"""`fastmri-plus`: axial FLAIR of fastMRI that radiologists of fastMRI+ found normal; a source of healthy images.

fastMRI+ gives `Annotations/brain_file_list.csv` (files that were reviewed, one name a line, no header) and `brain.csv`
(a row a finding: file, slice, study_level, x, y, width, height, label). Healthy is a file that was reviewed and has no
finding, or none but those in `healthy_labels`; a scan with any other is left out as a whole. Both files are as in the
repository microsoft/fastmri-plus.

The images are `file_brain_AXFLAIR_*`, in a folder `images` or beside the annotations, converted from fastMRI's
`reconstruction_rss` to NIfTI (`<name>.nii.gz`) or to one folder of pictures each (`<name>/<name>_000.png`, slices from
the feet up, front at the top as `fastmri_to_dicom.py` turns them). fastMRI's own `.h5` files are not read: they need a
library that is not installed with this project, and the error says what to do.
"""

from __future__ import annotations

import re
from os.path import isdir, isfile
from pathlib import Path

from pydantic import Field

from adbench.contracts.dataset import DatasetInfo
from adbench.errors import DataError
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.imaging.pictures import SUFFIXES
from adbench_datasets.layouts.discovery import NIFTI, files, find, listing, stem
from adbench_datasets.layouts.healthy_source import HealthySource
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.tables import read_table

ANNOTATIONS = ("Annotations", "fastmri-plus/Annotations", ".")
IMAGES = ("images", "multicoil_train", "multicoil_val", ".")
FOLDERS = ("fastmri-plus", "fastMRI-plus", "fastmri_plus", "fastMRI")
PREFIX = "file_brain_AXFLAIR_"


class FastMRIPlusConfig(ScanConfig):
    healthy_labels: tuple[str, ...] = Field(("Normal for age",), description="findings that a healthy scan may have")


class FastMRIPlus(HealthySource[FastMRIPlusConfig]):
    """Reads converted images by fastMRI+'s lists."""

    Config = FastMRIPlusConfig
    modality = "MRI"
    info = DatasetInfo(
        summary="axial FLAIR of fastMRI without findings by fastMRI+; healthy images only",
        licence="fastMRI Dataset Sharing Agreement (images); annotations by the terms of their repository",
        citation="Zhao et al. 2022, Scientific Data 9:152 (fastMRI+); Zbontar et al. 2018, arXiv 1811.08839 (fastMRI)",
        modality="MRI FLAIR",
        access="https://fastmri.med.nyu.edu after registration; annotations: https://github.com/microsoft/fastmri-plus",
        version="1",
        releases="annotations as published; images as NIfTI or pictures",
        counts="1,001 annotated brain examinations",
        unconfirmed="the files: layouts are from public code or the set's page, none was seen",
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a healthy file. Raises DataError where lists or images are missing, or nothing is healthy."""
        place = find_place(root)
        images = _images(place)
        healthy = self._healthy(place)
        cases = [Case(f"fastmri/{name}", image, lesion_free=True) for name, image in images.items() if name in healthy]
        if not cases:
            raw = next((p for folder in IMAGES for p in files(place / folder, (".h5",))), None)
            hint = f"{raw.name} and its like are raw data: convert reconstruction_rss to NIfTI" if raw else "add images"
            raise DataError(
                f"fastmri-plus needs {PREFIX}*, as .nii.gz or folders of pictures, that fastMRI+ found healthy, but of "
                f"{len(images)} in {place} (folders {', '.join(IMAGES)}) none is: {hint}."
            )
        return cases

    def release(self, root: Path) -> str:
        """How the images are stored."""
        images = _images(find_place(root))
        pictures = sum(not isinstance(image, FileRef) for image in images.values())
        return f"{len(images) - pictures} FLAIR as NIfTI, {pictures} as pictures"

    def _healthy(self, place: Path) -> set[str]:
        """Reviewed files without findings other than healthy ones."""
        folder = place / str(_annotations(place))
        table = folder / "brain.csv"
        accepted = {label.lower() for label in self.config.healthy_labels}
        rows = read_table(table, ["file", "label"])
        sick = {_name(row["file"]) for row in rows if row["label"].lower() not in accepted}
        return {_name(name) for name in _lines(folder / "brain_file_list.csv")} - sick


def find_place(root: Path) -> Path:
    """Return the folder with the annotations below it. Raises DataError saying what was looked for, and where."""
    return find(root, "fastmri-plus", FOLDERS, _annotations, "Annotations/brain.csv and brain_file_list.csv")


def _annotations(place: Path) -> str | None:
    """The folder of fastMRI+'s two lists, relative to `place`."""
    both = ("brain.csv", "brain_file_list.csv")
    return next((folder for folder in ANNOTATIONS if all(isfile(place / folder / name) for name in both)), None)


def _images(place: Path) -> dict[str, FileRef | list[FileRef]]:
    """Name -> a NIfTI file, or pictures in natural order."""
    found: dict[str, FileRef | list[FileRef]] = {}
    for entry in (entry for folder in IMAGES for entry in listing(place / folder)):
        if not entry.name.startswith(PREFIX):
            continue
        image = [FileRef(path) for path in files(entry, SUFFIXES)] if isdir(entry) else FileRef(entry)
        if not image or (isinstance(image, FileRef) and not entry.name.lower().endswith(NIFTI)):
            continue
        name = _name(stem(entry) if isinstance(image, FileRef) else entry.name)
        if name in found:
            raise DataError(
                f"Each examination must occur once, but {name} is there twice, once as {entry}: remove one."
            )
        found[name] = image
    return found


def _name(text: str) -> str:
    """The name of an examination, with or without the suffix of its raw data."""
    return re.sub(r"\.h5$", "", text, flags=re.IGNORECASE)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read {path} ({error}): fetch it again.") from error
