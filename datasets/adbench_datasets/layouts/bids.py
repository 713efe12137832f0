"""Images and masks of a BIDS dataset, found by name; its metadata are not read.

Raw images lie in `sub-*/[ses-*/]anat`, and masks of them in `derivatives`; what names a lesion elsewhere is named, not
read. A mask belongs to an image of the same subject, session and folder, unless the two name different acquisitions or
runs, or the mask another subject or session than its folder. A `_dseg` is a map of
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
from adbench_datasets.layouts.discovery import SIDECARS, check_owner, files, listing, some_names

NAMED_LESION = re.compile(r"_(?:label|desc)-lesions?_|lesions?_(?:mask|roi|dseg|seg)\.|_lesions?\.", re.IGNORECASE)
LESION = re.compile(r"_(?:label|desc)-lesions?_(?:mask|roi|dseg)\.nii(?:\.gz)?$", re.IGNORECASE)
BRAIN = re.compile(r"_(?:label|desc)-brain_mask\.nii(?:\.gz)?$|_brainmask\.nii(?:\.gz)?$", re.IGNORECASE)
MASK = re.compile(r"_mask\.nii(?:\.gz)?$", re.IGNORECASE)
ANY_MASK = re.compile(r"_mask\.", re.IGNORECASE)
OF_SOMETHING = re.compile(r"_(?:label|desc)-", re.IGNORECASE)
TELLING = ("ses", "acq", "run", "rec", "ce", "dir")
"""Entities that tell two images of a subject apart."""
NO_ANATOMY = ("func", "dwi", "fmap", "perf", "eeg", "meg", "pet")
OWNER = ("sub", "ses")
"""Entities that a mask may not name otherwise than its image."""


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
            for path in here:
                _check_folder(path, place)
            if here:
                found.append(_chosen(here, entity))
    derived = [mask for mask in _masks(place) if mask.is_relative_to(place / "derivatives")] if subjects else []
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


def of_no_image(place: Path, found: Sequence[Found]) -> list[Path]:
    """Lesion masks of none of the images, where those of the session have none either: of another contrast, say."""
    read = {each.lesion for each in found if each.lesion}
    drawn = {_inside(mask, place) for mask in read}
    return [
        mask for mask in _masks(place) if _is_lesion(mask) and not {mask} & read and _inside(mask, place) not in drawn
    ]


def _masks(place: Path) -> list[Path]:
    """All files of subjects that are masks by their names, or name a lesion."""
    masks = []
    for folder, inner, names in os.walk(place):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for path in (Path(folder) / name for name in sorted(names)):
            of_subject = any(part.startswith("sub-") for part in path.relative_to(place).parts)
            if of_subject and (_is_lesion(path) or BRAIN.search(path.name) or MASK.search(path.name)):
                masks.append(path)
    return masks


def _is_lesion(mask: Path) -> bool:
    """Whether a file names a lesion, or is a mask of nothing that it names, beside images of anatomy."""
    plain = ANY_MASK.search(mask.name) and not OF_SOMETHING.search(mask.name) and mask.parent.name not in NO_ANATOMY
    return bool(plain or NAMED_LESION.search(mask.name)) and mask.suffix.lower() not in SIDECARS


def _inside(path: Path, place: Path) -> tuple[str, ...]:
    """Subject, session and folder of a file, wherever they begin."""
    parts = path.relative_to(place).parent.parts
    start = next((i for i, part in enumerate(parts) if part.startswith("sub-")), len(parts))
    return parts[start:]


def _check_folder(image: Path, place: Path) -> None:
    """Raise DataError where an image is named as of another subject or session than its folder."""
    named, folders = _entities(image.name), _entities("_".join(_inside(image, place)))
    for key in OWNER:
        if key in named and key in folders:
            check_owner(image, f"{key}-{named[key]}", f"{key}-{folders[key]}")


def _entities(name: str) -> dict[str, str]:
    return dict(part.split("-", 1) for part in name.split("_") if "-" in part)


def _belongs(mask: Path, image: Path, place: Path) -> bool:
    if _inside(mask, place) != image.relative_to(place).parent.parts:
        return False
    ours, theirs = _entities(image.name), _entities(mask.name)
    if any(theirs.get(key) not in (None, ours.get(key)) for key in OWNER):
        return False
    return all(ours[key] == theirs[key] for key in TELLING if key in ours and key in theirs)


def _check_strays(derived: Sequence[Path], every: Sequence[Path], place: Path) -> None:
    """Raise DataError for a mask of a lesion that is not read, or that no image has."""
    for mask in derived:
        if not _is_lesion(mask):
            continue
        if not (LESION.search(mask.name) or (MASK.search(mask.name) and not OF_SOMETHING.search(mask.name))):
            raise DataError(
                f"A lesion mask is *_label-lesion_mask.nii.gz (or _roi, _dseg), but {mask} is not: rename it."
            )
        if not any(_belongs(mask, image, place) for image in every):
            where = "/".join(_inside(mask, place)) or "sub-*/anat"
            raise DataError(
                f"A lesion mask lies in derivatives/.../{where} as its image does in sub-*/[ses-*/]anat, but no image "
                f"is there for {mask}: move it to its subject and session."
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
