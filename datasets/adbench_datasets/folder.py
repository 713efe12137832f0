"""`folder`: your own images, in one of three layouts, looked for in this order.

1. A table `cases.csv` (or `table`) with the columns `image`, `lesion`, `brain`, `subject`, `split`; paths are relative
   to it. An empty lesion, or "none", says that the image is free of lesions; brain may be empty; split is train,
   validation or test, or empty in all rows.
2. Folders `train/`, `val/` (healthy images; `val` may be missing), `test/images/` and `test/lesions/` with masks of the
   same names (another suffix is fine).
3. BIDS: `sub-*/[ses-*/]anat/*_<suffix>.nii.gz` (suffix FLAIR by default; `entity` chooses one of several in a session).
   Masks lie in `derivatives/[<pipeline>/]` in the same sub-*/[ses-*/]anat: `*_label-lesion_mask.nii.gz` or
   `*_desc-lesion_mask.nii.gz` (or `L`, `WMH`, `tumour` and so on), else the only `*_mask.nii.gz` that names neither
   label nor desc; in no other space than the image;
   `*_desc-brain_mask.nii.gz` or `*_label-brain_mask.nii.gz` is the brain.

An image without a mask in test/images or in BIDS, or with one that is all zero, is refused, since a mask that was not
found is not none. Clean test images are declared by an empty lesion in the table, or by `unmatched=healthy`.

Images are NIfTI (2-D or 3-D), PNG, JPEG or TIFF. A picture is one axial slice, front at the top; its mask may be a
picture too. All values of a mask but 0 are lesion, unless `lesion_values` names some. In the second layout the subject
is the name of the file, or the part of it that `subject_pattern` says.
"""

from __future__ import annotations

import dataclasses
import re
from os.path import isdir, isfile, realpath
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from adbench.contracts.dataset import DataRuntime, DatasetInfo
from adbench.errors import DataError, counted
from adbench_datasets.imaging.cases import Case, FileRef, chosen_labels
from adbench_datasets.imaging.pictures import SUFFIXES, is_picture
from adbench_datasets.imaging.region import Units
from adbench_datasets.layouts import bids
from adbench_datasets.layouts.discovery import (
    NIFTI,
    SIDECARS,
    Pattern,
    by_stem,
    check_all_read,
    check_names,
    find,
    listing,
    some_names,
    subject_of,
)
from adbench_datasets.layouts.scan_config import PRESETS, LesionValues, ScanConfig
from adbench_datasets.layouts.scans import ScanDataset
from adbench_datasets.layouts.tables import all_or_none, named_file, read_table, split_of, subject_in, tell_unread

COLUMNS = ("image", "lesion", "brain", "subject", "split")
PARTS = (("train", "train"), ("val", "validation"), ("validation", "validation"))
LIKE_PARTS = re.compile("train(?!e[dr])|val(?!ue)|test", re.IGNORECASE)
LAST_NUMBER = re.compile(r"(?:[-_. ]*[a-z]+)?[-_. ]*\d+$", re.IGNORECASE)
"""With the word before it: slice_12, -z7, .3."""
ANY = (*NIFTI, *SUFFIXES)
TABLES = (".csv", ".tsv", ".txt", ".xls", ".xlsx", ".ods")


class FolderConfig(ScanConfig):
    name: str | None = Field(
        None,
        pattern="^[a-z0-9]+(-[a-z0-9]+)*$",
        max_length=40,
        description="name of the set in messages, records and pages, such as my-hospital; null: folder",
    )
    modality: Literal["MRI", "FLAIR", "T1", "T1c", "T2", "PD", "CT"] = Field(
        "MRI", description="what the images are, MRI being of any contrast; NIfTI of CT must be in HU"
    )
    units: Literal["mri", "hu", "grey"] | None = Field(
        None, description="scale of the images; null: hu for NIfTI of CT, grey (0 to 255) for its pictures, else mri"
    )
    channel: int | None = Field(None, ge=0, description="channel of colour pictures; null: they must be grey")
    lesion_values: LesionValues = None
    table: str = Field(
        "cases.csv", min_length=1, pattern=r"^[^/\\~]", description="name of the table below the data root"
    )
    suffix: str = Field("FLAIR", pattern="[0-9A-Za-z]+", description="BIDS suffix of the images")
    entity: str | None = Field(
        None, pattern="[a-z]+-[0-9A-Za-z]+", description="BIDS: part of the name that chooses an image, such as acq-3d"
    )
    subject_pattern: Pattern | None = Field(
        None, description="regular expression whose group 1 is the subject in a file's name; null: the whole name"
    )
    pixel_mm: float | None = Field(None, gt=0, description="side of a picture's pixel in mm; null: not known")


class Folder(ScanDataset[FolderConfig]):
    """Reads the user's own images."""

    Config = FolderConfig
    presets = {name: {"size": values["size"]} for name, values in PRESETS.items()}  # all of what the user gave
    modality: ClassVar[Literal["MRI", "CT"]] = "MRI"
    info = DatasetInfo(
        summary="your own images: folders train, val, test/images, test/lesions, or a table, or BIDS",
        licence="yours",
        citation="yours",
        modality="MRI or CT, by data.modality",
        access="your own files, below --data-root",
        version="1",
    )

    def __init__(self, config: FolderConfig, data_root: Path | None = None, runtime: DataRuntime | None = None) -> None:
        super().__init__(config, data_root, runtime)
        self.name = config.name or ""
        self.channel = config.channel
        self.bids_suffix, self.bids_entity = config.suffix, config.entity
        self.modality = "CT" if config.modality == "CT" else "MRI"  # type: ignore[misc]  # of this one, not of the class
        shown = config.modality if config.modality == self.modality else f"MRI {config.modality}"
        self.info = dataclasses.replace(self.info, modality=shown)  # type: ignore[misc]

    def cases(self, root: Path) -> list[Case]:
        """Cases of the first layout that is found. Raises DataError naming row, file or folder."""
        place = self._find(root)
        layout = self._layout(place)
        if layout == "table":
            cases = self._from_table(place / self.config.table, root)
        else:
            self._check_no_table(place)
            cases = self._from_folders(place) if layout == "folders" else self._from_bids(place)
        self._check_used(layout, cases)
        return cases

    def release(self, root: Path) -> str:
        """The layout."""
        return str(self._layout(self._find(root)))

    def units(self, case: Case) -> Units:
        """By `units`, else by modality and kind of file."""
        if self.config.units is not None or self.modality == "MRI":
            return self.config.units or "mri"
        return "grey" if isinstance(case.image, FileRef) and is_picture(case.image) else "hu"

    def _find(self, root: Path) -> Path:
        table, suffix = self.config.table, self.config.suffix
        wanted = f"{table}, or train/ and test/images/ with images, or sub-*/anat/*_{suffix}.nii.gz"
        return find(root, self._name, ("folder", "data"), self._layout, wanted)

    def _layout(self, place: Path) -> str | None:
        if isfile(place / self.config.table):
            return "table"
        if "table" in self.config.model_fields_set:
            return None  # it was asked for: another layout beside it is not what is meant
        if by_stem(place / "test" / "images", ANY) or any(by_stem(place / part, ANY) for part, _ in PARTS):
            return "folders"
        return "BIDS" if next(bids.images(place, self.config.suffix, self.config.entity), None) else None

    def _check_used(self, layout: str | None, cases: list[Case]) -> None:
        """Raise DataError where a setting was given that means nothing here."""
        pictures = any(is_picture(case.image) for case in cases if isinstance(case.image, FileRef))
        unused = {
            "subject_pattern": ""
            if layout == "folders"
            else f"in the layout {layout} names of files are not looked at",
            "channel": "" if pictures else "no image is a picture",
            "pixel_mm": "" if pictures else "no image is a picture, and NIfTI says how large its voxels are",
        }
        for name, why in unused.items():
            if why and getattr(self.config, name) is not None:
                raise DataError(f"data.{name} means nothing here: {why}. Leave it out.")

    def _check_no_table(self, place: Path) -> None:
        """Raise DataError where something lies there that was meant to be the table."""
        name = Path(self.config.table)
        for path in listing(place):
            if path.stem.lower() == name.stem.lower() and path.suffix.lower() in TABLES:
                raise DataError(
                    f"The table is {name}, but {path} lies there: rename it, save it as CSV, name it by data.table, or "
                    "move it."
                )

    def _from_table(self, table: Path, root: Path) -> list[Case]:
        rows = read_table(table, COLUMNS)
        tell_unread(table, rows, COLUMNS, self.runtime)
        splits = [split_of(table, line, row["split"]) for line, row in enumerate(rows, start=2)]
        all_or_none(table, splits)
        cases: list[Case] = []
        drawn: dict[str, int] = {}
        for line, (row, split) in enumerate(zip(rows, splits, strict=True), start=2):
            image = named_file(table, line, "image", row, root)
            clean = row["lesion"].lower() in ("", "none")
            lesion = None if clean else named_file(table, line, "lesion", row, root)
            brain = named_file(table, line, "brain", row, root) if row["brain"] else None
            subject = subject_in(table, line, row)
            if lesion is not None and (first := drawn.setdefault(realpath(lesion.path), line)) != line:
                raise DataError(
                    f"{table}: a lesion mask is of one image, but {row['lesion']!r} stands in rows {first} and {line}: "
                    "mend one of them."
                )
            cases.append(self._case(subject, image, lesion, clean, split, brain=brain, session=row["image"]))
        return cases

    def _from_folders(self, place: Path) -> list[Case]:
        for part in (*(part for part, _ in PARTS), "test/images", "test/lesions"):
            check_all_read(place / part, ANY)
        self._check_test(place / "test")
        self._check_parts(place)
        cases = [
            self._case(self._subject(name), FileRef(path), None, True, split, session=name)
            for part, split in PARTS
            for name, path in by_stem(place / part, ANY).items()
        ]
        test, masks = (by_stem(place / "test" / name, ANY) for name in ("images", "lesions"))
        check_names(masks, test, place / "test" / "lesions")
        for name, path in test.items():
            lesion = FileRef(masks[name]) if name in masks else None
            cases.append(self._case(self._subject(name), FileRef(path), lesion, False, "test", session=name))
        if self.config.subject_pattern is None:
            self._tell_alike([case.session for case in cases if case.split != "test"], list(test))
        return cases

    def _tell_alike(self, healthy: list[str], tested: list[str]) -> None:
        """Say where names of images to train on and to test on, which differ in a last number, may be of one person."""
        owners = {first for name in healthy if (first := LAST_NUMBER.sub("", name)) and re.search(r"\d", first)}
        if alike := sorted(name for name in tested if LAST_NUMBER.sub("", name) in owners):
            self.runtime.notify(
                f"each file is of a subject of its own, but {counted(len(alike), 'name')} of images to test on begin "
                f"as those to train on, first {alike[0]!r}: where both are of one person, set data.subject_pattern"
            )

    def _check_parts(self, place: Path) -> None:
        """Raise DataError where images lie beside the folders that are read, in one that is named like them."""
        known = {"test", *(part for part, _ in PARTS)}
        for path in listing(place):
            if path.name not in known and LIKE_PARTS.match(path.name) and by_stem(path, ANY):
                raise DataError(
                    f"Images lie in train, val, test/images and test/lesions, but {path} is named like one of them: "
                    "rename or move it."
                )

    @staticmethod
    def _check_test(test: Path) -> None:
        """Raise DataError where masks or images lie elsewhere than in `images` and `lesions`."""
        for path in listing(test):
            inside = listing(path)
            if path.name not in ("images", "lesions") and (
                inside or not (isdir(path) or path.suffix.lower() in SIDECARS)
            ):
                raise DataError(
                    f"{test} holds images and masks in its folders images and lesions alone, but there is "
                    f"{inside[0] if inside else path}: move it."
                )

    def _from_bids(self, place: Path) -> list[Case]:
        found = list(bids.images(place, self.config.suffix, self.config.entity))
        self._check_contrast(bids.unlike(found))
        if alone := bids.of_no_image(place, found):
            self._leave_out(alone)
        cases = []
        for each in found:
            lesion, brain = (FileRef(path) if path else None for path in (each.lesion, each.brain))
            image = FileRef(each.image)
            cases.append(self._case(each.subject, image, lesion, False, None, brain=brain, session=each.session))
        return cases

    def _check_contrast(self, unlike: dict[str, list[str]]) -> None:
        """Raise DataError where images are of several contrasts, or of another than the user says."""
        if "" in unlike.get("ce", ()):
            raise DataError(
                "Images are of one contrast, but some are named as with a contrast agent (ce-...) and others not: keep "
                "one kind, or choose by data.entity."
            )
        for key, values in unlike.items():
            names = ", ".join(f"{key}-{value}" if value else f"none of {key}" for value in values)
            self.runtime.notify(f"images differ in how they were made: {names}")
        suffix, modality = self.config.suffix, self.config.modality
        contrasts = bids.CONTRASTS.get(suffix.lower())
        if contrasts is not None and modality not in ("MRI", *contrasts):
            raise DataError(
                f"data.modality={modality} and images named *_{suffix} (data.suffix) are of two contrasts: correct one "
                "of them."
            )

    def _leave_out(self, masks: list[Path]) -> None:
        """Say which masks are of no image that is read. Raises DataError unless `unmatched` is "skip"."""
        if self.config.unmatched != "skip":
            raise DataError(
                "A lesion mask is named label-lesion, lies in derivatives and is of an image that is read, in its "
                f"space, but {some_names(masks)} is not, and no image of its session has another: rename or move it, "
                "name its image by data.suffix or data.entity, or say --set data.unmatched=skip (leave out such masks, "
                "and images without any)."
            )
        self.runtime.notify(f"lesion masks of no image that is read are left out: {some_names(masks)}")

    def _subject(self, name: str) -> str:
        return subject_of(name, self.config.subject_pattern)

    def _case(
        self,
        subject: str,
        image: FileRef,
        lesion: FileRef | None,
        clean: bool,
        split: str | None,
        brain: FileRef | None = None,
        session: str = "",
    ) -> Case:
        mm = self.config.pixel_mm
        spacing = (mm, mm, mm) if mm is not None and is_picture(image) else None
        labels = chosen_labels(self.config.lesion_values)
        return Case(
            f"folder/{subject}", image, lesion, clean, brain, labels, spacing, split, session, shows_lesion=True
        )
