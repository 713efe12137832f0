"""Which scan is which: the name of what is written about each, and its file, for the user alone.

Paths may hold names of people, so that none is written among the results.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from adbench.contracts.scans import NewScan
from adbench.errors import ConfigError, counted
from adbench.prediction.outputs import real
from adbench.storage.files import write_atomic, writing

PRIVATE = 0o600
"""The owner alone may read and write."""


def told(scan: NewScan) -> str:
    """Say the first file of a scan, below the path that the user named, and the name of what is written about it."""
    first, *more = scan.files
    rest = f" and {counted(len(more), 'more file')}" if more else ""
    return f"{first}{rest} -> {scan.name}"


def check_names(path: Path, out: Path, scans: Sequence[NewScan]) -> None:
    """Raise ConfigError where the file of names would lie among the results, or replace a scan."""
    place = real(path)
    if place.is_relative_to(real(out)):
        raise ConfigError(f"Names of files stay out of the results, but {path} lies in {out}: name another by --names.")
    if any(real(file) == place for scan in scans for file in scan.files):
        raise ConfigError(f"Names are written to a file of their own, but {path} is a scan: name another by --names.")


def write_names(path: Path, scans: Sequence[NewScan]) -> None:
    """Write a CSV of each scan's name, first file and number of files. Raises ConfigError where it cannot be."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scan", "file", "files"])
    writer.writerows([scan.name, str(scan.files[0]), len(scan.files)] for scan in scans)
    with writing("Names of scans", path, "Name another file by --names.", ConfigError):
        write_atomic(path, text.getvalue().encode(errors="surrogateescape"))
        path.chmod(PRIVATE)
