"""Images and masks of a BIDS dataset, found by name; its metadata are not read.

Raw images lie in `sub-*/[ses-*/]anat`; what lies in `derivatives` is only looked at for masks. A mask belongs to an
image of the same subject, session and folder, unless the two name different acquisitions or runs. A `_dseg` is a map of
tissue as a rule, so it is a lesion mask only where it is named so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os.path import isdir
from pathlib import Path

from adbench.errors import DataError
from adbench_datasets.layouts.discovery import files, listing, some_names

NAMED_LESION = re.compile(r"_(?:label|desc)-lesions?_", re.IGNORECASE)
LESION = re.compile(r"_(?:label|desc)-lesions?_(?:mask|roi|dseg)\.nii(?:\.gz)?$", re.IGNORECASE)
BRAIN = re.compile(r"_(?:label|desc)-brain_mask\.nii(?:\.gz)?$|_brainmask\.nii(?:\.gz)?$", re.IGNORECASE)
MASK = re.compile(r"_mask\.nii(?:\.gz)?$", re.IGNORECASE)
OF_SOMETHING = re.compile(r"_(?:label|desc)-", re.IGNORECASE)
TELLING = ("ses", "acq", "run", "rec", "ce", "dir")
"""Entities that tell two images of a subject apart."""


@dataclass(frozen=True)
class Found:
    """One image with its masks, None where there is none."""

    subject: str
    session: str
    image: Path
    lesion: Path | None
    brain: Path | None


def images(place: Path, suffix: str, entity: str | None = None) -> Iterator[Found]:
    """The one `sub-*/[ses-*/]anat/*_<suffix>.nii[.gz]` of each session, with its masks from `derivatives`.

    `entity`, such as acq-3d, chooses among several. Raises DataError where it is not clear which image or which mask is
    meant, where a mask of a lesion belongs to no image, and where an image is of a type that is not read.
    """
    subjects = [path for path in listing(place) if path.name.startswith("sub-") and isdir(path)]
    found, every = [], []
    for subject in subjects:
        sessions = [path for path in listing(subject) if path.name.startswith("ses-")]
        for folder in (subject, *sessions):
            here = _images_in(folder / "anat", suffix)
            every += files(folder / "anat")
            if here:
                found.append(_chosen(here, entity))
    derived = _derived(place, {subject.name for subject in subjects}) if subjects else []
    _check_strays(derived, every, place)
    for image in found:
        subject_name = image.relative_to(place).parts[0]
        lesion, brain = _one([mask for mask in derived if _belongs(mask, image, place)], image)
        yield Found(subject_name, _session(image, subject_name), image, lesion, brain)


def _images_in(anat: Path, suffix: str) -> list[Path]:
    named = [path for path in listing(anat) if re.search(rf"_{suffix}\.", path.name, re.IGNORECASE)]
    read = [path for path in files(anat) if path in named]
    other = [path for path in named if path not in read and path.suffix.lower() not in (".json", ".tsv", ".txt")]
    if other:
        raise DataError(f"Images of BIDS are .nii or .nii.gz, but {other[0]} is not: convert it.")
    return read


def _chosen(here: Sequence[Path], entity: str | None) -> Path:
    fit = [path for path in here if entity is None or f"_{entity}_" in path.name]
    if len(fit) != 1:
        among = f"of {some_names(here)}" + (f", {len(fit)} have {entity}" if entity else "")
        raise DataError(
            f"One image a session is needed, but {among}: choose by --set data.entity=..., such as acq-3d or run-1, or "
            "keep one."
        )
    return fit[0]


def _derived(place: Path, subjects: set[str]) -> list[Path]:
    """All files below `derivatives` that are masks by their names, or name a lesion."""
    masks = []
    for folder, inner, names in os.walk(place / "derivatives"):
        inner.sort()
        path = Path(folder)
        if subjects & set(path.parts) or any(part.startswith("sub-") for part in path.parts):
            masks += [path / name for name in sorted(names) if MASK.search(name) or NAMED_LESION.search(name)]
            masks += [path / name for name in sorted(names) if BRAIN.search(name) and not MASK.search(name)]
    return [mask for mask in masks if mask.suffix.lower() not in (".json", ".tsv")]


def _inside(path: Path) -> tuple[str, ...]:
    """Subject, session and folder of a file, wherever they begin."""
    parts = path.parent.parts
    start = next((i for i, part in enumerate(parts) if part.startswith("sub-")), len(parts))
    return parts[start:]


def _entities(name: str) -> dict[str, str]:
    return dict(part.split("-", 1) for part in name.split("_") if "-" in part)


def _belongs(mask: Path, image: Path, place: Path) -> bool:
    if _inside(mask) != image.relative_to(place).parent.parts:
        return False
    ours, theirs = _entities(image.name), _entities(mask.name)
    return all(ours[key] == theirs[key] for key in TELLING if key in ours and key in theirs)


def _check_strays(derived: Sequence[Path], every: Sequence[Path], place: Path) -> None:
    """Raise DataError for a mask of a lesion that is not read, or that no image has."""
    for mask in derived:
        if not NAMED_LESION.search(mask.name):
            continue
        if not LESION.search(mask.name):
            raise DataError(
                f"A lesion mask is *_label-lesion_mask.nii.gz (or _roi, _dseg), but {mask} is not: rename it."
            )
        if not any(_belongs(mask, image, place) for image in every):
            raise DataError(
                f"A lesion mask lies in derivatives/.../{'/'.join(_inside(mask)) or 'sub-*/anat'} as its image does in "
                f"sub-*/[ses-*/]anat, but no image is there for {mask}: move it to its subject and session."
            )


def _one(masks: list[Path], image: Path) -> tuple[Path | None, Path | None]:
    """The lesion and the brain mask of an image."""
    brains = [mask for mask in masks if BRAIN.search(mask.name)]
    lesions = [mask for mask in masks if LESION.search(mask.name)]
    lesions = lesions or [mask for mask in masks if MASK.search(mask.name) and not OF_SOMETHING.search(mask.name)]
    lesions = [mask for mask in lesions if mask not in brains]
    if len(lesions) > 1:
        raise DataError(
            f"One lesion mask an image is needed, but {image.name} has {len(lesions)}: {some_names(lesions)}. Name the "
            "right one *_label-lesion_mask.nii.gz, and move the others out of derivatives."
        )
    return (lesions[0] if lesions else None), (brains[0] if brains else None)


def _session(image: Path, subject: str) -> str:
    """What tells the images of a subject apart: all entities but the subject."""
    return image.name.split(".")[0].removeprefix(f"{subject}_")
