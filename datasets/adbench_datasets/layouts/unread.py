"""What lies among the files of a set and is not read: what is named otherwise would be lost unseen."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from os.path import isdir
from pathlib import Path

from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.imaging.pictures import SUFFIXES
from adbench_datasets.layouts.discovery import NIFTI, files, listing
from adbench_datasets.layouts.subjects import refs_of

PARTS = ("image", "lesion", "brain")


def unread(cases: Sequence[Case], root: Path) -> list[Path]:
    """Folders with images beside those of two or more cases, and pictures beside the slices of a case, in order."""
    read = {ref.path for case in cases for part in PARTS for ref in refs_of(getattr(case, part))}
    used = {folder for path in read for folder in path.parents if folder.is_relative_to(root)}
    return [*_folders(used, root), *_slices(cases, read)]


def _folders(used: set[Path], root: Path) -> Iterator[Path]:
    several: dict[Path, int] = {}
    for folder in used - {root}:
        several[folder.parent] = several.get(folder.parent, 0) + 1
    for container in sorted(folder for folder, number in several.items() if number > 1):
        for path in listing(container):
            if path not in used and isdir(path) and _holds_images(path):
                yield path


def _holds_images(folder: Path) -> bool:
    return any(name.lower().endswith((*NIFTI, *SUFFIXES)) for _, _, names in os.walk(folder) for name in names)


def _slices(cases: Iterable[Case], read: set[Path]) -> Iterator[Path]:
    folders = {case.image[0].path.parent for case in cases if not isinstance(case.image, FileRef)}
    return (path for folder in sorted(folders) for path in files(folder, SUFFIXES) if path not in read)
