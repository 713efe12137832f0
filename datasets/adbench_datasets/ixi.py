"""`ixi`: T1, T2 and PD of some 580 healthy people, three London scanners; a source of healthy images without masks.

`IXI-T1/IXI002-Guys-0828-T1.nii.gz`: person, hospital (Guys 1.5 T, HH 3 T, IOP 1.5 T), number of the scan, contrast; the
archives `IXI-T1.tar`, `IXI-T2.tar` and `IXI-PD.tar` unpacked, into folders of their own or into one. The table of ages
and sexes, `IXI.xls` or the same saved as `IXI.csv`, is read from the data root or from beside the archives.
There is no FLAIR. Names are from public code that reads the set.
"""

from __future__ import annotations

import re
from os.path import isfile
from pathlib import Path
from typing import Literal

from pydantic import Field

from adbench.contracts.dataset import DatasetInfo
from adbench.errors import DataError
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.layouts.contrasts import ContrastConfig, ContrastDataset
from adbench_datasets.layouts.discovery import files, find
from adbench_datasets.layouts.healthy_source import HealthySource
from adbench_datasets.layouts.tables import read_table

NAME = re.compile(r"(IXI(\d+))-(Guys|HH|IOP)-(\d+)-(T1|T2|PD)\.nii(\.gz)?")
TABLES = ("IXI.csv", "IXI.xls")
PERSON, SEX, AGE = "IXI_ID", "SEX_ID (1=m, 2=f)", "AGE"
SEXES = {1: "male", 2: "female"}


class IXIConfig(ContrastConfig):
    modality: Literal["T1", "T2", "PD"] = Field("T1", description="contrast; there is no FLAIR")


class IXI(HealthySource[IXIConfig], ContrastDataset[IXIConfig]):
    """Reads the unpacked archive of one contrast."""

    Config = IXIConfig
    info = DatasetInfo(
        summary="T1, T2 and PD of healthy people of 20 to 86 years, three London scanners; healthy images only",
        licence="CC BY-SA 3.0",
        citation="IXI, Imperial College London, https://brain-development.org/ixi-dataset",
        modality="MRI T1",
        access="public: https://brain-development.org/ixi-dataset (IXI-T1.tar, IXI-T2.tar, IXI-PD.tar), unpacked",
        version="1",
        releases="NIfTI archives by contrast",
        counts="nearly 600 people: 581 T1, 578 T2, 578 PD",
        unconfirmed="counts and names are from public code; no file was seen",
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a scan. Raises DataError where none of the contrast is found, or the table does not fit."""
        place = self._find(root)
        people = self._people(root, place)
        matched = ((path, NAME.fullmatch(path.name)) for path in files(place))
        return [
            Case(
                f"ixi/{match[1]}",
                FileRef(path),
                lesion_free=True,
                session=match[4],
                strata={"scanner": match[3], **people.get(int(match[2]), {})},
            )
            for path, match in matched
            if match and match[5] == self.config.modality
        ]

    def _find(self, root: Path) -> Path:
        contrast = self.config.modality
        folder = f"IXI-{contrast}"
        folders = (folder, f"IXI/{folder}", f"ixi/{folder}", "IXI", "ixi")
        return find(root, "ixi", folders, self._recognised, f"{folder}/IXI002-Guys-0828-{contrast}.nii.gz")

    def _recognised(self, place: Path) -> str | None:
        matched = (NAME.fullmatch(path.name) for path in files(place))
        return next((match[5] for match in matched if match and match[5] == self.config.modality), None)

    def _people(self, root: Path, place: Path) -> dict[int, dict[str, str]]:
        """Number of the person -> sex, and age by decade."""
        places = (folder / name for folder in (root, place, place.parent) for name in TABLES)
        table = next(filter(isfile, places), None)
        if table is None:
            self.runtime.notify("ixi: ages and sexes are not known: put IXI.xls into the data root")
            return {}
        rows = enumerate(read_table(table, [PERSON, SEX, AGE]), start=2)
        return {_number(table, line, row[PERSON]): _person(table, line, row) for line, row in rows}


def _person(table: Path, line: int, row: dict[str, str]) -> dict[str, str]:
    known = {}
    if row[SEX]:
        sex = _number(table, line, row[SEX])
        if sex not in SEXES:
            raise DataError(f"{table}, row {line}: {SEX} must be 1 or 2, but is {row[SEX]!r}: mend it.")
        known["sex"] = SEXES[sex]
    if row[AGE]:
        decade = _number(table, line, row[AGE]) // 10 * 10
        known["age"] = f"{decade} to {decade + 9}"
    return known


def _number(table: Path, line: int, text: str) -> int:
    """The whole part of a number. Raises DataError naming the row."""
    try:
        return int(float(text))
    except (ValueError, OverflowError) as error:
        raise DataError(f"{table}, row {line} needs numbers, but holds {text!r}: mend it.") from error
