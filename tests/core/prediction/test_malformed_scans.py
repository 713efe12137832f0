"""A scan that cannot be right is refused with a sentence, and never scored in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_files import write_series
from heads import SHAPE, affine, head, image
from PIL import Image

from adbench.errors import AdbenchError


def nifti(values: np.ndarray, matrix: np.ndarray | None = None, **header: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        made = nib.Nifti1Image(values, affine() if matrix is None else matrix)
        raw = bytearray(made.to_bytes())
        fields = nib.Nifti1Header(bytes(raw[:348]), check=False)
        for name, value in header.items():
            fields[name] = value
        raw[:348] = fields.binaryblock
        (folder / "scan.nii").write_bytes(bytes(raw))
        return folder / "scan.nii"

    return write


def data(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def too_deep(folder: Path) -> Path:
    (folder / "1/2/3/4/5/6/7").mkdir(parents=True)
    return folder


def cut(folder: Path) -> Path:
    nib.save(image(head(1)), folder / "scan.nii.gz")
    whole = (folder / "scan.nii.gz").read_bytes()
    (folder / "scan.nii.gz").write_bytes(whole[: len(whole) // 2])
    return folder / "scan.nii.gz"


def picture(mode: str, pixels: Any, **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        made = Image.fromarray(np.asarray(pixels, np.uint8)).convert(mode)
        made.save(folder / "slice.png", **options)
        return folder / "slice.png"

    return write


def pictures_of_two_sizes(folder: Path) -> Path:
    for i, size in enumerate((40, 41)):
        Image.fromarray(np.full((size, size), 100, np.uint8)).save(folder / f"{i}.png")
    return folder


def pages(folder: Path) -> Path:
    grey = [Image.fromarray(np.full((20, 20), level, np.uint8)) for level in (10, 200)]
    grey[0].save(folder / "slices.tif", save_all=True, append_images=grey[1:])
    return folder / "slices.tif"


def dicom(change: Callable[[int, Any], None]) -> Callable[[Path], Path]:
    return lambda folder: write_series(folder / "s", head(1), affine(), change)


def at(k: int, **fields: Any) -> Callable[[int, Any], None]:
    def change(number: int, made: Any) -> None:
        if k in (number, -1):
            for name, value in fields.items():
                setattr(made, name, value)

    return change


def without_slice(folder: Path) -> Path:
    made = write_series(folder / "s", head(1), affine())
    sorted(made.iterdir())[3].unlink()
    return made


def moved(k: int, made: Any) -> None:
    made.ImagePositionPatient[1] += 2.0 * k


def twice(k: int, made: Any) -> None:
    made.ImagePositionPatient[2] = made.ImagePositionPatient[2] if k else made.ImagePositionPatient[2] + 8.0


def short(k: int, made: Any) -> None:
    made.PixelData = made.PixelData[:100] if k == 4 else made.PixelData


def without_place(k: int, made: Any) -> None:
    del made.ImagePositionPatient


def with_nan() -> np.ndarray:
    values = head(1).astype(np.float32)
    values[20, 20, 5] = np.nan
    return values


CT = head(1).astype(np.float32) - 1000
SHEARED = affine() + np.array([[0, 1.5, 0, 0], [0] * 4, [0] * 4, [0] * 4])
GREY = np.full((40, 40), 128)
COLOUR = np.stack([GREY, GREY + 20, GREY - 20], axis=-1)

FAULTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "four dimensions": (nifti(np.stack([head(1)] * 3, axis=-1)), "one volume is needed"),
    "empty file": (data("scan.nii.gz", b""), "the file is empty"),
    "cut short": (cut, "damaged or cut short"),
    "no NIfTI": (data("scan.nii", b"x" * 600), "is not a NIfTI file"),
    "NaN": (nifti(with_nan()), "finite"),
    "blank": (nifti(np.full(SHAPE, 7, np.int16)), "is blank"),
    "a mask": (nifti((head(1) > 310).astype(np.uint8)), "it is a mask, and no scan"),
    "CT in HU": (nifti(CT), "MRI must not be strongly negative"),
    "z-scores": (nifti((head(1) - 300.0) / 150), "it was normalised"),
    "too deep": (too_deep, "depth of 6"),
    "sheared": (nifti(head(1), SHEARED), "is sheared"),
    "metres": (nifti(head(1), xyzt_units=1), "lengths must be in mm"),
    "voxels of zero size": (nifti(head(1), pixdim=[1, 0, 1, 1, 1, 1, 1, 1]), "must be positive numbers"),
    "complex": (nifti(head(1).astype(np.complex64)), "integers or floats"),
    "half of a pair": (nifti(head(1), magic=b"ni1"), "one half of a .hdr/.img pair"),
    "missing": (lambda folder: folder / "none.nii.gz", "there is no"),
    "empty folder": (lambda folder: folder, "holds none"),
    "text": (data("notes.txt", b"hello"), "is none and holds none"),
    "palette": (picture("P", GREY), "palette"),
    "transparent": (picture("RGBA", np.dstack([COLOUR, GREY])), "opaque"),
    "colour": (picture("RGB", COLOUR), "channels differ"),
    "pictures of two sizes": (pictures_of_two_sizes, "must have one size"),
    "no picture": (data("slice.png", b"no picture"), "cannot be read"),
    "pages": (pages, "2 pages"),
    "a slice missing": (without_slice, "files are missing"),
    "two at one place": (dicom(twice), "lie at one place"),
    "tilted gantry": (dicom(moved), "gantry was tilted by 14"),
    "multi-frame": (dicom(at(-1, NumberOfFrames=2)), "enhanced multi-frame"),
    "white is zero": (dicom(at(-1, PhotometricInterpretation="MONOCHROME1")), "MONOCHROME2"),
    "series of CT": (dicom(at(-1, Modality="CT")), "this series is CT"),
    "series of PET": (dicom(at(-1, Modality="PT")), "must be MR or CT"),
    "no position": (dicom(without_place), "must say where it lies"),
    "pixels cut short": (dicom(short), "pixels cannot be read"),
    "two pixel sizes": (dicom(at(2, PixelSpacing=[1.0, 1.0])), "must have one size"),
    "voxels past all limits": (dicom(at(-1, Rows=60000, Columns=60000)), "more than the limit"),
    "skewed rows": (dicom(at(-1, ImageOrientationPatient=[1, 0, 0, 0.5, 0.8660254, 0])), "right angles"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_right_is_refused_in_words(fault, model, tmp_path):
    write, words = FAULTS[fault]
    with pytest.raises(AdbenchError, match=words):
        model.predict(write(tmp_path))


def test_folders_that_are_links_are_looked_through_once_each(model, tmp_path):
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
        nib.save(image(head(1)), tmp_path / name / f"{name}.nii.gz")
    (tmp_path / "here" / "linked").symlink_to("../elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to("../here")
    assert [scan.name for scan in model.find([tmp_path / "here"])] == ["here", "elsewhere"]


def test_a_scan_does_not_take_the_name_of_what_lies_beside_the_scans(model, tmp_path):
    nib.save(image(head(1)), tmp_path / "predictions.csv.nii.gz")
    (scan,) = model.find([tmp_path])
    assert scan.name == "predictions.csv-2"


def test_what_another_modality_shows_is_scored_when_forced_and_says_so(model, tmp_path):
    path = nifti(CT)(tmp_path)
    warnings = model.predict(path, force=True).report.warnings
    assert any(text.startswith("forced: MRI must not be strongly negative") for text in warnings)
    assert str(tmp_path) not in " ".join(warnings)


def test_of_several_volumes_the_first_is_scored_when_forced_and_says_so(model, tmp_path):
    several = nifti(np.stack([head(1), head(2)], axis=-1))(tmp_path)
    found, expected = model.predict(several, force=True), model.predict(image(head(1)))
    assert np.array_equal(found.scores.get_fdata(), expected.scores.get_fdata())
    assert "forced: of 2 volumes the first is taken" in found.report.warnings


def test_a_series_is_parted_by_echo_orientation_acquisition_and_moment(model, tmp_path):
    def change(k: int, made: Any) -> None:
        made.EchoNumbers, made.AcquisitionNumber, made.TemporalPositionIdentifier = k % 2, 1, 1

    write_series(tmp_path / "echoes", head(1), affine(), change)
    assert sorted(len(scan.files) for scan in model.find([tmp_path])) == [5, 5]
    assert len(model.find(sorted((tmp_path / "echoes").iterdir()))) == 2  # as a shell names them, one by one
    write_series(tmp_path / "derived", head(1), affine(), at(-1, ImageType=["DERIVED", "PRIMARY"]), uid="9.9")
    found = model.find([tmp_path])
    assert [scan.name for scan in found] == ["series-1", "series-2", "series-3"]
    assert sum("DERIVED" in (scan.candidate or "") for scan in found) == 1
