"""What lies among the files of a set and is not read: what is named otherwise would be lost unseen."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from os.path import isdir
from pathlib import Path

from adbench.errors import DataError
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.imaging.pictures import SUFFIXES
from adbench_datasets.layouts.discovery import NIFTI, files, listing
from adbench_datasets.layouts.subjects import refs_of

PARTS = ("image", "lesion", "brain")
ANY = (*NIFTI, *SUFFIXES)
MASK = re.compile(
    r"(?<![a-z])(?:lesions?|(?:lesion)?seg|segm(?:entation)?|masks?|labels?|roi|consensus|gold)(?![a-z])", re.IGNORECASE
)
"""Words in names of masks."""
NO_LESION = re.compile(
    r"(?<![a-z])(?:brain|head|skull|scalp|(?:de)?face|ribbon|GM|WM|CSF)[-_. ]*(?:masks?|roi|seg|labels?)(?![a-z])",
    re.IGNORECASE,
)
"""What they say that they show otherwise."""


def unread(cases: Sequence[Case], root: Path) -> list[Path]:
    """Folders with images beside those of two or more cases; images in a folder of several subjects, or of slices."""
    read = _read(cases)
    used = {folder for path in read for folder in path.parents if folder.is_relative_to(root)}
    return [*_folders(used, root), *_images(cases, read)]


def check_healthy(healthy: Iterable[Case], cases: Sequence[Case]) -> None:
    """Raise DataError where an image without a mask that the user calls healthy has what may be its mask beside it."""
    read = _read(cases)
    for folder, image in {refs_of(case.image)[0].path.parent: refs_of(case.image)[0] for case in healthy}.items():
        for path in files(folder, ANY):
            if path not in read and MASK.search(path.name) and not NO_LESION.search(path.name):
                raise DataError(
                    f"An image that has no mask is not healthy because data.unmatched says so where a mask lies beside "
                    f"it, but {path} may be that of {image}: name it as the layout does, or move it away."
                )


def _read(cases: Iterable[Case]) -> set[Path]:
    return {ref.path for case in cases for part in PARTS for ref in refs_of(getattr(case, part))}


def _folders(used: set[Path], root: Path) -> Iterator[Path]:
    several: dict[Path, int] = {}
    for folder in used - {root}:
        several[folder.parent] = several.get(folder.parent, 0) + 1
    for container in sorted(folder for folder, number in several.items() if number > 1):
        for path in listing(container):
            if path not in used and isdir(path) and _holds_images(path):
                yield path


def _holds_images(folder: Path) -> bool:
    return any(
        name.lower().endswith(ANY) and not name.startswith(".") for _, _, names in os.walk(folder) for name in names
    )


def _images(cases: Iterable[Case], read: set[Path]) -> Iterator[Path]:
    subjects: dict[Path, set[str]] = {}
    for case in cases:
        of_slices = [] if isinstance(case.image, FileRef) else ["slices"]
        subjects.setdefault(refs_of(case.image)[0].path.parent, set()).update([case.subject, *of_slices])
    several = sorted(folder for folder, members in subjects.items() if len(members) > 1)
    return (path for folder in several for path in files(folder, ANY) if path not in read)
