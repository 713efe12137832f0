"""`cromis`, `kch`, `chronic`: the private CT sets of Pinaya et al. 2022, Table 3, in a layout that anyone can provide.

Either a table `<dataset>.csv` or `cases.csv` with the columns `image`, `mask`, `subject`, `split`: paths are relative
to the table; an empty mask, or "none", says that the scan is free of bleeds; split is train, validation or test, or
empty in all rows. Or two sibling folders of NIfTI files (HU) with the same names: `images` and `masks` (or one of
`IMAGES` and one of `MASKS`). There the subject is the name of the file, or the part of it that `subject_pattern` says.
A scan without a mask, or with one that is all zero, is refused unless `unmatched` says what it is.
"""

from __future__ import annotations

from os.path import isfile
from pathlib import Path

from pydantic import Field

from adbench.contracts.dataset import DatasetInfo
from adbench_datasets.imaging.cases import Case, FileRef, chosen_labels
from adbench_datasets.layouts.discovery import (
    NIFTI,
    Pattern,
    by_stem,
    check_all_read,
    check_names,
    files,
    find,
    subject_of,
)
from adbench_datasets.layouts.reported import reported_on
from adbench_datasets.layouts.scan_config import LesionValues, ScanConfig
from adbench_datasets.layouts.scans import ScanDataset
from adbench_datasets.layouts.tables import all_or_none, named_file, read_table, split_of, subject_in, tell_unread

IMAGES = ("images", "image", "ct", "CT", "scans", "data", "imagesTr")
MASKS = ("masks", "mask", "labels", "label", "lesions", "segmentations", "labelsTr")
COLUMNS = ("image", "mask", "subject", "split")
NO_BLEED = ("", "none")
LAYOUT = "not public; ask its owners. Any CT with masks can be given in the same layout: images/ and masks/, or a table"


class BleedsConfig(ScanConfig):
    table: str | None = Field(None, description="name of the table below the data root; null: look for the usual names")
    lesion_values: LesionValues = None
    subject_pattern: Pattern | None = Field(
        None, description="regular expression whose group 1 is the subject in a file's name; null: the whole name"
    )


class Bleeds(ScanDataset[BleedsConfig]):
    """What the three sets have in common."""

    Config = BleedsConfig
    modality = "CT"

    def cases(self, root: Path) -> list[Case]:
        """Cases of the table where there is one, else of the folders. Raises DataError naming row, file or folder."""
        place = self._find(root)
        table = self._table(place)
        return self._from_table(table, root) if table else self._from_folders(place)

    def release(self, root: Path) -> str:
        """The table's name, or those of the two folders."""
        return str(self._layout(self._find(root)))

    def _find(self, root: Path) -> Path:
        wanted = self.config.table or f"{self.name}.csv or cases.csv, or the folders images and masks with NIfTI files"
        return find(root, self.name, (self.name, self.name.upper()), self._layout, wanted)

    def _layout(self, place: Path) -> str | None:
        table, folders = self._table(place), None if self.config.table else _folders(place)
        if table:
            return f"table {table.name}"
        return f"folders {folders[0].name} and {folders[1].name}" if folders else None

    def _table(self, place: Path) -> Path | None:
        names = [self.config.table] if self.config.table else [f"{self.name}.csv", "cases.csv"]
        return next((place / name for name in names if isfile(place / name)), None)

    def _from_table(self, table: Path, root: Path) -> list[Case]:
        rows = read_table(table, COLUMNS)
        tell_unread(table, rows, COLUMNS, self.runtime)
        splits = [split_of(table, line, row["split"]) for line, row in enumerate(rows, start=2)]
        all_or_none(table, splits)
        return [
            self._row(table, line, row, split, root)
            for line, (row, split) in enumerate(zip(rows, splits, strict=True), start=2)
        ]

    def _row(self, table: Path, line: int, row: dict[str, str], split: str | None, root: Path) -> Case:
        image = named_file(table, line, "image", row, root)
        clean = row["mask"].lower() in NO_BLEED
        mask = None if clean else named_file(table, line, "mask", row, root)
        return self._case(subject_in(table, line, row), image, mask, clean, split, row["image"])

    def _from_folders(self, place: Path) -> list[Case]:
        folders = _folders(place)
        if folders is None:
            return []
        for folder in folders:
            check_all_read(folder, NIFTI)
        images, masks = map(by_stem, folders)
        check_names(masks, images, folders[1])
        cases = []
        for name, image in images.items():
            mask = FileRef(masks[name]) if name in masks else None
            subject = subject_of(name, self.config.subject_pattern)
            cases.append(self._case(subject, FileRef(image), mask, clean=False, split=None, session=name))
        return cases

    def _case(
        self, subject: str, image: FileRef, mask: FileRef | None, clean: bool, split: str | None, session: str
    ) -> Case:
        labels = chosen_labels(self.config.lesion_values)
        return Case(
            f"{self.name}/{subject}", image, mask, clean, labels=labels, split=split, session=session, shows_lesion=True
        )


def _folders(place: Path) -> tuple[Path, Path] | None:
    """The folders of images and masks, where both are there and hold NIfTI files."""
    images = next((place / name for name in IMAGES if files(place / name)), None)
    masks = next((place / name for name in MASKS if files(place / name)), None)
    return (images, masks) if images and masks else None


class CromisConfig(BleedsConfig):
    test_fraction: float = Field(21 / 221, gt=0, lt=1, description="fraction of the subjects for testing (21 of 221)")


class Cromis(Bleeds):
    """CROMIS-2: trained on slices without bleed of 200 participants, tested on 21 others."""

    Config = CromisConfig
    name = "cromis"
    info = DatasetInfo(
        summary="CT of CROMIS-2: slices without intracerebral haemorrhage to train on, bleeds to test on",
        licence="private",
        citation="Wilson et al. 2018, The Lancet Neurology 17(6):539-547",
        modality="CT (HU)",
        access=LAYOUT,
        unconfirmed="the layout: it is of this adapter, and the sets are private",
        version="1",
        reported=reported_on("cromis"),
    )


class KCH(Bleeds):
    """Bleeds of King's College Hospital; only tested on."""

    name = "kch"
    own_split = False
    info = DatasetInfo(
        summary="CT of King's College Hospital with intracerebral haemorrhage",
        licence="private",
        citation="Pinaya et al. 2022, arXiv 2206.03461",
        modality="CT (HU)",
        access=LAYOUT,
        unconfirmed="the layout: it is of this adapter, and the sets are private",
        version="1",
        reported=reported_on("kch"),
    )


class Chronic(Bleeds):
    """Bleeds beside chronic ischaemic injury; only tested on."""

    name = "chronic"
    own_split = False
    info = DatasetInfo(
        summary="CT with intracerebral haemorrhage, and chronic ischaemic injury beside it",
        licence="private",
        citation="Mah et al. 2020, Frontiers in Neurology 11:15",
        modality="CT (HU)",
        access=LAYOUT,
        unconfirmed="the layout: it is of this adapter, and the sets are private",
        version="1",
        reported=reported_on("chronic"),
    )
