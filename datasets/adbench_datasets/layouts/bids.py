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

LESION = re.compile(
    r"(?:T1|T2|FLAIR|DWI|MS|WM|stroke)?lesions?|L|WM[HL]s?|tumou?rs?|stroke|infarcts?|ha?emorrhages?|bleeds?",
    re.IGNORECASE,
)
"""What label or desc of a lesion mask is; L is BIDS's own word."""
OTHER = re.compile(
    r"brain|head|skull|scalp|(?:de)?face|ribbon|BG|[CS]?GM|SCGM|(?:NA)?WM|CSF|BS|CBM|B|ST|NB", re.IGNORECASE
)
"""What it is of other masks, most of them BIDS's own words; of one named otherwise nobody knows what it shows."""
NAMED_LESION = re.compile(r"lesions?_(?:mask|roi|dseg|seg)\.|_lesions?\.", re.IGNORECASE)
READ = re.compile(r"_(?:mask|roi|dseg)\.nii(?:\.gz)?$", re.IGNORECASE)
BRAIN = re.compile(r"_(?:label|desc)-brain_mask\.nii(?:\.gz)?$|_brainmask\.nii(?:\.gz)?$", re.IGNORECASE)
MASK = re.compile(r"_mask\.nii(?:\.gz)?$", re.IGNORECASE)
ANY_MASK = re.compile(r"_(?:mask|roi)\.", re.IGNORECASE)
MAY_BE_MASK = re.compile(
    r"mask|roi|seg|segmentation|labels?|annot\w*|\w*(?:lesion|wmh|tumou?r|stroke|infarct|manual)\w*", re.IGNORECASE
)
"""The last word of a name."""
OWN_SPACES = ("orig", "individual", "scanner", "native")
"""Where a mask lies on its raw image, beside that image's own contrast or space; all others are elsewhere."""
TELLING = ("ses", "acq", "run", "rec", "ce", "dir")
"""Entities that tell two images of a subject apart."""
NO_ANATOMY = ("func", "dwi", "fmap", "perf", "eeg", "meg", "pet")
CONTRASTS = {"flair": ("FLAIR",), "t1w": ("T1", "T1c"), "t2w": ("T2",), "pdw": ("PD",)}
"""Suffix in lower case -> what it may be a contrast of."""
PREPARED = ("ce", "acq", "rec", "desc", "space")
"""Entities that say how an image was made."""
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
    subjects = _subjects(place)
    found, every = [], []
    for subject in subjects:
        _check_anat(subject, suffix)
        sessions = [path for path in listing(subject) if path.name.startswith("ses-")]
        for folder in (subject, *sessions):
            here = _images_in(folder / "anat", suffix)
            every += files(folder / "anat")
            for path in here:
                _check_folder(path, place)
            if here:
                found.append(_chosen(here, entity))
    derivatives = place / "derivatives"
    inside = [path for path in _of_subjects(place) if path.is_relative_to(derivatives)] if subjects else []
    derived = [path for path in inside if _is_lesion(path) or BRAIN.search(path.name)]
    _check_strays(derived, every, place)
    for image in found:
        subject_name = image.relative_to(place).parts[0]
        lesion, brain = _one([mask for mask in derived if _belongs(mask, image, place)], image)
        yield Found(subject_name, _session(image, subject_name), image, lesion, brain)


def unlike(found: Sequence[Found]) -> dict[str, list[str]]:
    """Entity that only some of the images have, or in which they differ -> its values, "" for none of it."""
    named = [_entities(each.image.name) for each in found]
    values = {key: sorted({entities.get(key, "") for entities in named}) for key in PREPARED}
    return {key: some for key, some in values.items() if len(some) > 1}


def _subjects(place: Path) -> list[Path]:
    folders = [path for path in listing(place) if path.name.lower().startswith("sub-") and isdir(path)]
    for path in folders:
        if not path.name.startswith("sub-"):
            raise DataError(f"Folders of subjects are named sub-..., but {path} is not: rename it.")
    return folders


def _check_anat(subject: Path, suffix: str) -> None:
    """Raise DataError where an image of a subject lies elsewhere than in anat."""
    named = re.compile(rf"_{suffix}\.nii", re.IGNORECASE)
    for folder, inner, names in os.walk(subject):
        inner[:] = [name for name in inner if not name.startswith(".")]
        stray = sorted(name for name in names if named.search(name) and not name.startswith("."))
        session = Path(folder).parent
        in_session = session == subject or (session.parent == subject and session.name.startswith("ses-"))
        if stray and not (in_session and Path(folder).name == "anat"):
            raise DataError(
                f"Images of BIDS lie in sub-*/[ses-*/]anat, but {Path(folder) / stray[0]} does not: move it."
            )


def _images_in(anat: Path, suffix: str) -> list[Path]:
    named = [path for path in listing(anat) if re.search(rf"_{suffix}\.", path.name, re.IGNORECASE)]
    read = [path for path in files(anat) if path in named]
    other = [path for path in named if path not in read and path.suffix.lower() not in (".json", ".tsv", ".txt")]
    if other:
        raise DataError(f"Images of BIDS are .nii or .nii.gz, but {other[0]} is not: convert it.")
    return read


def _chosen(here: Sequence[Path], entity: str | None) -> Path:
    if entity is not None and len(here) == 1 and entity.partition("-")[0] not in _entities(here[0].name):
        return here[0]  # such as an image of one run, which need not be numbered
    fit = [path for path in here if entity is None or f"_{entity}_" in path.name]
    if len(fit) != 1:
        among = f"of {some_names(here)}" + (f", {len(fit)} have {entity}" if entity else "")
        raise DataError(
            f"One image a session is needed, but {among}: choose by --set data.entity=..., such as acq-3d or run-1, or "
            "keep one."
        )
    return fit[0]


def of_no_image(place: Path, found: Sequence[Found]) -> list[Path]:
    """What may be lesion masks of none of the images, where those of the session have none either: of another contrast,
    in another space, or named as nobody knows what."""
    read = {each.lesion for each in found if each.lesion}
    drawn = {_inside(mask, place) for mask in read}
    return [mask for mask in _masks(place) if mask not in read and _inside(mask, place) not in drawn]


def _masks(place: Path) -> list[Path]:
    """All files of subjects that show a lesion by their names, or may."""
    return [path for path in _of_subjects(place) if _is_lesion(path) or _is_unclear(path)]


def _of_subjects(place: Path) -> Iterator[Path]:
    """All files below a folder of a subject, hidden ones left out, wherever it lies."""
    for folder, inner, names in os.walk(place):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if any(part.startswith("sub-") for part in Path(folder).relative_to(place).parts):
            yield from (Path(folder) / name for name in sorted(names) if not name.startswith("."))
        else:
            yield from (Path(folder) / name for name in sorted(names) if name.startswith("sub-"))


def _shown(mask: Path) -> list[str]:
    """What a file says that it shows: its label and its desc."""
    named = _entities(mask.name.split(".")[0])
    return [named[key] for key in ("label", "desc") if key in named]


def _is_lesion(mask: Path) -> bool:
    """Whether a file names a lesion, or is a mask of nothing that it names, beside images of anatomy."""
    shown = _shown(mask)
    plain = ANY_MASK.search(mask.name) and not shown and mask.parent.name not in NO_ANATOMY
    named = NAMED_LESION.search(mask.name) or any(map(LESION.fullmatch, shown))
    return bool(plain or named) and mask.suffix.lower() not in SIDECARS


def _is_read(mask: Path) -> bool:
    """Whether a lesion mask is of a type that is read: where it names nothing, only a `_mask` is."""
    return bool((READ if _shown(mask) else MASK).search(mask.name))


def _is_on(mask: Path, image: Path) -> bool:
    """Whether a mask lies in the space of its raw image."""
    ours, theirs = _entities(image.name), _entities(mask.name)
    contrast = image.name.split(".")[0].rpartition("_")[2]
    return theirs.get("space") in (None, ours.get("space"), contrast, *OWN_SPACES)


def _is_unclear(mask: Path) -> bool:
    """Whether a file is a mask beside images of anatomy of what is neither a lesion nor tissue by its name."""
    last = mask.name.split(".")[0].rpartition("_")[2]
    of_anatomy = MAY_BE_MASK.fullmatch(last) and mask.parent.name not in NO_ANATOMY
    known = any(map(OTHER.fullmatch, _shown(mask))) or BRAIN.search(mask.name)
    return bool(of_anatomy) and not known and mask.suffix.lower() not in SIDECARS


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
        if not _is_read(mask):
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
    brains = [mask for mask in masks if BRAIN.search(mask.name) and _is_on(mask, image)]
    here = [mask for mask in masks if _is_lesion(mask) and _is_read(mask) and _is_on(mask, image)]
    lesions = [mask for mask in here if _shown(mask)] or here
    if len(lesions) > 1:
        raise DataError(
            f"One lesion mask an image is needed, but {image.name} has {len(lesions)}: {some_names(lesions)}. Name the "
            "right one *_label-lesion_mask.nii.gz, and move the others out of derivatives."
        )
    return (lesions[0] if lesions else None), (brains[0] if brains else None)


def _session(image: Path, subject: str) -> str:
    """What tells the images of a subject apart: all entities but the subject."""
    return image.name.split(".")[0].removeprefix(f"{subject}_")
