"""Which files are DICOM: told by how they begin, and, of damaged ones, by their ending and what lies beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

MAGIC_AT, MAGIC = 128, b"DICM"
ENDINGS = (".dcm", ".ima")


def dicom_among(paths: Sequence[Path]) -> list[Path]:
    """Those of some files that are DICOM, or should be: a slice that is empty or overwritten must not vanish.

    One that does not begin as DICOM should be where its name ends as those of DICOM files in its folder, or on .dcm.
    """
    whole = {path for path in paths if _begins_as_dicom(path)}
    beside = {(path.parent, _ending(path)) for path in whole}
    return [path for path in paths if (path.parent, _ending(path)) in beside or _ending(path) in ENDINGS]


def _begins_as_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC
    except OSError:
        return False


def _ending(path: Path) -> str:
    """The suffix in small letters; one that is a number, as in IM.0001, is none."""
    suffix = path.suffix.lower()
    return "" if suffix[1:].isdecimal() else suffix
