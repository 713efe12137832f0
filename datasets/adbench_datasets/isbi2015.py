"""`isbi2015`: MRI of 5 patients with multiple sclerosis over time, drawn by two raters (Carass et al. 2017).

`training/training01/preprocessed/training01_01_flair_pp.nii` (`mprage`, `t2`, `pd`; `.nii.gz` too) with
`masks/training01_01_mask1.nii` and `_mask2.nii`, 1 mm, skull-stripped. The patients of the test set have no masks and
are not read. All time points of a patient are in one split.

`rater` says whose lesions are meant. With "both", a voxel is a lesion where both say so, and no metric counts those
that only one of them drew.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from adbench.contracts.dataset import DatasetInfo
from adbench_datasets.imaging.cases import Case, FileRef, Scan
from adbench_datasets.imaging.reading import read_case
from adbench_datasets.layouts.contrasts import ContrastConfig, ContrastDataset
from adbench_datasets.layouts.discovery import check_owner, files, find, listing
from adbench_datasets.layouts.reported import reported_on

FOLDERS = ("training", "isbi2015", "isbi2015/training", "ISBI2015", "ISBI2015/training", "ISBI_2015/training")
PATIENT = re.compile(r"training\d+", re.IGNORECASE)
NAMES = {"FLAIR": "flair", "T1": "mprage", "T2": "t2", "PD": "pd"}


class ISBI2015Config(ContrastConfig):
    modality: Literal["FLAIR", "T1", "T2", "PD"] = Field("FLAIR", description="contrast; T1 is the MPRAGE")
    rater: Literal[1, 2, "both"] = Field(
        1, description='whose lesions; "both": where both agree, and no metric counts what only one of them drew'
    )
    healthy_margin_slices: int = Field(
        3, ge=0, description="slices this near to a lesion are not trained on (1 mm each)"
    )


class ISBI2015(ContrastDataset[ISBI2015Config]):
    """Reads the preprocessed images of the training set."""

    Config = ISBI2015Config
    info = DatasetInfo(
        summary="FLAIR, T1, T2 and PD of 5 patients with multiple sclerosis, 4 to 5 time points each, two raters",
        licence="for research, by the terms on the page of the challenge",
        citation="Carass et al. 2017, NeuroImage 148:77-102, DOI 10.1016/j.neuroimage.2016.12.064",
        modality="MRI FLAIR",
        access="after registration: https://smart-stats-tools.org/lesion-challenge (training data), unpacked",
        version="1",
        reported=reported_on("isbi2015"),
        spacing_mm=1.0,
        releases="training data, preprocessed",
        counts="5 patients, 21 time points; 14 more patients without public masks",
        unconfirmed="whether all downloads keep masks/ beside preprocessed/",
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a time point; one that lacks a mask of the rater asked for has none."""
        cases = []
        for folder in (folder for folder in listing(find_place(root)) if PATIENT.fullmatch(folder.name)):
            for image, point in _images(folder, self.config.modality):
                wanted = (1, 2) if self.config.rater == "both" else (self.config.rater,)
                masks = [_mask(folder, point, rater) for rater in wanted]
                found = [mask for mask in masks if mask is not None]
                lesion = None if len(found) < len(masks) else found[0] if len(found) == 1 else found
                subject = f"isbi2015/{folder.name.lower()}"
                cases.append(Case(subject, image, lesion, session=point, shows_lesion=True))
        return cases

    def read(self, case: Case) -> Scan:
        """Read one case with the mask of a rater, or of both. Raises CaseError."""
        if case.lesion is None or isinstance(case.lesion, FileRef):
            return super().read(case)
        one, other = (read_case(dataclasses.replace(case, lesion=mask), self._root()) for mask in case.lesion)
        assert one.lesion is not None and other.lesion is not None  # noqa: PT018  # each was read from a mask
        return dataclasses.replace(one, lesion=one.lesion & other.lesion, ignore=one.lesion ^ other.lesion)


def find_place(root: Path) -> Path:
    """Return the folder of the patients. Raises DataError saying what was looked for, and where."""
    return find(root, "isbi2015", FOLDERS, _recognised, "training<n>/preprocessed/training<n>_<t>_flair_pp.nii")


def _recognised(place: Path) -> str | None:
    patients = (folder for folder in listing(place) if PATIENT.fullmatch(folder.name))
    return next((folder.name for folder in patients if files(folder / "preprocessed")), None)


def _images(folder: Path, modality: str) -> list[tuple[FileRef, str]]:
    """(image, time point) of a patient; where there is a mask alone, the image that is missing: reading will say so."""
    image = re.compile(rf"{folder.name}_(\d+)_{NAMES[modality]}_pp\.nii(\.gz)?", re.IGNORECASE)
    mask = re.compile(rf"{folder.name}_(\d+)_mask\d\.nii(\.gz)?", re.IGNORECASE)
    place = folder / "preprocessed"
    for path in (*files(place), *files(folder / "masks")):
        if PATIENT.fullmatch(owner := path.name.split("_")[0]):
            check_owner(path, owner, folder.name)
    found = {match[1]: path for path in files(place) if (match := image.fullmatch(path.name))}
    drawn = [match[1] for path in files(folder / "masks") if (match := mask.fullmatch(path.name))]
    for point in drawn:
        found.setdefault(point, place / f"{folder.name}_{point}_{NAMES[modality]}_pp.nii")
    return [(FileRef(path), point) for point, path in found.items()]


def _mask(folder: Path, point: str, rater: object) -> FileRef | None:
    name = re.compile(rf"{folder.name}_{point}_mask{rater}\.nii(\.gz)?", re.IGNORECASE)
    return next((FileRef(path) for path in files(folder / "masks") if name.fullmatch(path.name)), None)
