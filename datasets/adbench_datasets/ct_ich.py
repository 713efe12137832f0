"""`ct-ich`: head CT after trauma, with bleeds (Hssayeni et al. 2020, PhysioNet), in both kinds of release.

1.0.0 to 1.2.0: `Patients_CT/049/brain/<n>.jpg` (brain window, 8 bit: grey values, no HU), `<n>_HGE_Seg.jpg` on bleeding
slices only (lossy, so bleed is what reaches 128) and `hemorrhage_diagnosis.csv`. 1.3.x: `ct_scans/049.nii` (HU),
`masks/049.nii` (0 and about 255) and `hemorrhage_diagnosis_raw_ct.csv`. Patients are 49 to 130; 59 to 65 do not exist.
The table has one row a slice (PatientNumber, SliceNumber, ..., No_Hemorrhage).

A JPEG slice without a mask counts as free of bleeds only where the table says No_Hemorrhage = 1: the others of a
patient are a case without a mask, which `unmatched` decides upon. In 1.3.x the masks say it all, and the table is not
read. Layouts are from the code of public loaders.
"""

from __future__ import annotations

import re
from os.path import isdir
from pathlib import Path

from adbench.contracts.dataset import DatasetInfo
from adbench.errors import DataError
from adbench_datasets.imaging.cases import Case, FileRef, Labels
from adbench_datasets.imaging.region import Units
from adbench_datasets.layouts.discovery import by_stem, check_all_read, check_names, files, find, listing
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.scans import ScanDataset
from adbench_datasets.layouts.tables import read_table

OFFICIAL = "computed-tomography-images-for-intracranial-hemorrhage-detection-and-segmentation-"
FOLDERS = (
    *(f"{OFFICIAL}{version}" for version in ("1.3.1", "1.3.0", "1.2.0", "1.1.0", "1.0.0")),
    "ct-ich",
    "CT-ICH",
    "ct_ich",
)
MASK, JPEG = "_HGE_Seg", (".jpg", ".jpeg")
COLUMNS = ("PatientNumber", "SliceNumber", "No_Hemorrhage")
WHOLE, FLAG = re.compile(r"[0-9]{1,9}(\.0*)?"), re.compile(r"[01](\.0*)?")
JPEGS, NIFTIS = "1.0.0 to 1.2.0 (JPEG slices)", "1.3.x (NIfTI)"


class CTICH(ScanDataset[ScanConfig]):
    """Reads either release; where both are there, the NIfTI one."""

    Config = ScanConfig
    modality = "CT"
    info = DatasetInfo(
        summary="head CT of 75 patients after trauma, 36 with intracranial haemorrhage, 5 mm slices",
        licence="PhysioNet Restricted Health Data License 1.5.0 (1.3.1); earlier releases were open, CC BY 4.0",
        citation="Hssayeni et al. 2020, Data 5(1):14, DOI 10.3390/data5010014; PhysioNet DOI 10.13026/4nae-zg36",
        modality="CT (HU; JPEG releases: 8 bit in a brain window)",
        access="public after registration: https://physionet.org/content/ct-ich/",
        version="1",
        releases="1.0.0 to 1.2.0 (JPEG), 1.3.x (NIfTI)",
        counts="82 patients, 2,501 slices; 318 slices of 36 patients with a bleed",
        unconfirmed="the NIfTI release; bleed-free slices of the JPEG one",
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a patient. Raises DataError where no release is found, or the table does not fit."""
        place = find_place(root)
        if release_of(place) == NIFTIS:
            return _volumes(place)
        return _slices(place, healthy=self.config.unmatched == "healthy")

    def release(self, root: Path) -> str:
        """The kind of release, of slices or of volumes."""
        return str(release_of(find_place(root)))

    def units(self, case: Case) -> Units:
        """Grey values for slices, which are already windowed; HU for volumes."""
        return "hu" if isinstance(case.image, FileRef) else "grey"


def find_place(root: Path) -> Path:
    """Return the folder of a release. Raises DataError saying what was looked for, and where."""
    return find(root, "ct-ich", FOLDERS, release_of, "ct_scans/ and masks/ (1.3.x) or Patients_CT/ (JPEG)")


def release_of(place: Path) -> str | None:
    """The release in a folder, or None."""
    if files(place / "ct_scans"):
        return NIFTIS
    return JPEGS if any(isdir(folder / "brain") for folder in listing(place / "Patients_CT")) else None


def _volumes(place: Path) -> list[Case]:
    """Release 1.3.x; a scan without a mask has none."""
    scans, masks = by_stem(place / "ct_scans"), by_stem(place / "masks")
    check_names(masks, scans, place / "masks")
    labels = Labels(threshold=0.5)  # 0 and 255 are stored as scaled floats, not exactly
    return [
        Case(f"ct-ich/{name}", FileRef(scan), FileRef(masks[name]) if name in masks else None, labels=labels)
        for name, scan in scans.items()
    ]


def _slices(place: Path, healthy: bool) -> list[Case]:
    """The JPEG releases; slices of which nothing is known stand in cases of their own, unless they are `healthy`."""
    clean = clean_slices(place / "hemorrhage_diagnosis.csv")
    cases: list[Case] = []
    for patient in (folder for folder in listing(place / "Patients_CT") if folder.name.isdecimal()):
        check_all_read(patient / "brain", JPEG)
        found = by_stem(patient / "brain", JPEG)
        for name, path in found.items():
            if not name.removesuffix(MASK).isdecimal():
                raise DataError(f"Slices are <n>.jpg and their masks <n>{MASK}.jpg, but {path} is neither: rename it.")
        check_names([name.removesuffix(MASK) for name in found if name.endswith(MASK)], found, patient / "brain")
        images: list[FileRef] = []
        masks: list[FileRef | None] = []
        unknown: list[FileRef] = []
        for name, path in found.items():
            if name.endswith(MASK):
                continue
            mask = found.get(f"{name}{MASK}")
            if mask is None and not healthy and (int(patient.name), int(name)) not in clean:
                unknown.append(FileRef(path))
                continue
            images.append(FileRef(path))
            masks.append(FileRef(mask) if mask else None)
        if images:
            cases.append(Case(f"ct-ich/{patient.name}", images, masks, labels=Labels(threshold=128), shows_lesion=True))
        if unknown:
            cases.append(Case(f"ct-ich/{patient.name}", unknown, session="slices without a mask"))
    return cases


def clean_slices(table: Path) -> set[tuple[int, int]]:
    """(patient, slice) of which the table says No_Hemorrhage = 1.

    Raises DataError where a cell is no whole number, No_Hemorrhage neither 0 nor 1, or a slice is both.
    """
    said: dict[tuple[int, int], bool] = {}
    for line, row in enumerate(read_table(table, COLUMNS), start=2):
        for column in COLUMNS:
            wanted, words = (FLAG, "0 or 1") if column == "No_Hemorrhage" else (WHOLE, "a whole number")
            if not wanted.fullmatch(row[column]):
                raise DataError(f"{table}, row {line}: {column} is {words}, not {row[column][:20]!r}: fetch it again.")
        patient, number, clean = (int(row[column].partition(".")[0]) for column in COLUMNS)
        if said.setdefault((patient, number), bool(clean)) != bool(clean):
            raise DataError(
                f"{table}, row {line}: slice {number} of patient {patient} stands there twice, with and without a "
                "bleed: fetch it again."
            )
    return {key for key, clean in said.items() if clean}
