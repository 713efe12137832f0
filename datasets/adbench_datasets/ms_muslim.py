"""`ms-muslim`: MRI of 60 patients with multiple sclerosis from 20 centres in Iraq (Muslim et al. 2022).

`Patient-1/1-Flair.nii`, `1-T1.nii`, `1-T2.nii` with `1-LesionSeg-Flair.nii` and so on: each contrast has its own grid,
and a consensus mask of three radiologists that was drawn on it. Names are from public code that reads the set; the
volumes themselves were not seen. Slices of it with a table are read by `folder`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from adbench.contracts.dataset import DatasetInfo
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.layouts.contrasts import ContrastConfig, ContrastDataset
from adbench_datasets.layouts.discovery import files, find, listing, own_file

TITLE = "Brain MRI Dataset of Multiple Sclerosis with Consensus Manual Lesion Segmentation and Patient Meta Information"
FOLDERS = ("ms-muslim", "MS-Muslim", "8bctsm8jz7-1", TITLE)
PATIENT = re.compile(r"Patient-(\d+)", re.IGNORECASE)


class MSMuslimConfig(ContrastConfig):
    modality: Literal["FLAIR", "T1", "T2"] = Field("FLAIR", description="contrast, with the mask that was drawn on it")


class MSMuslim(ContrastDataset[MSMuslimConfig]):
    """Reads the folders of the patients."""

    Config = MSMuslimConfig
    info = DatasetInfo(
        summary="FLAIR, T1 and T2 of 60 patients with multiple sclerosis, each with a consensus mask of its own",
        licence="CC BY 4.0",
        citation="Muslim et al. 2022, Data in Brief 42:108139, DOI 10.1016/j.dib.2022.108139",
        modality="MRI FLAIR",
        access="public: Mendeley Data, DOI 10.17632/8bctsm8jz7.1, unpacked",
        version="1",
        releases="version 1",
        counts="60 patients, three contrasts and three masks each",
        unconfirmed="the volumes: names are from public code, slices alone were seen",
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a patient. Where a mask is missing the case has none."""
        return [
            _case(folder, match[1], self.config.modality)
            for folder in listing(find_place(root))
            if (match := PATIENT.fullmatch(folder.name))
        ]


def find_place(root: Path) -> Path:
    """Return the folder of the patients. Raises DataError saying what was looked for, and where."""
    wanted = "Patient-<n>/<n>-Flair.nii (slices with a cases.csv are read by the dataset 'folder')"
    return find(root, "ms-muslim", FOLDERS, _recognised, wanted)


def _recognised(place: Path) -> str | None:
    return next((folder.name for folder in listing(place) if PATIENT.fullmatch(folder.name) and files(folder)), None)


def _case(folder: Path, number: str, modality: str) -> Case:
    missing = FileRef(folder / f"{number}-{modality}.nii")  # reading will say so
    image = _file(folder, number, modality) or missing
    return Case(f"ms-muslim/{number}", image, _file(folder, number, f"LesionSeg-{modality}"), shows_lesion=True)


def _file(folder: Path, number: str, what: str) -> FileRef | None:
    return own_file(folder, re.compile(rf"(\d+)-{what}\.nii(\.gz)?", re.IGNORECASE), number)
