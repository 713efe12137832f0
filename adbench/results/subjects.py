"""One row a subject, beside its record: `<confighash>-seed<k>.subjects.csv`."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from adbench.errors import RecordError
from adbench.metrics.catalogue import METRICS
from adbench.results.record import write_text
from adbench.results.standing import PRIMARY

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
    """Subject -> one of its numbers, where it has one; much faster than all rows. Raises as `read_subjects`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            name, number = header.index("subject"), header.index(column)
            return {row[name]: float(row[number]) for row in rows if row[number]}
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise RecordError(f"{path} must hold one row a subject as CSV, but cannot be read ({error}).") from error


def values_below(out: Path, records: Iterable[str], rank_by: str = PRIMARY) -> dict[str, dict[str, float]]:
    """Path of a record below `out` -> subject -> its value of a metric over subjects, of the records with such a file.

    Raises as `read_subjects`.
    """
    column = METRICS[rank_by].by_subject
    paths = {record: subjects_path(out / record) for record in records}
    return {record: read_values(path, column) for record, path in paths.items() if path.is_file()}
