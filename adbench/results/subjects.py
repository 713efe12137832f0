"""One row a subject, beside its record: `<confighash>-seed<k>.subjects.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from adbench.errors import RecordError
from adbench.results.record import write_text

SEPARATOR = ":"
"""Between the name of a threshold and what is measured there, in the names of columns."""


def subjects_path(record: Path) -> Path:
    """The file of the subjects of a record."""
    return record.with_suffix(".subjects.csv")


def write_subjects(subjects: pd.DataFrame, path: Path) -> None:
    """Write one row a subject; undefined numbers are empty. Raises RecordError where the folder cannot be written."""
    write_text(path, subjects.to_csv(index=False, lineterminator="\n"))


def read_subjects(path: Path) -> pd.DataFrame:
    """The rows of the subjects. Raises RecordError where there is no such file, or it cannot be read."""
    try:
        return pd.read_csv(path, dtype={"subject": "string"})
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} must hold one row a subject as CSV, but cannot be read ({error}).") from error


def read_values(path: Path, column: str) -> dict[str, float]:
    """Subject -> one of its numbers, where it has one; ten times as fast as all rows. Raises as `read_subjects`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row["subject"]: float(row[column]) for row in csv.DictReader(file) if row[column]}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RecordError(f"{path} must hold one row a subject as CSV, but cannot be read ({error}).") from error


def subjects_below(out: Path, records: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Path of a record below `out` -> the rows of its subjects, of those that have them. Raises as `read_subjects`."""
    paths = {record: subjects_path(out / record) for record in records}
    return {record: read_subjects(path) for record, path in paths.items() if path.is_file()}
