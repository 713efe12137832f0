"""`ukb`: FLAIR of UK Biobank (field 20253); trained on the subjects with the lowest lesion volume (Pinaya et al. 2022).

Read from the zips as delivered, `<eid>_20253_2_0.zip` (imaging visit 2, or 3), in one folder or in folders of it, and
never unpacked to disk. Each holds `T2_FLAIR/T2_FLAIR_brain.nii.gz` (skull-stripped), `T2_FLAIR_brain_mask.nii.gz`,
`lesions/final_mask.nii.gz` (white matter hyperintensities by BIANCA, in the same space) and a copy of the FLAIR in MNI
space, of which there is no lesion mask: it is not used. Members below a folder `unusable` are skipped.

Subjects are ranked by the volume of their lesion mask, or by a table of field 25781 (`volumes_csv`: the column `eid`,
and a column with 25781 in its name for each visit, in mm3). The `n_healthy` lowest are healthy; their small lesions
are taken as healthy too, as in the paper. `n_test` of the others are the test subjects. Subjects without a lesion mask
(the field has such: BIANCA needs a T1) are not ranked, nor tested on; `data check` counts them. The layout is from the
code of public loaders.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os.path import isdir
from pathlib import Path

from pydantic import Field

from adbench.contracts.dataset import DatasetInfo
from adbench.contracts.splits import Split
from adbench.errors import DataError
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.imaging.volumes import mask_volumes
from adbench_datasets.layouts.discovery import find, listing
from adbench_datasets.layouts.reported import reported_on
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.scans import ScanDataset
from adbench_datasets.layouts.tables import read_table

FOLDERS = ("20253", "ukb", "UKB", "Bulk/Brain MRI/T2 FLAIR")
ZIP = re.compile(r"(\d+)_20253_([23])_\d+\.zip")
FIELD = re.compile(r"25781\D*([23])(?:\D|$)")
IMAGE, BRAIN, LESION = "T2_FLAIR_brain.nii.gz", "T2_FLAIR_brain_mask.nii.gz", "lesions/final_mask.nii.gz"


class UKBConfig(ScanConfig):
    n_healthy: int = Field(15000, ge=2, description="subjects with the lowest lesion volume: to train and validate on")
    n_test: int | None = Field(250, ge=1, description="test subjects, drawn from the others by split_seed; null: all")
    volumes_csv: str | None = Field(
        None, description="table of eid and field 25781 below the data root; null: the volumes of the lesion masks"
    )


@dataclass(frozen=True)
class Exam:
    """One zip and the members that are used; None where it has no such member."""

    eid: str
    visit: str
    path: Path
    image: str | None
    brain: str | None
    lesion: str | None

    def ref(self, member: str | None) -> FileRef | None:
        return None if member is None else FileRef(self.path, member)


class UKB(ScanDataset[UKBConfig]):
    """Reads the zips of field 20253."""

    Config = UKBConfig
    modality = "MRI"
    info = DatasetInfo(
        summary="FLAIR of UK Biobank: trained on subjects with few lesions, tested on white matter hyperintensities",
        licence="UK Biobank Material Transfer Agreement: approved projects only, no redistribution",
        citation="Sudlow et al. 2015, PLoS Medicine 12(3):e1001779; Alfaro-Almagro et al. 2018, NeuroImage 166:400-424",
        modality="MRI FLAIR",
        access="by application to UK Biobank (https://www.ukbiobank.ac.uk): bulk field 20253",
        version="1",
        releases="field 20253 of any visit",
        counts="15,000 subjects with the lowest lesion volume in the paper",
        unconfirmed="the files: layouts are from public code or the set's page, none was seen",
        spacing_mm=1.0,
        reported=reported_on("ukb"),
    )

    def cases(self, root: Path) -> list[Case]:
        """Healthy subjects (split train or validation) and test subjects with their masks.

        Raises DataError where there are no zips, too few subjects, or the table of volumes does not fit.
        """
        place = find_place(root)
        exams = [exam for exam in self._exams(place) if exam.image is not None]
        volumes = self._volumes(exams, root, place)
        ranked = rank(volumes, exams)
        healthy = ranked[: self.config.n_healthy]
        if len(ranked) <= self.config.n_healthy:
            raise DataError(
                f"data.n_healthy={self.config.n_healthy} must leave subjects to test on, but only {len(ranked)} have a "
                f"FLAIR and a lesion volume in {place}: lower data.n_healthy."
            )
        sick = {exam.eid for exam in exams if exam.lesion} - set(healthy)
        test = self._shuffled(sick)[: self.config.n_test]
        validation = self._shuffled(healthy)[: max(1, round(self.config.validation_fraction * len(healthy)))]
        splits = dict.fromkeys(healthy, "train") | dict.fromkeys(validation, "validation") | dict.fromkeys(test, "test")
        known = [e for e in exams if splits.get(e.eid) == "test" or (e.eid in splits and (e.eid, e.visit) in volumes)]
        return [_case(exam, splits[exam.eid]) for exam in known]

    def load_test(self) -> Split:
        """The test subjects alone: the healthy ones have small lesions that their (empty) truth does not show."""
        return self.load().test

    def release(self, root: Path) -> str:
        """The field, with the numbers of zips by visit and of those without a usable FLAIR."""
        exams = self._exams(find_place(root))
        visits = ", ".join(f"{sum(e.visit == visit for e in exams)} of visit {visit}" for visit in ("2", "3"))
        return (
            f"field 20253: {visits}; {sum(e.image is None for e in exams)} without a usable FLAIR, "
            f"{sum(e.lesion is None for e in exams)} without a lesion mask"
        )

    def _exams(self, place: Path) -> list[Exam]:
        with ThreadPoolExecutor(self.runtime.workers) as pool:
            return list(pool.map(_open, zips(place)))

    def _volumes(self, exams: Sequence[Exam], root: Path, place: Path) -> Mapping[tuple[str, str], float]:
        """(eid, visit) -> lesion volume in mm3, by the table or by the masks."""
        if self.config.volumes_csv is not None:
            return table_volumes(root / self.config.volumes_csv)
        masks = {(e.eid, e.visit): FileRef(e.path, e.lesion) for e in exams if e.lesion}
        return mask_volumes(masks, place, self.runtime)

    def _shuffled(self, eids: Sequence[str] | set[str]) -> list[str]:
        """An order that depends on the seed and the name alone, so that further subjects do not change it."""
        return sorted(eids, key=lambda eid: hashlib.sha256(f"{self.config.split_seed} {eid}".encode()).digest())


def find_place(root: Path) -> Path:
    """Return the folder with the zips. Raises DataError saying what was looked for, and where."""
    return find(root, "ukb", FOLDERS, lambda place: "20253" if zips(place) else None, "zips <eid>_20253_2_0.zip")


def zips(place: Path) -> list[Path]:
    """The zips of a folder and of its folders."""
    inside = [path for entry in listing(place) for path in (listing(entry) if isdir(entry) else [entry])]
    return [path for path in inside if ZIP.fullmatch(path.name)]


def _open(path: Path) -> Exam:
    """What a zip holds; one that cannot be opened is left to the reader, which names the fault."""
    match = ZIP.fullmatch(path.name)
    if match is None:
        raise ValueError(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        names = [f"T2_FLAIR/{IMAGE}", f"T2_FLAIR/{BRAIN}", f"T2_FLAIR/{LESION}"]
    usable = [name for name in names if "unusable" not in name.lower()]

    def member(end: str) -> str | None:
        return next((name for name in usable if f"/{name}".endswith(f"/{end}")), None)

    return Exam(match[1], match[2], path, member(IMAGE), member(BRAIN), member(LESION))


def _case(exam: Exam, split: str) -> Case:
    """A healthy subject is free of lesions by its rank, a test subject has its mask."""
    image = FileRef(exam.path, exam.image)
    lesion, healthy = exam.ref(exam.lesion), split != "test"
    return Case(
        subject=f"ukb/{exam.eid}",
        image=image,
        lesion=None if healthy else lesion,
        lesion_free=healthy,
        brain=exam.ref(exam.brain),
        split=split,
        session=exam.visit,
    )


def rank(volumes: Mapping[tuple[str, str], float], exams: Sequence[Exam]) -> list[str]:
    """Subjects that have a lesion volume, the lowest first; the larger one counts where there are two visits."""
    largest: dict[str, float] = {}
    for exam in exams:
        volume = volumes.get((exam.eid, exam.visit))
        if volume is not None:
            largest[exam.eid] = max(volume, largest.get(exam.eid, 0.0))
    return sorted(largest, key=lambda eid: (largest[eid], eid))


def table_volumes(path: Path) -> Mapping[tuple[str, str], float]:
    """(eid, visit) -> lesion volume in mm3. Raises DataError where columns are missing or a value is no number."""
    rows = read_table(path, ["eid"])
    columns = {name: match[1] for name in (rows[0] if rows else {}) if (match := FIELD.search(name))}
    if not columns:
        raise DataError(f"{path} needs a column of field 25781 for visit 2 or 3 (25781-2.0, p25781_i2), but has none.")
    volumes = {}
    for line, row in enumerate(rows, start=2):
        for name, visit in columns.items():
            if row[name]:
                volumes[row["eid"], visit] = _volume(path, line, row[name])
    return volumes


def _volume(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise DataError(f"{path}, row {line}: a lesion volume is a number of mm3 from 0, but it is {text!r}: mend it.")
    return value
