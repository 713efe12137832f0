"""One row a subject, beside its record: `<confighash>-seed<k>.subjects.csv`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from adbench.errors import RecordError
from adbench.results.record import write_text

SEPARATOR = ":"
"""Between the name of a threshold and what is measured there, in the names of columns."""


def subjects_path(record: Path) -> Path:
    """The file of the subjects of a record."""
    return record.with_name(f"{record.stem}.subjects.csv")


def write_subjects(subjects: pd.DataFrame, record: Path, out: Path) -> Path:
    """Write the rows of a record's subjects below `out` and return their path; undefined numbers are empty."""
    path = out / subjects_path(record)
    write_text(path, subjects.to_csv(index=False, lineterminator="\n"))
    return path


def read_subjects(record: Path, out: Path) -> pd.DataFrame | None:
    """The rows of a record's subjects; None where there are none. Raises RecordError where they cannot be read."""
    path = out / subjects_path(record)
    if not path.is_file():
        return None
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} must hold one row a subject as CSV, but cannot be read ({error}).") from error
