"""What lies among the files of a set and is not read: what is named otherwise would be lost unseen."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from os.path import isdir
from pathlib import Path

from adbench.errors import DataError
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.imaging.pictures import SUFFIXES
from adbench_datasets.layouts.bids import NO_ANATOMY
from adbench_datasets.layouts.discovery import LEFT_BY_SYSTEMS, NIFTI, files, listing
from adbench_datasets.layouts.subjects import refs_of

PARTS = ("image", "lesion", "brain")
ANY = (*NIFTI, *SUFFIXES)
MASK = re.compile(
    r"(?<![a-z])(?:lesions?|(?:lesion)?segs?|segm(?:entations?)?|masks?|labels?|roi|consensus|gold|gt|"
    r"ground[-_ ]?truths?)(?![a-z])|(?<![a-z])(?:tumou?rs?|wmh|infarcts?|bleeds?|ha?emorrhages?)\.",
    re.IGNORECASE,
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


def check_healthy(healthy: Iterable[Case], cases: Sequence[Case], root: Path) -> None:
    """Raise DataError where an image without a mask that the user calls healthy has what may be its mask beside it.

    That is: in its folder, anywhere in a folder below `root` that holds no other case, or in a folder of masks beside.
    """
    read = _read(cases)
    used = {folder for path in read for folder in path.parents}
    alone = Counter(folder for case in cases for folder in refs_of(case.image)[0].path.parents)
    for folder, image in {refs_of(case.image)[0].path.parent: refs_of(case.image)[0] for case in healthy}.items():
        own = [each for each in (folder, *folder.parents) if each.is_relative_to(root) and alone[each] == 1]
        found = list(_below(own[-1])) if own and own[-1] != root else files(folder, ANY)
        beside = listing(folder.parent) if folder != root else []
        folders = (path for path in beside if path not in used and _is_mask(path) and isdir(path))
        for path in (*found, *filter(_holds_images, folders)):
            if path not in read and _is_mask(path) and path.parent.name not in NO_ANATOMY:
                raise DataError(
                    f"An image that has no mask is not healthy because data.unmatched says so where a mask lies beside "
                    f"it, but {path} may be that of {image}: name it as the layout does, or move it away."
                )


def _is_mask(path: Path) -> bool:
    return bool(MASK.search(path.name if path.suffix else f"{path.name}.")) and not NO_LESION.search(path.name)


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
    return next(_below(folder), None) is not None


def _below(folder: Path) -> Iterator[Path]:
    """Images in a folder and in those within."""
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith(".") and name not in LEFT_BY_SYSTEMS)
        yield from (
            Path(place, name) for name in sorted(names) if name.lower().endswith(ANY) and not name.startswith(".")
        )


def _images(cases: Iterable[Case], read: set[Path]) -> Iterator[Path]:
    subjects: dict[Path, set[str]] = {}
    for case in cases:
        of_slices = [] if isinstance(case.image, FileRef) else ["slices"]
        subjects.setdefault(refs_of(case.image)[0].path.parent, set()).update([case.subject, *of_slices])
    several = sorted(folder for folder, members in subjects.items() if len(members) > 1)
    return (path for folder in several for path in files(folder, ANY) if path not in read)
