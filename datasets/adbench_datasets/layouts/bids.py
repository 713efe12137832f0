"""Images and masks of a BIDS dataset, found by name; its metadata are not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from os.path import isdir
from pathlib import Path

from adbench.errors import DataError
from adbench_datasets.layouts.discovery import files, listing

LESION = re.compile(r"_(?:label|desc)-lesions?_(?:mask|roi)\.nii")
BRAIN = re.compile(r"_(?:label|desc)-brain_mask\.nii|_brainmask\.nii")
MASK = re.compile(r"_mask\.nii")


@dataclass(frozen=True)
class Found:
    """One image with its masks, None where there is none."""

    subject: str
    session: str
    image: Path
    lesion: Path | None
    brain: Path | None


def images(place: Path, suffix: str) -> Iterator[Found]:
    """All `sub-*/[ses-*/]anat/*_<suffix>.nii[.gz]` with masks from `derivatives`.

    Raises DataError where it is not clear which mask is the lesion.
    """
    subjects = [path for path in listing(place) if path.name.startswith("sub-") and isdir(path)]
    derivatives = _derivatives(place) if subjects else []
    for subject in subjects:
        sessions = [path for path in listing(subject) if path.name.startswith("ses-")]
        for folder in (subject, *sessions):
            inside = (folder / "anat").relative_to(place)
            for image in files(folder / "anat"):
                if re.search(rf"_{suffix}\.nii(\.gz)?$", image.name):
                    masks = _of(image, [mask for root in derivatives for mask in files(root / inside)])
                    lesion, brain = _one(masks, image)
                    yield Found(subject.name, _session(image, subject.name), image, lesion, brain)


def _derivatives(place: Path) -> list[Path]:
    """Every folder below `derivatives` that holds folders of subjects, and `derivatives` itself."""
    top = place / "derivatives"
    pipelines = [path for path in listing(top) if isdir(path) and not path.name.startswith("sub-")]
    below = [path for pipeline in pipelines for path in listing(pipeline) if isdir(path)]
    return [top, *pipelines, *(path for path in below if not path.name.startswith("sub-"))]


def _of(image: Path, masks: list[Path]) -> list[Path]:
    """Masks of this image's run, where the image names one."""
    run = re.search(r"_run-\d+_", image.name)
    return [mask for mask in masks if run is None or run[0] in mask.name]


def _one(masks: list[Path], image: Path) -> tuple[Path | None, Path | None]:
    """The lesion and the brain mask of an image."""
    brains = [mask for mask in masks if BRAIN.search(mask.name)]
    lesions = [mask for mask in masks if LESION.search(mask.name)]
    lesions = lesions or [mask for mask in masks if MASK.search(mask.name) and mask not in brains]
    if len(lesions) > 1:
        names = ", ".join(str(mask) for mask in lesions[:3])
        raise DataError(
            f"One lesion mask an image is needed, but {image.name} has {len(lesions)}: {names}. Name the right one "
            "*_label-lesion_mask.nii.gz, and move the others out of derivatives."
        )
    return (lesions[0] if lesions else None), (brains[0] if brains else None)


def _session(image: Path, subject: str) -> str:
    """What tells the images of a subject apart: all entities but the subject."""
    return image.name.split(".")[0].removeprefix(f"{subject}_")
