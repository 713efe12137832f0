"""What the adapters share for finding cases below a data root: candidates, NIfTI names, tables, and their errors."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from os.path import (  # unlike those of Path, False where a folder may not be read or a name is too long
    isdir,
    isfile,
    realpath,
)
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from adbench.errors import DataError
from adbench_datasets.imaging.cases import FileRef

NIFTI = (".nii.gz", ".nii")
SPLITS = {"train": "train", "training": "train", "val": "validation", "validation": "validation", "test": "test"}
MAX_TABLE_BYTES = 256 << 20


def stem(path: Path) -> str:
    """File name without `.nii`, `.nii.gz` or its last suffix."""
    for suffix in NIFTI:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.stem


def natural(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which slice 2 comes before slice 10."""
    parts = re.split(r"(\d+)", str(path))
    return tuple((1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts)


def listing(folder: Path) -> list[Path]:
    """What lies in a folder, hidden files left out, in natural order; [] where it does not exist.

    Raises DataError where the folder may not be read.
    """
    try:
        entries = [Path(entry.path) for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"Cannot list {folder} ({error.strerror}): give yourself permission to read it.") from error
    return sorted(entries, key=natural)


def files(folder: Path, suffixes: Sequence[str] = NIFTI) -> list[Path]:
    """Files of a folder with one of the suffixes; a link to nothing is one, and reading it says so."""
    return [path for path in listing(folder) if path.name.lower().endswith(tuple(suffixes)) and not isdir(path)]


def by_stem(folder: Path, suffixes: Sequence[str] = NIFTI) -> dict[str, Path]:
    """Stem -> file. Raises DataError where two files of a folder have the same stem."""
    found: dict[str, Path] = {}
    for path in files(folder, suffixes):
        other = found.setdefault(stem(path), path)
        if other != path:
            raise DataError(
                f"Each case needs a name of its own, but {other.name} and {path.name} in {folder} are both "
                f"{stem(path)!r}: keep one of them."
            )
    return found


def find(root: Path, name: str, folders: Sequence[str], recognise: Callable[[Path], str | None], wanted: str) -> Path:
    """Return the first of `root`, its sub-folders named in `folders` that `recognise` knows.

    `recognise` returns the name of the release that a folder holds, or None. `wanted` says what the layout is.
    Raises DataError saying what was looked for, and where.
    """
    candidates = [root, *(root / folder for folder in folders)]
    for candidate in candidates:
        if isdir(candidate) and recognise(candidate):
            return candidate
    inside = ", ".join(folders)
    raise DataError(
        f"{name} looks for {wanted}, but found it neither in {root} nor in its folders {inside}. Point --data-root at "
        "the folder as downloaded and unpacked, or at its parent."
    )


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV (comma, semicolon or tab) as stripped strings, with at least `columns`, their case ignored.

    Raises DataError where it cannot be read, or naming missing columns and those there are.
    """
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise DataError(f"A table has at most {MAX_TABLE_BYTES >> 20} MiB, but {path} is larger: name another.")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"A table must be UTF-8 text, but {path} is not ({error.reason}): save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"Cannot read the table {path} ({error.strerror or error}).") from error
    lines = text.splitlines()
    head = lines[0] if lines else ""
    delimiter = max(",;\t", key=head.count)
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is no CSV ({error}): mend it.") from error
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()  # spreadsheets write empty rows at the end
    names = [name.strip() for name in rows[0]] if rows else []
    known = {name.lower(): name for name in names}
    missing = [column for column in columns if column.lower() not in known]
    if missing:
        raise DataError(
            f"{path} needs the columns {', '.join(columns)}, but lacks {', '.join(missing)}; it has {', '.join(names)}."
        )
    keys = {known[column.lower()]: column for column in columns}
    return [_row(path, line, names, cells, keys) for line, cells in enumerate(rows[1:], start=2)]


def _row(path: Path, line: int, names: list[str], cells: list[str], keys: Mapping[str, str]) -> dict[str, str]:
    if len(cells) > len(names):
        raise DataError(f"{path}, row {line} has {len(cells)} cells for {len(names)} columns: quote its commas.")
    padded = cells + [""] * (len(names) - len(cells))
    return {keys.get(name, name): cell.strip() for name, cell in zip(names, padded, strict=True)}


def split_of(path: Path, line: int, value: str) -> str | None:
    """train, validation, test, or None where the cell is empty. Raises DataError for another word."""
    if value and value.lower() not in SPLITS:
        raise DataError(f"{path}, row {line}: split must be train, validation, test or empty, but is {value!r}.")
    return SPLITS.get(value.lower())


def all_or_none(path: Path, splits: Sequence[str | None]) -> None:
    """Raise DataError where some rows of a table name a split and others do not."""
    missing = [i for i, split in enumerate(splits, start=2) if split is None]
    if missing and len(missing) < len(splits):
        raise DataError(
            f"{path}: either every row names a split or none, but that of row {missing[0]} is empty: fill it."
        )


def required(table: Path, line: int, column: str, row: Mapping[str, str]) -> str:
    """A cell that may not be empty. Raises DataError naming the row."""
    if not row[column]:
        raise DataError(f"{table}, row {line}: {column} may not be empty: fill it in.")
    return row[column]


def named_file(table: Path, line: int, column: str, row: Mapping[str, str], root: Path) -> FileRef:
    """The file that a cell names, relative to the table. Raises DataError where there is none, or outside of `root`."""
    value = required(table, line, column, row)
    place = table.parent / value
    real = Path(realpath(place))  # that of Path fails where links go round in a circle
    if not real.is_relative_to(realpath(root)):
        raise DataError(
            f"{table}, row {line}: {column} must lie below {root}, but {value!r} is {real}: put the file "
            "there, or make --data-root a folder that holds both."
        )
    if not isfile(place):
        raise DataError(f"{table}, row {line}: {column} names {value!r}, but {place} is no file: mend the row.")
    return FileRef(place)


def check_names(masks: Iterable[str], images: Iterable[str], folder: Path) -> None:
    """Raise DataError where a mask belongs to no image: its name is probably written in another way."""
    alone = sorted(set(masks) - set(images))
    if alone:
        raise DataError(
            f"A mask has the name of its image, but for {len(alone)} of the masks in {folder} there is no image, first "
            f"{alone[0]!r}: name them alike, or remove them."
        )


def _with_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from error
    if groups < 1:
        raise ValueError("a group is needed, for example (.*)_FLAIR")
    return pattern


Pattern = Annotated[str, AfterValidator(_with_group)]
"""A regular expression with at least one group."""


def subject_of(name: str, pattern: str | None) -> str:
    """The subject's part of a file's name: group 1 of `pattern`, or all of it. Raises DataError where it fits not."""
    if pattern is None:
        return name
    match = re.search(pattern, name)
    if match is None or not match.group(1):
        raise DataError(f"data.subject_pattern must fit every file name, but {pattern!r} does not fit {name!r}.")
    return match.group(1)
