"""`mslub`: MRI of 30 patients with multiple sclerosis and lesions by consensus of three raters (Lesjak et al. 2018).

Three variants are read, the first that is found in this order; name the folder of another with --data-root.

    MNI/patient07/FLAIR_*regtoMNI.nii.gz, GOLD_STANDARD_*regtoMNI.nii.gz     skull-stripped, 1 mm, 182 x 218 x 182
    coregistered_resampled/patient07/FLAIR, consensus_gt, brainmask.nii.gz   1 mm, 154 x 240 x 240, skull on
    patient07/patient07_FLAIR, _consensus_gt, _brainmask.nii.gz              as scanned: 0.8 x 0.47 x 0.47 mm, skull on

`modality` chooses FLAIR, T1 (files T1W), T1c (T1WKS, after contrast agent) or T2 (T2W). Lesions were drawn on FLAIR; as
scanned, the others have grids of their own. The prefix `patient07_` may be missing. Where there is a brain mask, it is
the region that is shown.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from adbench.contracts.dataset import DatasetInfo
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.layouts.contrasts import ContrastConfig, ContrastDataset
from adbench_datasets.layouts.discovery import find, listing, own_file
from adbench_datasets.layouts.reported import reported_on

PATIENT = re.compile(r"patient\d+", re.IGNORECASE)
VARIANTS = ("MNI", "coregistered_resampled", "raw", ".")
PARENTS = (
    ".",
    "mslub",
    "MSLUB",
    "cross_sectional",
    "open_ms_data/cross_sectional",
    "open_ms_data-master/cross_sectional",
)
FOLDERS = tuple(str(Path(parent) / variant) for variant in VARIANTS for parent in PARENTS)
FILES = {"FLAIR": "FLAIR", "T1": "T1W", "T1c": "T1WKS", "T2": "T2W"}
PARTS = {
    **{
        modality: rf"(?:(patient\d+)_)?{file}\.nii(\.gz)?|{file}_.*regtoMNI\.nii(\.gz)?"
        for modality, file in FILES.items()
    },
    "lesion": r"(?:(patient\d+)_)?consensus_gt\.nii(\.gz)?|GOLD_STANDARD_.*regtoMNI\.nii(\.gz)?",
    "brain": r"(?:(patient\d+)_)?brainmask\.nii(\.gz)?",
}


class MSLUBConfig(ContrastConfig):
    modality: Literal["FLAIR", "T1", "T1c", "T2"] = Field("FLAIR", description="contrast; T1c: after contrast agent")


class MSLUB(ContrastDataset[MSLUBConfig]):
    """Reads any of the variants."""

    Config = MSLUBConfig
    info = DatasetInfo(
        summary="FLAIR of 30 patients with multiple sclerosis, lesions by consensus of three raters",
        licence="CC BY 4.0",
        pictures="Slices of the data of Lesjak et al. 2018 (CC BY 4.0), resampled.",
        citation="Lesjak et al. 2018, Neuroinformatics 16:51-63, DOI 10.1007/s12021-017-9348-7",
        modality="MRI FLAIR",
        access="public: https://lit.fe.uni-lj.si/en/research/resources/3D-MR-MS/, or its mirror open_ms_data on GitHub",
        version="1",
        releases="the mirror, in MNI space, resampled or as scanned",
        counts="30 patients",
        unconfirmed="contrasts other than FLAIR",
        spacing_mm=1.0,
        reported=reported_on("mslub"),
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a patient's folder. Where a mask is missing the case has none."""
        place, modality = find_place(root), self.config.modality
        return [_case(folder, modality) for folder in listing(place) if PATIENT.fullmatch(folder.name)]

    def release(self, root: Path) -> str:
        """Name the variant and its folder."""
        place = find_place(root)
        return f"{_variant(place)} in {place}"


def find_place(root: Path) -> Path:
    """Return the folder of the patients. Raises DataError saying what was looked for, and where."""
    wanted = "patientNN/ with FLAIR*.nii.gz (variants MNI, coregistered_resampled or as scanned)"
    return find(root / VARIANTS[0] if _variant(root / VARIANTS[0]) else root, "mslub", FOLDERS, _variant, wanted)


def _variant(place: Path) -> str | None:
    for folder in listing(place):
        image = _file(folder, "FLAIR") if PATIENT.fullmatch(folder.name) else None
        if image:
            return "MNI, skull-stripped" if "regtoMNI" in image.path.name else "native or resampled, skull on"
    return None


def _file(folder: Path, part: str) -> FileRef | None:
    return own_file(folder, re.compile(PARTS[part], re.IGNORECASE), folder.name)


def _case(folder: Path, modality: str) -> Case:
    image = _file(folder, modality) or FileRef(folder / f"{FILES[modality]}.nii.gz")  # missing: reading will say so
    lesion, brain = _file(folder, "lesion"), _file(folder, "brain")
    return Case(f"mslub/{folder.name.lower()}", image, lesion, brain=brain, shows_lesion=True)
