"""New scans that a trained model is used on: found among a user's files, read, and cut as those of the set.

A path is a NIfTI file, a picture (one slice), a BIDS root, or a folder, which is looked through to a depth of 6, links
too: each NIfTI file is a scan, the pictures of one folder are the slices of one, from the feet up by natural order of
their names, and DICOM files are parted into series. Damaged DICOM files are a scan that cannot be prepared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from os.path import isdir, isfile, realpath
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adbench.contracts.scans import NewScan, Preparation, PreparedScan
from adbench.errors import DataError
from adbench_datasets.imaging import preprocessing
from adbench_datasets.imaging.cases import Case, FileRef, Scan
from adbench_datasets.imaging.dicom import MODALITIES, Series, find_series, read_series
from adbench_datasets.imaging.dicom_search import dicom_among
from adbench_datasets.imaging.files import CaseError
from adbench_datasets.imaging.grids import to_source
from adbench_datasets.imaging.pictures import SUFFIXES, is_picture, many_channels
from adbench_datasets.imaging.preprocessing import prepare
from adbench_datasets.imaging.preprocessing_config import PreprocessingConfig
from adbench_datasets.imaging.reading import as_scan, check_values, read_case
from adbench_datasets.imaging.region import Units, check_units, region_of
from adbench_datasets.imaging.scan_views import SlicedScan
from adbench_datasets.imaging.traits import traits_of
from adbench_datasets.layouts import bids
from adbench_datasets.layouts.discovery import NIFTI, files, listing, stem

DEPTH = 6
RESERVED = ("predictions.csv", "dataset_description.json")
"""Names of files that are written beside the folders of scans."""
DAMAGED = "damaged"
"""Name of DICOM files of which no series is known."""
FEW_VALUES = 10
"""A scan with no more whole values than this, from 0 on, is a map of labels."""
CONTRASTS = {
    "FLAIR": re.compile(r"(?<![a-z0-9])(flair|t2f)(?![a-z0-9])", re.IGNORECASE),
    "T1": re.compile(r"(?<![a-z0-9])(t1|t1w|t1n|t1c|t1ce|t1gd|mprage)(?![a-z0-9])", re.IGNORECASE),
    "T2": re.compile(r"(?<![a-z0-9])(t2|t2w)(?![a-z0-9])", re.IGNORECASE),
}
"""Of MRI, as names of files say it."""


def preparation(config: PreprocessingConfig, version: str, modality: str) -> Preparation:
    """The steps of `preprocessing.prepare` with this config."""
    scale = f"percentiles {config.lower_percentile:g} and {config.upper_percentile:g} of the region become 0 and 1"
    if modality == "CT":
        scale = f"window {config.window_centre_hu:g} +- {config.window_width_hu / 2:g} HU becomes 0 to 1"
    fit = f"{config.fov_mm:g} mm to {config.size} pixels, or the whole slice where its pixels have no known size"
    pixel = {"fit": fit, "keep": "as stored"}.get(str(config.spacing_mm), f"{config.spacing_mm} mm")
    step = "each one" if config.slice_step_mm is None else f"one about every {config.slice_step_mm:g} mm"
    return Preparation(
        version=f"{version}.{preprocessing.VERSION}",
        steps=(
            "orientation: axes swapped and flipped to right, front, up (RAS+)",
            "region: the brain or head, by its mask or found against the air",
            f"intensities: {scale}; 0 outside the region",
            f"slices: axial, {step}, with {config.min_area_fraction:g} of the largest slice's region or more",
            f"pixels: {pixel}; bilinear, cropped or padded to {config.size} x {config.size} about the region",
        ),
    )


def find(paths: Sequence[Path], suffix: str, entity: str | None) -> list[NewScan]:
    """The scans below some paths, each with a name of its own. Raises DataError where a path holds none."""
    loose = dicom_among([path for path in paths if isfile(path) and not _is_named(path)])
    found: list[NewScan] = []
    for path in paths:
        here = [] if path in loose else list(_below(path, suffix, entity))
        if not here and path not in loose:
            raise DataError(
                f"A scan is NIfTI, a picture ({', '.join(SUFFIXES)}), DICOM, or a folder of these, but {path} is none "
                "and holds none. Name the scan itself."
            )
        found += here
    return _named([*found, *map(_series, find_series(loose))])


def _is_named(path: Path) -> bool:
    """Whether a file is NIfTI or a picture by its name."""
    return path.name.lower().endswith((*NIFTI, *SUFFIXES))


def _below(path: Path, suffix: str, entity: str | None) -> Iterator[NewScan]:
    if isfile(path):
        yield from _file(path)
    elif not isdir(path):
        raise DataError(f"A scan must exist, but there is no {path}: correct the path.")
    elif any(entry.name.startswith("sub-") and isdir(entry) for entry in listing(path)):
        for each in bids.images(path, suffix, entity):
            brain = None if each.brain is None else FileRef(each.brain)
            case = Case(stem(each.image), FileRef(each.image), lesion_free=True, brain=brain)
            files_of = [each.image, *([each.brain] if each.brain else [])]
            name = each.image.relative_to(path).with_name(stem(each.image).rpartition("_")[0])
            yield NewScan(stem(each.image), files_of, case, bids=name.as_posix())
    else:
        yield from _folder(path)


def _file(path: Path) -> Iterator[NewScan]:
    if _is_named(path):
        ref = FileRef(path)
        image = [ref] if is_picture(ref) else ref
        yield NewScan(stem(path), [path], Case(stem(path), image, lesion_free=True))


def _folder(path: Path) -> Iterator[NewScan]:
    dicom: list[Path] = []
    for folder in _folders(path, DEPTH, set()):
        for volume in files(folder):
            yield from _file(volume)
        if pictures := files(folder, SUFFIXES):
            yield NewScan("pictures", pictures, Case("pictures", [FileRef(p) for p in pictures], lesion_free=True))
        dicom += dicom_among([p for p in files(folder, ("",)) if not _is_named(p)])
    yield from map(_series, find_series(dicom))


def _folders(path: Path, depth: int, met: set[str]) -> Iterator[Path]:
    """A folder and all below it, each once, wherever links lead. Raises DataError where some lie too deep."""
    if realpath(path) in met:
        return
    met.add(realpath(path))
    yield path
    for entry in filter(isdir, listing(path)):
        if not depth:
            raise DataError(
                f"Folders are looked through to a depth of {DEPTH}, but {entry} lies deeper: name it itself."
            )
        yield from _folders(entry, depth - 1, met)


def _series(series: Series) -> NewScan:
    if not series.told:
        return NewScan(DAMAGED, sorted(series.files), series)
    return NewScan("series", sorted(series.files), series, candidate=series.told)


def _named(scans: Sequence[NewScan]) -> list[NewScan]:
    """Names as folders: plain characters, and a number where the name is not a file's or is there before."""
    named: list[NewScan] = []
    taken = set(RESERVED)
    for scan in scans:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", scan.name).strip("-.") or "scan"
        numbered = scan.candidate is not None or scan.name in ("pictures", DAMAGED)
        numbers = count(1 if numbered else 2)
        name = f"{plain}-{next(numbers)}" if numbered else plain
        while name.lower() in taken:
            name = f"{plain}-{next(numbers)}"
        taken.add(name.lower())
        named.append(replace(scan, name=name))
    return named


@dataclass(frozen=True)
class Reader:
    """Reads new scans as a set reads its own."""

    modality: str
    """MRI or CT."""
    card: str
    """The modality as the set's card says it, with the contrast."""
    channel: int | None
    units: Callable[[Case], Units]

    def prepared(self, new: NewScan, config: PreprocessingConfig, force: bool) -> PreparedScan:
        """Read a scan and cut it into slices. Raises DataError; what `force` lets through is a caution."""
        scan, units = self._read(new, force)
        forced: list[str] = []
        try:
            self._check_modality(new, scan)
            check_units(scan, units)
        except DataError as error:
            if not force:
                raise
            forced.append(f"forced: {_without_name(error, scan)}")
            if units == "mri" and scan.image.min() < 0:
                scan = replace(scan, image=scan.image - scan.image.min())
                forced.append("forced: the lowest value is taken for 0")
        region = region_of(scan, units)
        made = prepare(scan, config, units, region)
        z, sized = made.placement.z, scan.spacing_mm is not None
        with_region = replace(scan, brain=region)  # not to be found again
        view = SlicedScan(new.name, new.name, np.arange(len(z)), z, made.placement, lambda: (with_region, units), sized)
        return PreparedScan(
            images=made.images,
            brains=made.brains,
            view=view,
            slices=z,
            anatomy=scan.image,
            stored=lambda array: to_source(array, scan),
            traits=traits_of(scan, units, region),
            cautions=[*forced, *self._contrast(new), *self._unknown(new), *_doubt(new), *scan.notes],
        )

    def _read(self, new: NewScan, force: bool) -> tuple[Scan, Units]:
        if isinstance(new.source, Series):
            image = read_series(new.source)
            check_values(image)
            units = self.units(Case(new.name, FileRef(new.source.files[0]), lesion_free=True))
            if units == "grey":
                raise CaseError(image.name, "the model is of windowed grey values, and DICOM is in HU. Window it.")
            return as_scan(image, new.name), units
        case: Case = new.source
        root = _root_of(new.files)
        first = _first(case)
        coloured = is_picture(first) and many_channels(first, root)
        return read_case(case, root, self.channel if coloured else None, first_volume=force), self.units(case)

    def _check_modality(self, new: NewScan, scan: Scan) -> None:
        """Raise DataError where the file says another modality, or the image is a map of labels."""
        said = MODALITIES.get(new.source.modality) if isinstance(new.source, Series) else self.modality
        if said != self.modality:
            raise CaseError(scan.source, f"the model is of {self.modality}, but this series is {said}. Choose another.")
        if _is_labels(scan.image):
            raise CaseError(scan.source, "holds a few whole numbers alone: it is a mask, and no scan. Name the scan.")

    def _contrast(self, new: NewScan) -> list[str]:
        """A caution where the name of the file, or of the series, says another contrast than the set's card."""
        text = (new.candidate or stem(new.files[0])).replace("_", " ")
        ours, theirs = ({name for name, word in CONTRASTS.items() if word.search(of)} for of in (self.card, text))
        if not ours or not theirs or ours & theirs:
            return []
        return [f"the model is of {self.card}, but the name of this scan says {' and '.join(sorted(theirs))}"]

    def _unknown(self, new: NewScan) -> list[str]:
        """A caution where no file says, and no unit of its values shows, what the scan is of."""
        if isinstance(new.source, Series) or not is_picture(_first(new.source)):
            return []
        return [f"the modality of pictures (PNG, JPEG, TIFF) is unknown: nothing checks that they show {self.card}"]


def _doubt(new: NewScan) -> list[str]:
    """A caution where the headers of a series tell of slices that are not there, or of several series."""
    return [new.source.doubt] if isinstance(new.source, Series) and new.source.doubt else []


def _first(case: Case) -> FileRef:
    return case.image if isinstance(case.image, FileRef) else case.image[0]


def _is_labels(image: NDArray[np.float32]) -> bool:
    low, high = float(image.min()), float(image.max())
    return low == 0 and high <= FEW_VALUES and bool((image == np.rint(image)).all())


def _root_of(paths: Sequence[Path]) -> Path:
    """The folder that holds all files of a scan, and where links lead."""
    reals = [Path(realpath(path)) for path in paths]
    return next(parent for parent in reals[0].parents if all(real.is_relative_to(parent) for real in reals))


def _without_name(error: DataError, scan: Scan) -> str:
    what = error.what if isinstance(error, CaseError) else str(error)
    return what.replace(scan.source, "this scan")
