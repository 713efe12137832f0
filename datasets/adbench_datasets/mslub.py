"""`mslub`: FLAIR of 30 patients with multiple sclerosis and lesions by consensus of three raters (Lesjak et al. 2018).

Three variants are read, the first that is found in this order; name the folder of another with --data-root.

    MNI/patient07/FLAIR_*regtoMNI.nii.gz, GOLD_STANDARD_*regtoMNI.nii.gz     skull-stripped, 1 mm, 182 x 218 x 182
    coregistered_resampled/patient07/FLAIR, consensus_gt, brainmask.nii.gz   1 mm, 154 x 240 x 240, skull on
    patient07/patient07_FLAIR, _consensus_gt, _brainmask.nii.gz              as scanned: 0.8 x 0.47 x 0.47 mm, skull on

The prefix `patient07_` may be missing. Where there is a brain mask, it is the region that is shown.
"""

from __future__ import annotations

import re
from pathlib import Path

from adbench.contracts.dataset import DatasetInfo
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.layouts.discovery import files, find, listing
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.scans import ScanDataset

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
PARTS = {
    "image": (r"(patient\d+_)?FLAIR\.nii(\.gz)?", r"FLAIR_.*regtoMNI\.nii(\.gz)?"),
    "lesion": (r"(patient\d+_)?consensus_gt\.nii(\.gz)?", r"GOLD_STANDARD_.*regtoMNI\.nii(\.gz)?"),
    "brain": (r"(patient\d+_)?brainmask\.nii(\.gz)?",),
}


class MSLUB(ScanDataset[ScanConfig]):
    """Reads any of the variants."""

    Config = ScanConfig
    modality = "MRI"
    info = DatasetInfo(
        summary="FLAIR of 30 patients with multiple sclerosis, lesions by consensus of three raters",
        licence="CC BY 4.0",
        citation="Lesjak et al. 2018, Neuroinformatics 16:51-63, DOI 10.1007/s12021-017-9348-7",
        modality="MRI FLAIR",
        access="public: https://lit.fe.uni-lj.si/en/research/resources/3D-MR-MS/, or its mirror open_ms_data on GitHub",
        version="1",
        spacing_mm=1.0,
        reported={
            "vae": {"best_dice": 0.039},
            "fanogan": {"best_dice": 0.034},
            "transformer": {"best_dice": 0.234},
            "transformer-ensemble": {"best_dice": 0.378},
            "ddpm-b": {"best_dice": 0.204},
            "ddpm": {"best_dice": 0.247},
        },
        reported_source="Pinaya et al. 2022, arXiv 2206.03461, Table 2 (trained on UK Biobank)",
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a patient's folder. Where a mask is missing the case has none, and is skipped."""
        return [_case(folder) for folder in listing(find_place(root)) if PATIENT.fullmatch(folder.name)]

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
        image = _file(folder, "image") if PATIENT.fullmatch(folder.name) else None
        if image:
            return "MNI, skull-stripped" if "regtoMNI" in image.path.name else "native or resampled, skull on"
    return None


def _file(folder: Path, part: str) -> FileRef | None:
    fit = (p for pattern in PARTS[part] for p in files(folder) if re.fullmatch(pattern, p.name, re.IGNORECASE))
    path = next(fit, None)
    return FileRef(path) if path else None


def _case(folder: Path) -> Case:
    image = _file(folder, "image") or FileRef(folder / "FLAIR.nii.gz")  # missing: reading will say so
    lesion, brain = _file(folder, "lesion"), _file(folder, "brain")
    return Case(f"mslub/{folder.name.lower()}", image, lesion, brain=brain, shows_lesion=True)
