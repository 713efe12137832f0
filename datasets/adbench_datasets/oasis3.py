"""`oasis3`: FLAIR of OASIS-3, ageing adults of 42 to 95 years; a source of healthy images, without lesion masks.

Read as OASIS's own scripts write it: `OAS30001_MR_d0129/anat4/sub-OAS30001_ses-d0129_FLAIR.nii.gz` (older downloads say
`sess-`; some keep a folder `NIFTI` below `anat4`), or in BIDS form: `sub-OAS30001/ses-d0129/anat/<the same name>`. With
several runs in a session, the first is taken. Names are confirmed by public code that reads downloads; a FLAIR file
itself was not seen.

About half of the people are not cognitively normal. Where the table `cdr_csv` of the same project lies below the data
root, subjects who ever had a CDR above 0, or are not in it, are left out; otherwise all are used, and the user is told.
White matter hyperintensities of age remain in either case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from os.path import isfile
from pathlib import Path

from pydantic import Field

from adbench.contracts.dataset import DatasetInfo
from adbench.errors import DataError
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.layouts.discovery import files, find, listing
from adbench_datasets.layouts.healthy_source import HealthySource
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.tables import read_table

FOLDERS = ("OASIS3", "OASIS-3", "oasis3", "OASIS3/scans", "scans")
NAME = re.compile(r"sub-(OAS3\d+)_sess?-(d\d+)(?:_[a-z]+-[0-9A-Za-z]+)*_FLAIR\.nii(?:\.gz)?")
XNAT, BIDS = "as downloaded (OAS3xxxx_MR_dxxxx)", "BIDS (sub-OAS3xxxx)"


class OASIS3Config(ScanConfig):
    cdr_csv: str | None = Field(
        "OASIS3_UDSb4_cdr.csv", description="table of OASISID and CDRTOT below the data root; null: take everyone"
    )


class OASIS3(HealthySource[OASIS3Config]):
    """Reads either layout."""

    Config = OASIS3Config
    modality = "MRI"
    info = DatasetInfo(
        summary="FLAIR of OASIS-3, cognitively normal ageing adults; healthy images only",
        licence="OASIS Data Use Agreement: no redistribution",
        citation="LaMontagne et al. 2019, medRxiv, DOI 10.1101/2019.12.13.19014902",
        modality="MRI FLAIR",
        access="after registration: https://sites.wustl.edu/oasisbrains, by NrgXnat/oasis-scripts (scan type FLAIR)",
        version="1",
        releases="as downloaded, or BIDS",
        counts="1,098 participants, 2,168 MR sessions (2019)",
        unconfirmed="FLAIR files: names are from public code",
    )

    def cases(self, root: Path) -> list[Case]:
        """One case a session. Raises DataError where no FLAIR is found, or nobody is left."""
        place = find_place(root)
        normal = self._normal(root, place)
        chosen: dict[tuple[str, str], Path] = {}
        for path in _flairs(place):
            subject, day = _parts(path)
            if normal is None or subject in normal:
                chosen.setdefault((subject, day), path)
        if not chosen:
            raise DataError(
                f"No subject with a FLAIR in {place} has a CDR of 0 throughout: check {self.config.cdr_csv}."
            )
        return [
            Case(f"oasis3/{subject}", FileRef(path), lesion_free=True, session=day)
            for (subject, day), path in chosen.items()
        ]

    def release(self, root: Path) -> str:
        """The layout, and whether a table chose the subjects."""
        place = find_place(root)
        chosen = "all subjects" if self._table(root, place) is None else f"CDR 0 by {self.config.cdr_csv}"
        return f"{release_of(place)}, {chosen}"

    def _table(self, root: Path, place: Path) -> Path | None:
        name = self.config.cdr_csv
        if name is None:
            return None
        found = next((path for path in (root / name, place / name) if isfile(path)), None)
        if found is None and "cdr_csv" in self.config.model_fields_set:
            raise DataError(f"data.cdr_csv={name!r} must be a file below {root}, but there is none: correct the name.")
        return found

    def _normal(self, root: Path, place: Path) -> set[str] | None:
        """Subjects whose CDR is 0 at every visit; None where nothing says."""
        table = self._table(root, place)
        if table is None:
            self.runtime.notify(
                "oasis3: everyone is taken as healthy, also people with dementia: put OASIS3_UDSb4_cdr.csv into the "
                "data folder to leave them out."
            )
            return None
        seen: dict[str, bool] = {}
        for line, row in enumerate(read_table(table, ["OASISID", "CDRTOT"]), start=2):
            if row["CDRTOT"]:
                seen[row["OASISID"]] = seen.get(row["OASISID"], True) and _zero(table, line, row["CDRTOT"])
        return {subject for subject, normal in seen.items() if normal}


def find_place(root: Path) -> Path:
    """Return the folder of the sessions or subjects. Raises DataError saying what was looked for, and where."""
    return find(root, "oasis3", FOLDERS, release_of, "OAS3*_MR_d*/anat*/ or sub-OAS3*/ses-*/anat/ with *_FLAIR.nii.gz")


def release_of(place: Path) -> str | None:
    """The layout in a folder, or None."""
    first = next(_flairs(place), None)
    if first is None:
        return None
    return BIDS if first.relative_to(place).parts[0].startswith("sub-") else XNAT


def _flairs(place: Path) -> Iterator[Path]:
    """FLAIR files in natural order: the first run of a session comes first."""
    for top in listing(place):
        if top.name.startswith("OAS3"):
            folders = [f for anat in listing(top) if anat.name.startswith("anat") for f in (anat, anat / "NIFTI")]
        elif top.name.startswith("sub-OAS3"):
            folders = [session / "anat" for session in listing(top)]
        else:
            continue
        yield from (path for folder in folders for path in files(folder) if NAME.fullmatch(path.name))


def _parts(path: Path) -> tuple[str, str]:
    match = NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(path)
    return match[1], match[2]


def _zero(table: Path, line: int, text: str) -> bool:
    try:
        return float(text) == 0
    except ValueError as error:
        raise DataError(f"{table}, row {line}: CDRTOT must be a number, but is {text!r}: mend it.") from error
