"""`mslesseg`: MRI of 75 patients with multiple sclerosis, 115 sessions, skull-stripped on the 1 mm MNI grid.

`train/P14/T1/P14_T1_FLAIR.nii.gz` with `_T1`, `_T2` and `_MASK` beside it: T1 to T4 are time points. In `test/` a
patient has one session, in a folder of its own or right in the patient's: `test/P54/P54_FLAIR.nii.gz`.

All sessions of a patient are in one split: the official one where `train` and `test` are both there, else one by the
names of the patients. A session without the chosen contrast is left out, and named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from adbench.contracts.dataset import DatasetInfo
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.layouts.contrasts import ContrastConfig, ContrastDataset
from adbench_datasets.layouts.discovery import find, listing, own_file, some_names

FOLDERS = ("mslesseg", "MSLesSeg", "MSLesSeg Dataset", "MSLesSeg Dataset/MSLesSeg Dataset", "MSLesSeg-Dataset")
PARTS = ("train", "test")
PATIENT = re.compile(r"P\d+", re.IGNORECASE)


class MSLesSegConfig(ContrastConfig):
    modality: Literal["FLAIR", "T1", "T2"] = Field("FLAIR", description="contrast; lesions were drawn on FLAIR")
    healthy_margin_slices: int = Field(
        3, ge=0, description="slices this near to a lesion are not trained on (1 mm each)"
    )


class MSLesSeg(ContrastDataset[MSLesSegConfig]):
    """Reads `train` and `test`, or either."""

    Config = MSLesSegConfig
    info = DatasetInfo(
        summary="FLAIR, T1 and T2 of 75 patients with multiple sclerosis over time, lesions by trained raters",
        licence="CC BY 4.0",
        citation="Guarnera et al. 2025, Scientific Data, DOI 10.1038/s41597-025-05250-y",
        modality="MRI FLAIR",
        access="public: figshare, DOI 10.6084/m9.figshare.27919209, unpacked",
        version="1",
        spacing_mm=1.0,
        releases="2024, with the labels of both parts",
        counts="75 patients, 115 sessions: 53 patients in train, 22 in test",
        unconfirmed="licence and DOI of the data; whether patients of test have a folder T1",
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a session. Raises DataError where no layout is found."""
        place, modality = find_place(root), self.config.modality
        sessions = [(part, folder, patient) for part in PARTS for patient, folder in _sessions(place / part)]
        official = len({part for part, _, _ in sessions}) == len(PARTS)
        cases, lacking = [], []
        for part, folder, patient in sessions:
            image, mask = (_file(folder, patient, what) for what in (modality, "MASK"))
            if image is None:
                lacking.append(folder)
            else:
                session = "" if folder.name == patient else folder.name
                split = part if official else None
                cases.append(
                    Case(f"mslesseg/{patient.upper()}", image, mask, split=split, session=session, shows_lesion=True)
                )
        if lacking:
            self.runtime.notify(
                f"mslesseg: {len(lacking)} of {len(sessions)} sessions have no {modality} and are left out: "
                f"{some_names(lacking)}"
            )
        return cases

    def release(self, root: Path) -> str:
        """The parts that are there."""
        place = find_place(root)
        return " and ".join(part for part in PARTS if any(_sessions(place / part)))


def find_place(root: Path) -> Path:
    """Return the folder of train and test. Raises DataError saying what was looked for, and where."""
    return find(root, "mslesseg", FOLDERS, _recognised, "train/ and test/ with P<n>/T<n>/P<n>_T<n>_FLAIR.nii.gz")


def _recognised(place: Path) -> str | None:
    return next((part for part in PARTS if any(_sessions(place / part))), None)


def _sessions(part: Path) -> Iterator[tuple[str, Path]]:
    """(patient, folder with a mask or an image) of a part."""
    for patient in listing(part):
        if PATIENT.fullmatch(patient.name):
            for folder in (patient, *listing(patient)):
                if any(_file(folder, patient.name, what) for what in ("MASK", "FLAIR", "T1", "T2")):
                    yield patient.name, folder


def _file(folder: Path, patient: str, what: str) -> FileRef | None:
    name = re.compile(rf"(P\d+(?:_T\d+)?)_{what}\.nii(\.gz)?", re.IGNORECASE)
    session = "T1" if folder.name == patient else folder.name
    return own_file(folder, name, f"{patient}_{session}", patient)
