"""Tables in a data folder: CSV of any of three delimiters, Excel's .xls, and the errors that name file and row."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from os.path import isfile, realpath
from pathlib import Path

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError
from adbench_datasets.imaging.cases import FileRef

SPLITS = {"train": "train", "training": "train", "val": "validation", "validation": "validation", "test": "test"}
NO_NAME = re.compile(
    r"#?n[/.]?a[.!]?|<na>|nan|none|null|nil|undefined|unknown|missing|tbd|[\W_]+|#[A-Z]+(?:/0)?[!?]", re.IGNORECASE
)
"""What programs write where nothing is known, or where a formula failed."""
ROUNDED = re.compile(r"\d+([.,]\d*)?E\+\d+", re.IGNORECASE)
MAX_TABLE_BYTES = 256 << 20


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV (comma, semicolon or tab) or of the first sheet of an .xls as stripped strings.

    With at least `columns`, their case ignored. Raises DataError where it cannot be read, or naming missing columns and
    those there are.
    """
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise DataError(f"A table has at most {MAX_TABLE_BYTES >> 20} MiB, but {path} is larger: name another.")
        rows = _sheet(path) if path.suffix.lower() == ".xls" else _csv(path)
    except OSError as error:
        raise DataError(f"Cannot read the table {path} ({error.strerror or error}).") from error
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()  # spreadsheets write empty rows at the end
    names = [name.strip() for name in rows[0]] if rows else []
    known = {name.lower(): name for name in names}
    twice = [name for name, number in Counter(map(str.lower, names)).items() if number > 1 and name]
    if twice:
        raise DataError(f"{path}: each column has a name of its own, but {twice[0]!r} is there twice: remove one.")
    missing = [column for column in columns if column.lower() not in known]
    if missing:
        raise DataError(
            f"{path} needs the columns {', '.join(columns)}, but lacks {', '.join(missing)}; it has "
            f"{', '.join(names)}. Name its columns in the first line."
        )
    keys = {known[column.lower()]: column for column in columns}
    return [_row(path, line, names, cells, keys) for line, cells in enumerate(rows[1:], start=2)]


def _csv(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"A table must be UTF-8 text, but {path} is not ({error.reason}): save it as UTF-8.") from error
    if "\0" in text:
        raise DataError(f"A table must be UTF-8 text, but {path} holds null characters (UTF-16?): save it as UTF-8.")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"{path} is no CSV ({error}): mend it.") from error


def _sheet(path: Path) -> list[list[str]]:
    import xlrd

    try:
        sheet = xlrd.open_workbook(file_contents=path.read_bytes(), logfile=io.StringIO()).sheet_by_index(0)
    except OSError:
        raise
    except Exception as error:  # of whatever kind, where the file is damaged
        raise DataError(f"{path} cannot be read as .xls ({error}): fetch it again, or save it as CSV.") from error
    rows = [sheet.row_values(i) for i in range(sheet.nrows)]
    return [[f"{cell:.15g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]


def _row(path: Path, line: int, names: list[str], cells: list[str], keys: Mapping[str, str]) -> dict[str, str]:
    if len(cells) > len(names):
        raise DataError(f"{path}, row {line} has {len(cells)} cells for {len(names)} columns: quote its commas.")
    if len(cells) < len(names):
        raise DataError(
            f"{path}, row {line} has {len(cells)} cells for {len(names)} columns: add the missing ones, empty where "
            "nothing is known."
        )
    return {keys.get(name, name): cell.strip() for name, cell in zip(names, cells, strict=True)}


def tell_unread(path: Path, rows: Sequence[Mapping[str, str]], read: Sequence[str], runtime: DataRuntime) -> None:
    """Say which columns of a table mean nothing here: one may be a misspelt one that does."""
    if unread := sorted(set(rows[0] if rows else ()) - {*read, ""}):
        runtime.notify(f"{path}: the columns {', '.join(unread)} are not read")


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


def subject_in(table: Path, line: int, row: Mapping[str, str]) -> str:
    """The subject of a row. Raises DataError where it is missing, or a spreadsheet made one number of several."""
    subject = required(table, line, "subject", row)
    if NO_NAME.fullmatch(subject):
        raise DataError(
            f"{table}, row {line}: subject must name the person, but {subject!r} says that it is missing, and all such "
            "rows would be of one. Fill it in."
        )
    if ROUNDED.fullmatch(subject):
        raise DataError(
            f"{table}, row {line}: {subject!r} is a number that a spreadsheet has rounded, so that several people "
            "may share it. Write subjects as text."
        )
    return subject


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
