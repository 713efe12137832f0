"""The compact counts beside a record: small, checked when read, and enough to check the record's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import toys
from record_factory import make, measurement
from score_maps import fill, make_maps, rereader

from adbench.errors import RecordError
from adbench.metrics.estimate import Estimate
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.intervals import bootstrap, resample_weights
from adbench.metrics.pixels import pixel_metrics
from adbench.protocol import harness
from adbench.results.counts import (
    MOST_BYTES,
    check_all_counts,
    check_counts,
    counts_path,
    read_counts,
    write_counts,
    wrong_values,
)
from adbench.results.record import Record, write_record


@pytest.fixture
def hist() -> ScoreHistogram:
    return fill(make_maps("continuous", 0, subjects=12, pixels=4000))


def record_of(maps: list, **changes: float) -> Record:
    """A record with the pooled numbers of the maps, some of them changed."""
    hist = fill(maps)
    found, intervals = pixel_metrics(rereader(maps)), bootstrap(hist, resample_weights(hist.subjects, 100))
    values = {key: getattr(found, key) + changes.get(key, 0.0) for key in intervals}
    metrics = {key: Estimate.of(values[key], bounded.interval).model_dump() for key, bounded in intervals.items()}
    bounds = {key: bounded.error_bound for key, bounded in intervals.items()}
    return make(metrics=metrics, measurement=measurement(interval_error_bound=bounds, bootstrap_resamples=100))


def test_counts_survive_writing_and_reading(tmp_path, hist):
    write_counts(hist, tmp_path / "a.counts.npz")
    found = read_counts(tmp_path / "a.counts.npz")
    assert found.subjects == hist.subjects
    np.testing.assert_array_equal(found.by_subject(), hist.by_subject())
    weights = resample_weights(hist.subjects, 50)
    assert bootstrap(found, weights) == bootstrap(hist, weights)


def test_the_same_counts_are_the_same_file(tmp_path, hist):
    for name in "ab":
        write_counts(hist, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_counts_of_many_subjects_are_joined_until_they_are_small(tmp_path):
    hist = fill(make_maps("continuous", 0, subjects=400, pixels=1000))
    write_counts(hist, tmp_path / "a.counts.npz")
    found = read_counts(tmp_path / "a.counts.npz")
    assert (tmp_path / "a.counts.npz").stat().st_size <= MOST_BYTES
    assert found.bins.n_fine < hist.bins.coarse_starts.size
    np.testing.assert_array_equal(found.by_subject().sum(2), hist.by_subject().sum(2))


@pytest.mark.parametrize("shape", ["continuous", "few values", "wide range"])
@pytest.mark.parametrize("joined", [0, 1])
def test_the_numbers_of_a_record_are_checked_against_its_counts(shape, joined):
    maps = make_maps(shape, 1, subjects=10, pixels=3000)
    hist = fill(maps).coarse()
    for _ in range(joined):
        hist = hist.joined()
    check_counts(record_of(maps), hist)
    for key in ("best_dice", "auprc", "auroc"):
        with pytest.raises(RecordError, match=f"{key} is .*, but the counts beside it give"):
            check_counts(record_of(maps, **{key: -0.2}), hist)


def test_an_interval_of_other_counts_is_found():
    maps = make_maps("continuous", 1, subjects=10, pixels=3000)
    moved = record_of(maps).model_copy(deep=True)
    moved.metrics["auroc"] = Estimate(value=moved.metrics["auroc"].value, low=0.1, high=0.9)
    with pytest.raises(RecordError, match=r"the interval of auroc is 0\.1 to 0\.9, but the counts"):
        check_counts(moved, fill(maps).coarse())


def test_a_run_leaves_counts_that_fit_its_record(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)
    (record,) = harness.run(["toy-brightness"], "toy", toys.options(tmp_path), toys.Diary())
    assert counts_path(tmp_path / "out" / record.path).is_file()
    check_all_counts(tmp_path / "out")


@pytest.mark.parametrize("damage", ["missing", "truncated", "pickled", "negative"])
def test_damaged_counts_are_named(tmp_path, hist, damage):
    path = tmp_path / "a.counts.npz"
    write_counts(hist, path)
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "pickled":
        np.savez(path, edges=np.array([{}], object), subjects=["a"], positives=[[1]], negatives=[[1]])
    else:
        np.savez(path, edges=[0.5], subjects=["a"], positives=[[1, -1]], negatives=[[1, 1]])
    with pytest.raises(RecordError, match=r"cannot be read .*: run that cell again with --force"):
        read_counts(path)


def test_forged_values_are_named_without_looking_at_intervals(tmp_path):
    maps = make_maps("continuous", 0, subjects=12, pixels=4000)
    honest, forged = record_of(maps), record_of(maps, best_dice=0.5).model_copy(update={"seed": 1})
    wide = honest.model_copy(
        update={"seed": 2, "metrics": {k: Estimate(value=v.value, low=0, high=1) for k, v in honest.metrics.items()}}
    )
    for record in (honest, forged, wide):
        write_counts(fill(maps), counts_path(write_record(record, tmp_path)))
    (said,) = wrong_values(tmp_path, [honest, forged, wide])
    assert said.startswith(f"{forged.path}: best_dice")
    (tmp_path / forged.path).unlink()
    assert check_all_counts(tmp_path, intervals=False) == 2
    with pytest.raises(RecordError, match="interval of"):
        check_all_counts(tmp_path)
