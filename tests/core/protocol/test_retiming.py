"""Times of existing records are measured anew: from the records alone, without training or scoring."""

from __future__ import annotations

import pytest
import toys

from adbench.errors import ArtifactError, RecordError
from adbench.protocol import harness, retiming
from adbench.protocol.rebuilding import Rebuilder
from adbench.protocol.scoring import Scorer
from adbench.results.record import read_records
from adbench.results.timing import read_timings


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


def run(tmp_path, *methods: str, datasets="toy", settings=(), **given):
    return harness.run(methods, datasets, toys.options(tmp_path, *settings, **given), toys.Diary())


def anew(tmp_path, methods=(), datasets=(), slices=None, **given):
    """Time records; only the folders are told, as `adbench time` does."""
    plain = toys.options(tmp_path, **given)
    options = type(plain)(out=plain.out, cache=plain.cache)
    return retiming.time_records(methods, datasets, options, toys.Diary(), slices)


def test_a_record_of_any_settings_seed_preset_and_training_set_is_timed_anew_and_stays_as_it_is(tmp_path, monkeypatch):
    made = run(tmp_path, "toy-trained", "toy-twin", seed=3, preset="paper", settings=["scale=3", "data.n_train=9"])
    made += run(tmp_path, "toy-trained", datasets=["toy-sick"], train_on="toy")
    before = {record.path: (tmp_path / "out" / record.path).read_bytes() for record in made}
    for time in read_timings(tmp_path / "out"):
        (tmp_path / "out" / time.path).unlink()
    monkeypatch.setattr(Scorer, "maps", None)
    monkeypatch.setattr(toys.Trained, "_train", None)
    times, failures = anew(tmp_path)
    assert failures == []
    assert {time.record for time in times} == {record.path.as_posix() for record in made}
    assert sorted(read_timings(tmp_path / "out"), key=lambda time: time.record) == sorted(
        times, key=lambda time: time.record
    )
    assert {path: (tmp_path / "out" / path).read_bytes() for path in before} == before
    assert all(time.timing.repeats >= 5 for time in times)
    assert {time.record.split("/")[1]: time.timing.slices for time in times} == {"toy": 100, "toy-sick": 10}, (
        "by preset"
    )


def test_methods_and_datasets_may_be_named_and_slices_given(tmp_path):
    run(tmp_path, "toy-brightness", "toy-constant")
    times, _ = anew(tmp_path, ["toy-constant"], ["toy"], slices=5)
    assert [(time.record.split("/")[2], time.timing.slices) for time in times] == [("toy-constant", 5)]
    left = {time.record.split("/")[2]: time.timing.slices for time in read_timings(tmp_path / "out")}
    assert left == {"toy-brightness": 2, "toy-constant": 5}


def test_two_regions_share_one_time(tmp_path, monkeypatch):
    records = run(tmp_path, "toy-brightness", settings=["protocol.region=image,brain"])
    timed = []
    time = retiming.time_scoring
    monkeypatch.setattr(retiming, "time_scoring", lambda *given: timed.append(given) or time(*given))
    times, _ = anew(tmp_path)
    assert {time.record for time in times} == {record.path.as_posix() for record in records}
    assert len(timed) == 1
    assert times[0].timing == times[1].timing


def test_a_missing_part_ends_it_before_anything_is_timed(tmp_path, monkeypatch):
    (record,) = run(tmp_path, "toy-trained")
    monkeypatch.setattr(retiming, "time_scoring", None)
    part = record.detector.artifacts["toy"]
    with pytest.raises(ArtifactError, match=rf"toy-trained on toy needs its trained parts, but {part} is not in \S+"):
        anew(tmp_path, cache=tmp_path / "another")


@pytest.mark.parametrize(("methods", "datasets"), [(["toy-twin"], []), ([], ["toy-ct"]), (["toy-nan"], [])])
def test_names_without_a_record_that_succeeded_are_said(tmp_path, methods, datasets):
    run(tmp_path, "toy-constant", "toy-nan")
    with pytest.raises(RecordError, match=rf"has none of {(methods + datasets)[0]}: name another folder with --out"):
        anew(tmp_path, methods, datasets)


def test_a_record_of_other_code_is_refused(tmp_path, monkeypatch):
    run(tmp_path, "toy-trained")
    changed = type(toys.Trained.info)(**{**vars(toys.Trained.info), "version": "2"})
    with monkeypatch.context() as patch:
        patch.setattr(toys.Trained, "info", changed)
        with pytest.raises(RecordError, match="must be of this code and these images, but was made with others"):
            anew(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(toys.Trained, "Config", toys.DetectorConfig)
        with pytest.raises(RecordError, match="was made by other code: its settings are not valid now"):
            anew(tmp_path)


def test_what_fails_while_timing_is_said_and_the_others_go_on(tmp_path, monkeypatch):
    run(tmp_path, "toy-brightness", "toy-trained")
    monkeypatch.setattr(toys.Trained, "score", lambda self, images: 1 / 0)
    times, failures = anew(tmp_path)
    assert [time.record.split("/")[2] for time in times] == ["toy-brightness"]
    assert failures == ["toy-trained on toy: ZeroDivisionError: division by zero"]


def test_the_cell_of_a_record_is_the_one_that_made_it(tmp_path):
    (record,) = run(tmp_path, "toy-trained", seed=2, settings=["scale=3", "protocol.region=brain"])
    cell = Rebuilder(toys.options(tmp_path), toys.Diary()).cell(read_records(tmp_path / "out")[0])
    assert cell.record_path == tmp_path / "out" / record.path
    assert (cell.config.scale, cell.options.seed, cell.protocol.region) == (3.0, 2, "brain")
