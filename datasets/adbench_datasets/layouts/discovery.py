"""What the adapters share for finding cases below a data root: candidates, names of files, and their errors."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from os.path import (  # unlike those of Path, False where a folder may not be read or a name is too long
    isdir,
)
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from adbench.errors import DataError
from adbench_datasets.imaging.cases import FileRef

NIFTI = (".nii.gz", ".nii")
LEFT_BY_SYSTEMS = ("__MACOSX", "@eaDir")
"""Folders that macOS and Synology make beside files; what lies in them has the names of those."""


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
    """What lies in a folder, hidden files and LEFT_BY_SYSTEMS left out, in natural order; [] where it does not exist.

    Raises DataError where the folder may not be read.
    """
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".") and name not in LEFT_BY_SYSTEMS]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"Cannot list {folder} ({error.strerror}): give yourself permission to read it.") from error
    return sorted((Path(os.path.join(folder, name)) for name in names), key=natural)


def files(folder: Path, suffixes: Sequence[str] = NIFTI) -> list[Path]:
    """Files of a folder with one of the suffixes; a link to nothing is one, and reading it says so."""
    return [path for path in listing(folder) if path.name.lower().endswith(tuple(suffixes)) and not isdir(path)]


def check_owner(path: Path, owner: str, *owners: str) -> None:
    """Raise DataError where a file is of another than those in whose folder it lies; case is ignored."""
    if owner.lower() not in {name.lower() for name in owners}:
        raise DataError(
            f"A file lies in the folder of the one that it is of, but {path} is of {owner} by its name, not of "
            f"{' or '.join(owners)}: move it there, or remove it."
        )


def own_file(folder: Path, name: re.Pattern[str], *owners: str) -> FileRef | None:
    """The file of a folder whose whole name fits; group 1, where it matches, says whose it is, case ignored.

    Raises DataError where it is of none of the owners, or where several fit.
    """
    fit = [(path, match[1]) for path in files(folder) if (match := name.fullmatch(path.name))]
    for path, owner in fit:
        check_owner(path, owner or owners[0], *owners)
    if len(fit) > 1:
        raise DataError(
            f"One file of a kind is needed, but here are {some_names([path for path, _ in fit])}: keep one."
        )
    return FileRef(fit[0][0]) if fit else None


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


SIDECARS = frozenset(
    ["", *".json .txt .csv .tsv .md .rst .xml .pdf .html .bval .bvec .ini .db .log .yml .yaml .xlsx".split()]  # noqa: SIM905
)
"""Suffixes of what may lie beside images."""


def check_all_read(folder: Path, suffixes: Sequence[str]) -> None:
    """Raise DataError where a folder holds what is not read: an image would be left out, or a mask taken for none."""
    for path in listing(folder):
        if isdir(path):
            if listing(path):
                raise DataError(
                    f"All files of {folder} lie in it, but there is the folder {path.name}: move its files."
                )
        elif not path.name.lower().endswith(tuple(suffixes)) and path.suffix.lower() not in SIDECARS:
            raise DataError(f"Files of {folder} are {', '.join(suffixes)}, but {path.name} is not: convert or move it.")


def some_names(paths: Sequence[Path], most: int = 3) -> str:
    """The first of some files, for a message."""
    return ", ".join(str(path) for path in paths[:most]) + (
        f" and {len(paths) - most} more" if len(paths) > most else ""
    )


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
