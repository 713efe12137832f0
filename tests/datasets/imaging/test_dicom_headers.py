"""Headers of DICOM that contradict their pixels or places: refused in words, said, or read as what they mean."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from adbench_datasets.imaging.dicom import find_series, read_series
from adbench_datasets.imaging.files import CaseError
from dicom_files import Change, write_series
from heads import affine, head
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


def found_in(folder, change: Change | None = None, **written: Any) -> list[Any]:
    write_series(folder, head(1), affine(), change, **written)
    return find_series(sorted(folder.iterdir()))


def says(keep: int | None = None, **fields: Any) -> Change:
    """Set fields of all slices, or of one."""

    def change(k: int, data: Any) -> None:
        for name, value in fields.items():
            if keep in (None, k):
                setattr(data, name, value)

    return change


def shifted_bits(k: int, data: Any) -> None:
    data.BitsStored, data.HighBit = 12, 15


def too_few_bits(k: int, data: Any) -> None:
    data.BitsStored, data.HighBit = 8, 7


def by_table(k: int, data: Any) -> None:
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [2, 0, 16], "US"
    table.LUTData = b"\1\0\0\0"
    data.ModalityLUTSequence = Sequence([table])


REFUSED = {
    "negative rows": (says(PixelSpacing=[-2, 2]), "pixels must measure 0.05 to 25 mm, but the header says -2, 2"),
    "negative columns": (says(PixelSpacing=[2, -2]), "pixels must measure"),
    "no size": (says(PixelSpacing=[0, 0]), "pixels must measure"),
    "atoms": (says(PixelSpacing=["1e-9", "1e-9"]), "pixels must measure"),
    "metres": (says(PixelSpacing=[500, 500]), "pixels must measure"),
    "size NaN": (says(PixelSpacing=["nan", "2"]), "must say where it lies, but PixelSpacing is"),
    "place NaN": (says(3, ImagePositionPatient=["nan", "0", "0"]), "but ImagePositionPatient is"),
    "place infinite": (says(3, ImagePositionPatient=["1e400", "0", "0"]), "but ImagePositionPatient is"),
    "slope 0 of a slice": (says(4, RescaleSlope=0), "RescaleSlope is 0"),
    "slope empty": (says(RescaleSlope=None), "RescaleSlope must be one number"),
    "padding of two": (says(PixelPaddingValue=[0, 1]), "PixelPaddingValue must be one number"),
    "table of values": (by_table, "Modality LUT"),
    "bits elsewhere": (shifted_bits, "HighBit"),
    "more bits than said": (too_few_bits, "pixels have 8 bits"),
    "tiles": (says(ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]), "tiles of one (MOSAIC)"),
    "gap": (says(3, ImagePositionPatient=[-76, -78, 500]), "slices must lie evenly"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_would_be_wrong_in_silence_is_refused_in_its_own_words(fault, tmp_path):
    change, words = REFUSED[fault]
    (series,) = found_in(tmp_path / "s", change)
    with pytest.raises(CaseError, match=re.escape(words)) as error:
        read_series(series)
    assert "cannot be read (" not in str(error.value)


def test_a_number_of_samples_that_is_empty_is_refused_in_words(tmp_path):
    (series,) = found_in(tmp_path / "s", says(SamplesPerPixel=None))
    with pytest.raises(CaseError, match="Samples per Pixel"):
        read_series(series)


@pytest.mark.parametrize("thickness", [None, 0, -5])
def test_a_slice_alone_must_say_how_thick_it_is(thickness, tmp_path):
    (series,) = found_in(tmp_path / "s", says(SliceThickness=thickness))
    alone = series.__class__(series.files[:1], series.modality, series.told)
    with pytest.raises(CaseError, match="a slice alone must have a thickness"):
        read_series(alone)


def test_bits_that_draw_something_are_no_pixels(tmp_path):
    def drawn(k: int, data: Any) -> None:
        stored = np.frombuffer(data.PixelData, "<i2").copy()
        stored[::7] |= 1 << 14
        data.PixelData = stored.tobytes()
        data.BitsStored, data.HighBit = 14, 13
        data.add_new(0x60000102, "US", 14)

    (plain,), (overlaid,) = found_in(tmp_path / "plain"), found_in(tmp_path / "drawn", drawn)
    np.testing.assert_array_equal(read_series(overlaid).values, read_series(plain).values)


@pytest.mark.parametrize("tag", ["PatientID", "SeriesNumber"])
def test_series_of_one_uid_that_are_of_others_are_not_one(tag, tmp_path):
    def between(k: int, data: Any) -> None:
        setattr(data, tag, "7")
        data.ImagePositionPatient[2] += 4.0  # the slices of two would lie evenly

    write_series(tmp_path / "a", head(1), affine())
    write_series(tmp_path / "b", head(2), affine(), between)
    assert len(find_series(sorted(tmp_path.rglob("*[0-9]")))) == 2


def test_a_study_of_each_file_as_itk_makes_it_parts_nothing(tmp_path):
    def own(k: int, data: Any) -> None:
        data.StudyInstanceUID = f"1.2.{k}"

    assert len(found_in(tmp_path / "s", own)) == 1


def test_slices_that_each_name_a_series_of_their_own_as_itk_makes_them_are_read_as_one_and_said(tmp_path):
    def own(k: int, data: Any) -> None:
        data.SeriesInstanceUID = f"1.2.{k}"

    (series,) = found_in(tmp_path / "s", own)
    assert "a series of its own" in series.doubt
    np.testing.assert_array_equal(np.asarray(read_series(series).values)[::-1, ::-1], head(1))


def test_of_such_slices_a_missing_one_is_a_gap(tmp_path):
    def own(k: int, data: Any) -> None:
        data.SeriesInstanceUID = f"1.2.{k}"
        data.ImagePositionPatient[2] = float(k + (k > 4))

    (series,) = found_in(tmp_path / "s", own)
    with pytest.raises(CaseError, match="files are missing"):
        read_series(series)


def test_single_slices_of_series_that_lie_unevenly_stay_apart(tmp_path):
    def own(k: int, data: Any) -> None:
        data.SeriesInstanceUID = f"1.2.{k}"
        data.ImagePositionPatient[2] = float(k * k)

    assert len(found_in(tmp_path / "s", own)) == 10


def test_echo_times_that_are_written_with_other_digits_are_one(tmp_path):
    def digits(k: int, data: Any) -> None:
        data.EchoTime = ("102", "102.0", "102.001")[k % 3]

    assert len(found_in(tmp_path / "s", digits)) == 1


def test_orientations_that_differ_by_rounding_are_one(tmp_path):
    def jitter(k: int, data: Any) -> None:
        data.ImageOrientationPatient = [1, 0.0049 if k % 2 else 0.0051, 0, 0, 1, 0]

    assert len(found_in(tmp_path / "s", jitter)) == 1


def test_direction_cosines_of_few_digits_change_no_size(tmp_path):
    (exact,), (rough,) = (
        found_in(tmp_path / name, says(ImageOrientationPatient=[scale, 0, 0, 0, scale, 0]))
        for name, scale in (("exact", 1.0), ("rough", 1.009))
    )
    np.testing.assert_allclose(read_series(rough).affine, read_series(exact).affine)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"LossyImageCompression": "01"}, "with loss"),
        ({"SpacingBetweenSlices": 4.0, "SliceThickness": 4.0}, "8 mm apart, but the files say 4"),
    ],
)
def test_what_may_be_wrong_is_said(fields, words, tmp_path):
    (series,) = found_in(tmp_path / "s", says(**fields))
    assert any(words in note for note in read_series(series).notes)


@pytest.mark.parametrize(
    "fields",
    [
        {"LossyImageCompression": "00"},
        {"SpacingBetweenSlices": 8.0},
        {"SpacingBetweenSlices": 1.0},
    ],
)
def test_what_is_right_needs_no_note(fields, tmp_path):
    (series,) = found_in(tmp_path / "s", says(**fields))
    assert read_series(series).notes == ()
