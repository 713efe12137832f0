"""Times part a DICOM series where places repeat and nowhere else, and what stays unclear is refused, never mixed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adbench_datasets.imaging.dicom import Series, find_series, read_series
from adbench_datasets.imaging.files import CaseError
from dicom_files import write_series
from heads import affine, head

Change = Callable[[int, Any], None]
SLICES = 10


def volumes(folder: Path, *changes: Change) -> list[Series]:
    """Several volumes of other values in one folder, each slice changed by its number; the series found."""
    for number, change in enumerate(changes):
        made = write_series(folder / str(number), head(number), affine(), change)
        for path in made.iterdir():
            path.rename(folder / f"{number}-{path.name}")
        made.rmdir()
    return find_series(sorted(folder.iterdir(), key=lambda path: path.name[::-1]))


def acquired(start: int, step: int = 1) -> Change:
    """Slices one after another, each with a time of its own: 11:05:00 and so on."""

    def change(k: int, data: Any) -> None:
        seconds = start + step * k
        data.AcquisitionDate, data.AcquisitionTime = "20240229", f"11{5 + seconds // 60:02d}{seconds % 60:02d}.250000"

    return change


def triggered(ms: float) -> Change:
    def change(k: int, data: Any) -> None:
        acquired(k)(k, data)
        data.TriggerTime = ms

    return change


def values(series: Series) -> np.ndarray:
    """In canonical orientation."""
    return np.asarray(read_series(series).values)[::-1, ::-1]


def test_slices_of_one_volume_may_each_have_a_time_of_their_own(tmp_path):
    (found,) = volumes(tmp_path, acquired(0))
    assert len(found.files) == SLICES
    assert "time point" not in found.told
    assert np.array_equal(values(found), head(0))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([acquired(0), acquired(20), acquired(40)], id="one volume after another"),
        pytest.param([acquired(0, step=0), acquired(9, step=0), acquired(10, step=0)], id="one time for a volume"),
        pytest.param([triggered(0), triggered(30.5), triggered(61)], id="phases of the heart, slice by slice"),
    ],
)
def test_time_points_of_the_same_places_are_series_of_their_own_in_their_order(changes, tmp_path):
    found = volumes(tmp_path, *changes)
    assert [each.told.rpartition(", ")[2] for each in found] == [f"time point {n} of 3" for n in (1, 2, 3)]
    for number, each in enumerate(found):
        assert np.array_equal(values(each), head(number))


def test_a_point_that_begins_past_midnight_is_later(tmp_path):
    def at(date: str, time: str) -> Change:
        def change(k: int, data: Any) -> None:
            data.AcquisitionDate, data.AcquisitionTime = date, time

        return change

    first, second = volumes(tmp_path, at("20240301", "000010"), at("20240229", "235950"))
    assert np.array_equal(values(first), head(1))
    assert np.array_equal(values(second), head(0))


def nothing(k: int, data: Any) -> None:
    pass


def once(k: int, data: Any) -> None:
    """A time in one slice alone."""
    if k == 3:
        acquired(0)(k, data)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([nothing, nothing], id="no time at all"),
        pytest.param([acquired(0), acquired(0)], id="the same times, as of files twice"),
        pytest.param([acquired(0), acquired(5)], id="times of one within those of the other"),
        pytest.param([once, acquired(20)], id="times of some slices alone"),
    ],
)
def test_where_times_do_not_tell_the_points_apart_the_series_is_refused(changes, tmp_path):
    (found,) = volumes(tmp_path, *changes)
    with pytest.raises(CaseError, match="lie at one place: it holds acquisitions or time points"):
        read_series(found)


def test_a_slice_that_was_taken_again_is_refused(tmp_path):
    volumes(tmp_path, acquired(0), acquired(20))
    for path in sorted(tmp_path.glob("1-*"))[1:]:
        path.unlink()
    (found,) = find_series(sorted(tmp_path.iterdir()))
    with pytest.raises(CaseError, match="lie at one place"):
        read_series(found)


def test_a_temporal_position_parts_a_series_without_times(tmp_path):
    def numbered(n: int) -> Change:
        return lambda k, data: setattr(data, "TemporalPositionIdentifier", n)

    found = volumes(tmp_path, numbered(2), numbered(1))
    assert sorted(len(each.files) for each in found) == [SLICES, SLICES]
    assert {values(each).sum() for each in found} == {head(0).sum(), head(1).sum()}
