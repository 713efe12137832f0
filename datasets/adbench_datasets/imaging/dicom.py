"""DICOM series of MR and CT by pydicom, as volumes in HU or in the scanner's own units.

Files of one folder are parted into series by what makes them one volume: UID, image type, orientation, echo and moment,
acquisitions by `dicom_acquisitions`, and time points by `dicom_times`. Slices are put in order by their positions along
the normal, never by number or name, and the distance of slices comes from the positions. Refused, since a volume would
be wrong in silence: gaps, two slices at one place, a tilted gantry, pixels of no or negative size, enhanced multi-frame
files and mosaics, inverted grey (MONOCHROME1), colour, and a series that a damaged file beside it may belong to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import ArrayLike, NDArray

from adbench.errors import DataError
from adbench_datasets.imaging import dicom_counts
from adbench_datasets.imaging.dicom_acquisitions import acquisitions
from adbench_datasets.imaging.dicom_pixels import pixels_of
from adbench_datasets.imaging.dicom_times import time_points
from adbench_datasets.imaging.files import MAX_BYTES, CaseError
from adbench_datasets.imaging.grids import Stored
from adbench_datasets.imaging.header_place import VOXEL_MM

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
MAX_UNEVEN = 0.05
"""Largest deviation of a distance between slices from their median, as a fraction."""
MIN_APART_MM = 1e-3
MAX_TILT = 0.01
"""Largest sideways shift of a slice against the one below, as a fraction of their distance: half a degree."""
MAX_TURN = 0.01
"""Slices are of one orientation whose direction cosines differ by less."""
MODALITIES = {"MR": "MRI", "CT": "CT"}
SHARED = ("PatientID", "SeriesNumber")
"""What slices of a series share beside its UID, which anonymisers remove or give to several. Not the UID of its study,
which ITK makes anew for each file unless it is told one."""
OWN_SERIES = (
    "each file names a series of its own (SeriesInstanceUID); they are read as one, since they lie as one volume"
)
"""Said of what ITK writes slice by slice, unless it is told a UID."""
HEADER = (
    *("Modality", "SeriesInstanceUID", "ImageType", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"),
    *("Rows", "Columns", "EchoNumbers", "EchoTime", "AcquisitionNumber", "TemporalPositionIdentifier"),
    *("NumberOfFrames", "PhotometricInterpretation", "SamplesPerPixel", "SeriesDescription", "SliceThickness"),
    *("TriggerTime", "AcquisitionDate", "AcquisitionTime", "SpacingBetweenSlices", "LossyImageCompression"),
    *SHARED,
    *dicom_counts.TAGS,
)


@dataclass(frozen=True)
class Series:
    """Files that make up one volume, in no order."""

    files: tuple[Path, ...]
    modality: str
    told: str
    """What it is, in words, without anything of the person; nothing where all files are damaged."""
    uid: str | None = None
    doubt: str | None = None
    """What its headers tell of files that are not there, though no gap shows it, or that name series of their own."""
    fault: CaseError | None = None
    """Why it cannot be read, where that is known before: a file that may belong to it is damaged."""


@dataclass(frozen=True)
class _Damaged:
    """A file that should be DICOM and cannot be used."""

    path: Path
    uid: str | None
    """Of its series, where it says so."""
    fault: CaseError

    def may_belong_to(self, series: Series) -> bool:
        if self.uid is not None:
            return self.uid == series.uid
        return any(path.parent == self.path.parent for path in series.files)


def find_series(paths: Iterable[Path]) -> list[Series]:
    """Part files into series, in the order of the first of each; files without an image are none.

    A file that cannot be read is the fault of the series that it says it is of, else of all in its folder: without it
    they might lack a slice. Damaged files that no series is there for are one by themselves, folder by folder.

    Raises DataError where pydicom is not installed.
    """
    groups: dict[tuple[Any, ...], list[tuple[Path, Any]]] = {}
    turns: list[NDArray[np.float64]] = []
    damaged: list[_Damaged] = []
    for path in paths:
        header = None
        try:
            header = _read(path, header_only=True)
            if group := _group_of(path, header, turns):
                groups.setdefault(group, []).append((path, header))
        except CaseError as error:
            damaged.append(_Damaged(path, None if header is None else header.get("SeriesInstanceUID"), error))
    of_uid: dict[Any, list[Any]] = {}
    for members in groups.values():
        for _, header in members:
            of_uid.setdefault(header.get("SeriesInstanceUID"), []).append(header)
    lacks = {uid: dicom_counts.lacking(headers) for uid, headers in of_uid.items()}
    own = _of_own_series(groups)
    whole = [replace(series, doubt=lacks[series.uid]) for members in groups.values() for series in _parted(members)]
    whole += [replace(series, doubt=OWN_SERIES) for members in own for series in _parted(members)]
    alone = [each for each in damaged if not any(map(each.may_belong_to, whole))]
    folders = dict.fromkeys(each.path.parent for each in alone)
    found = [_with_fault(series, damaged) for series in whole]
    return [*found, *(_nothing_but([each for each in alone if each.path.parent == folder]) for folder in folders)]


def _of_own_series(groups: dict[tuple[Any, ...], list[tuple[Path, Any]]]) -> list[list[tuple[Path, Any]]]:
    """Take out of the groups files that each name a series of their own, and lie as the slices of one volume."""
    alone: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for group, members in groups.items():
        if len(members) == 1 and group[0]:
            alone.setdefault((members[0][0].parent, *group[1:]), []).append(group)
    return [[groups.pop(one)[0] for one in of] for of in alone.values() if _is_volume([groups[one][0] for one in of])]


def _is_volume(members: Sequence[tuple[Path, Any]]) -> bool:
    """Whether files lie as slices of one distance, few of them missing; of two, that says nothing."""
    first, header = members[0]
    try:
        with _parsed(first):
            positions = np.array([header.ImagePositionPatient for _, header in members], np.float64)
            apart = np.diff(np.sort(positions @ _normal(header.ImageOrientationPatient)))
    except CaseError:
        return False
    if len(apart) < 2 or apart.min() < MIN_APART_MM:
        return False
    steps = apart / np.median(apart)
    return bool((np.abs(steps - np.maximum(1, np.round(steps))) <= MAX_UNEVEN).all())


def _with_fault(series: Series, damaged: Sequence[_Damaged]) -> Series:
    """A series, with the first damaged file that may belong to it as its fault."""
    for each in damaged:
        if each.may_belong_to(series):
            what = (
                f"{each.fault.what} It may be of a series, which would lack a slice: fetch it again, or move it away."
            )
            return replace(series, told=f"{series.told}, with a damaged file", fault=CaseError(each.path, what))
    return series


def _nothing_but(damaged: Sequence[_Damaged]) -> Series:
    """Damaged files of one folder, without anything of their series."""
    return Series(tuple(each.path for each in damaged), "", "", fault=damaged[0].fault)


def _parted(members: Sequence[tuple[Path, Any]]) -> Iterator[Series]:
    """The series of one group: one, or as many as there are acquisitions and time points."""
    for acquisition in acquisitions([header for _, header in members]):
        yield from _points([members[i] for i in acquisition])


def _points(members: Sequence[tuple[Path, Any]]) -> Iterator[Series]:
    """The series of one acquisition: one, or as many as there are time points."""
    points = time_points([header for _, header in members])
    for number, point in enumerate(points, start=1):
        own = [members[i] for i in point]
        when = f", time point {number} of {len(points)}" if len(points) > 1 else ""
        first = own[0][1]
        told = _told([header for _, header in own]) + when
        yield Series(tuple(path for path, _ in own), _modality(first), told, first.get("SeriesInstanceUID"))


def read_series(series: Series) -> Stored:
    """Read a series as one volume (columns, rows, slices), rescaled slice by slice. Raises CaseError."""
    if series.fault is not None:
        raise series.fault
    first = series.files[0]
    headers = [_read(path, header_only=True) for path in series.files]
    for path, header in zip(series.files, headers, strict=True):
        _check(path, header)
    rows, columns, n = int(headers[0].Rows), int(headers[0].Columns), len(headers)
    if rows * columns * n * 4 > MAX_BYTES:
        raise CaseError(first, f"{columns} x {rows} x {n} voxels are more than the limit of {MAX_BYTES} bytes.")
    with _parsed(first):
        affine, order = _place(first, headers)
        notes = tuple(_notes(headers, voxel_sizes(affine)[2]))
    volume = np.empty((columns, rows, n), np.float32, order="F")
    for k, i in enumerate(order):
        path = series.files[i]
        volume[..., k] = pixels_of(path, _read(path, header_only=False), rows, columns).T
    return Stored(str(first), volume, affine, volume.shape, notes=notes)


def _notes(headers: Sequence[Any], apart_mm: float) -> Iterator[str]:
    """What a user should know of a series that can be read."""
    if any(header.get("LossyImageCompression") == "01" for header in headers):
        yield "the series was compressed with loss: fine detail may be gone, or be the compression's own"
    said, thickness = (float(headers[0].get(tag) or 0) for tag in ("SpacingBetweenSlices", "SliceThickness"))
    likely = 0 < thickness <= said  # ITK says 1 mm of whatever slice
    if len(headers) > 1 and likely and abs(apart_mm - said) > MAX_UNEVEN * apart_mm:
        yield f"slices may be missing: they lie {apart_mm:.4g} mm apart, but the files say {said:.4g} mm"


def _read(path: Path, header_only: bool) -> Any:
    try:
        from pydicom import dcmread
    except ImportError as error:
        raise DataError(
            "DICOM is read by pydicom, which is not installed: pip install 'brain-adbench[dicom]', or convert the "
            "series to NIfTI, as dcm2niix does."
        ) from error
    try:
        return dcmread(path, stop_before_pixels=header_only, specific_tags=list(HEADER) if header_only else None)
    except Exception as error:  # of damaged files pydicom raises anything
        raise CaseError(path, f"cannot be read as DICOM ({error}): it is damaged or cut short.") from error


def _is_image(header: Any) -> bool:
    """Whether a file without rows should have them: others are directories, reports and the like."""
    of = getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID")
    return of is None or "Image Storage" in of.name


@contextmanager
def _parsed(path: Path) -> Iterator[None]:
    """Raise CaseError for what a header says in another form than it must."""
    try:
        yield
    except CaseError:
        raise
    except Exception as error:  # of damaged values, too, pydicom raises anything
        raise CaseError(path, f"has a value in its header that cannot be read ({error}).") from error


def _group_of(path: Path, header: Any, turns: list[NDArray[np.float64]]) -> tuple[Any, ...] | None:
    """What tells the series of a file; None where it holds no image. Raises CaseError where it is damaged."""
    if "Rows" not in header or "Columns" not in header:
        if _is_image(header):
            raise CaseError(path, "is an image by its class, or says no class, but has none: it is cut short.")
        return None
    with _parsed(path):
        return _group(header, turns)


def _group(header: Any, turns: list[NDArray[np.float64]]) -> tuple[Any, ...]:
    """What the slices of one volume share; `turns` are the orientations that were met before."""
    orientation = header.get("ImageOrientationPatient")
    for tag, length in (("ImageOrientationPatient", 6), ("ImagePositionPatient", 3)):
        if (numbers := [float(value) for value in header.get(tag) or ()]) and len(numbers) != length:
            raise ValueError(f"{tag} has {len(numbers)} numbers, not {length}")
    for tag in ("AcquisitionNumber", "TriggerTime", "SliceThickness"):  # that part it further
        float(header.get(tag) or 0)
    echo_ms = header.get("EchoTime")
    echo = (header.get("EchoNumbers"), None if echo_ms is None else round(float(echo_ms), 2))
    around = _turn([float(value) for value in orientation], turns) if orientation else None
    image_type = tuple(header.get("ImageType") or ())
    frames = header.get("NumberOfFrames")
    return (
        header.get("SeriesInstanceUID"),
        header.get("Modality"),
        image_type,
        around,
        *map(str, (*echo, *map(header.get, ("TemporalPositionIdentifier", *SHARED)))),
        frames,
    )


def _turn(orientation: Sequence[float], turns: list[NDArray[np.float64]]) -> int:
    """The number of the first orientation that is the same but for rounding."""
    for number, known in enumerate(turns):
        if np.abs(known - orientation).max() < MAX_TURN:
            return number
    turns.append(np.array(orientation))
    return len(turns) - 1


def _modality(header: Any) -> str:
    return str(header.get("Modality", ""))


def _told(headers: Sequence[Any]) -> str:
    first = headers[0]
    origin = "DERIVED" if "DERIVED" in (first.get("ImageType") or ()) else "original"
    parts = [_modality(first) or "no modality", str(first.get("SeriesDescription", "")), _plane(first), origin]
    parts += [f"{len(headers)} of {first.Columns} x {first.Rows}"]
    parts += [f"{name} {first[tag].value}" for name, tag in (("echo time", "EchoTime"),) if first.get(tag)]
    return ", ".join(part for part in parts if part)


def _plane(header: Any) -> str:
    orientation = header.get("ImageOrientationPatient")
    if not orientation:
        return ""
    normal = np.abs(_normal(orientation))
    return ("sagittal", "coronal", "axial")[int(normal.argmax())]


def _normal(orientation: ArrayLike) -> NDArray[np.float64]:
    along = np.asarray(orientation, np.float64)
    return np.cross(along[:3], along[3:])


def _check(path: Path, header: Any) -> None:
    """Raise CaseError for what would be read with other values, or in another place."""
    if header.get("Modality") not in MODALITIES:
        raise CaseError(path, f"a series must be MR or CT, not {header.get('Modality')!r}. Choose another series.")
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise CaseError(path, "enhanced multi-frame DICOM is not read. Convert it to NIfTI, as dcm2niix does.")
    if "MOSAIC" in (header.get("ImageType") or ()):
        raise CaseError(path, "holds all slices of a volume as tiles of one (MOSAIC). Convert it, as dcm2niix does.")
    grey = header.get("PhotometricInterpretation")
    if int(header.get("SamplesPerPixel") or 1) != 1 or grey != "MONOCHROME2":
        raise CaseError(
            path, f"grey with 0 as black (MONOCHROME2) is needed, not {grey}. Convert it, or choose another."
        )
    for tag in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
        if not header.get(tag):
            raise CaseError(path, f"a slice must say where it lies, but {tag} is missing. Choose another series.")
        with _parsed(path):
            numbers = [float(value) for value in header[tag].value]
        if not np.isfinite(numbers).all():
            raise CaseError(path, f"a slice must say where it lies, but {tag} is {numbers}. Fetch it again.")
    _check_mm(path, "pixels must measure", numbers)


def _check_mm(path: Path, what: str, sizes: Sequence[float]) -> None:
    low, high = VOXEL_MM
    if not all(low <= mm <= high for mm in sizes):
        shown = ", ".join(f"{mm:g}" for mm in sizes)
        raise CaseError(path, f"{what} {low:g} to {high:g} mm, but the header says {shown}. Choose another series.")


def _place(first: Path, headers: Sequence[Any]) -> tuple[NDArray[np.float64], list[int]]:
    """The affine, index -> mm in RAS+, and the slices in the order of their positions."""
    sizes = {(int(h.Rows), int(h.Columns), *(round(float(mm), 4) for mm in h.PixelSpacing)) for h in headers}
    if len(sizes) != 1:
        raise CaseError(first, f"all slices of a series must have one size, but there are {sorted(sizes)}.")
    along = np.asarray(headers[0].ImageOrientationPatient, np.float64)
    if (
        abs(np.linalg.norm(along[:3]) - 1) > 0.01
        or abs(np.linalg.norm(along[3:]) - 1) > 0.01
        or (abs(along[:3] @ along[3:]) > 0.01)
    ):
        raise CaseError(first, f"rows and columns must stand at right angles, but ImageOrientationPatient is {along}.")
    along = np.concatenate([part / np.linalg.norm(part) for part in (along[:3], along[3:])])  # written with few digits
    normal = _normal(along)
    positions = np.array([h.ImagePositionPatient for h in headers], np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    step = _step(first, positions[order], normal, headers[0])
    down, across = (float(mm) for mm in headers[0].PixelSpacing)  # of rows, then of columns
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ np.stack([along[:3] * across, along[3:] * down, step], axis=1)
    affine[:3, 3] = LPS_TO_RAS @ positions[order[0]]
    return affine, [int(i) for i in order]


def _step(first: Path, positions: NDArray[np.float64], normal: NDArray[np.float64], header: Any) -> NDArray[np.float64]:
    """From a slice to the next, (3,). Raises CaseError where they are not evenly stacked along the normal."""
    if len(positions) == 1:
        thickness = float(header.get("SliceThickness") or 0)
        _check_mm(first, "a slice alone must have a thickness of", [thickness])
        return normal * thickness
    steps = np.diff(positions, axis=0)
    apart = steps @ normal
    middle = float(np.median(apart))
    if apart.min() < MIN_APART_MM:
        raise CaseError(
            first,
            "two slices of the series lie at one place: it holds acquisitions or time points that nothing tells apart, "
            "or files twice.",
        )
    if (np.abs(apart - middle) > MAX_UNEVEN * middle).any():
        raise CaseError(
            first,
            f"slices must lie evenly, but their distances run from {apart.min():.4g} to {apart.max():.4g} mm: files "
            "are missing. Complete the series.",
        )
    _check_mm(first, "slices must lie apart by", [middle])
    sideways = np.linalg.norm(steps - np.outer(apart, normal), axis=1)
    if (sideways > MAX_TILT * middle).any():
        angle = np.degrees(np.arctan(sideways.max() / middle))
        raise CaseError(
            first,
            f"slices must lie straight above each other, but each is moved sideways: the gantry was tilted by "
            f"{angle:.1f} degrees. Resample the series to a grid with right angles.",
        )
    mean: NDArray[np.float64] = normal * float(apart.mean())
    return mean
