"""From cells to records: what a record says, what fails and what goes on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import toys

import adbench
from adbench.contracts.dataset import DatasetInfo, Reported
from adbench.errors import AdbenchError, PluginError
from adbench.metrics.catalogue import METRICS
from adbench.protocol import harness
from adbench.protocol.cell import Cell, build_cells
from adbench.results import pages
from adbench.results.record import Record, read_record, read_records
from adbench.results.timing import read_timings
from adbench.storage.spec import canonical_hash


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


def run(tmp_path, *methods: str, diary: toys.Diary | None = None, **given) -> list[Record]:
    options = toys.options(tmp_path, *given.pop("settings", ()), **given)
    return harness.run(methods, "toy", options, diary or toys.Diary())


REGIONS = ["image", "brain"]


def test_a_record_says_what_was_run_on_what_and_is_where_it_belongs(tmp_path):
    (record,) = run(tmp_path, "toy-trained", seed=2, settings=["scale=3"])
    path = tmp_path / "out/records/toy/toy-trained" / f"{record.config_hash}-seed2.json"
    assert read_record(path) == record
    assert (record.status, record.reason, record.seed) == ("ok", None, 2)
    assert record.detector.config == {"part": {"steps": 4, "rate": 0.5}, "scale": 3.0}
    assert (record.detector.distribution, record.detector.version) == ("toys", "1.0")
    assert (record.detector.preset, record.detector.code_version) == ("smoke", "1")
    assert record.detector.artifacts["toy"].startswith("toy-")
    assert record.dataset.split_sizes == {"train": 6, "validation": 8, "test": 6}
    assert record.dataset.image_size == (16, 16)
    assert record.dataset.prevalence == pytest.approx(3 * toys.LESION_PX / (6 * 256))
    assert record.protocol["resamples"] == record.measurement.bootstrap_resamples == 20
    assert list(record.metrics) == list(METRICS)
    assert record.metrics["best_dice"].value == 1
    (time,) = read_timings(tmp_path / "out")
    assert time.record == record.path.as_posix()
    assert time.environment == record.environment
    assert time.timing.slices == 2
    assert time.timing.fit_s > 0
    assert record.environment.packages["torch"]
    assert "NaN" not in path.read_text("utf-8")


def test_variants_take_their_overrides_presets_and_settings_in_this_order(tmp_path):
    twin, plain = (toys.cell(tmp_path, method).config for method in ("toy-twin", "toy-trained"))
    assert (twin.scale, plain.scale) == (2.0, 1.0)
    paper = build_cells(["toy-twin"], "toy", toys.options(tmp_path, preset="paper"))[0].config
    assert (paper.scale, paper.part.steps) == (2.0, 8)
    options = toys.options(tmp_path, "scale=5", "part.steps=2", preset="paper")
    assert build_cells(["toy-twin"], "toy", options)[0].config.model_dump() == {
        "part": {"steps": 2, "rate": 0.5},
        "scale": 5.0,
    }


def test_a_setting_goes_to_every_method_that_has_it(tmp_path):
    records = run(tmp_path, "toy-trained", "toy-brightness", settings=["scale=4"])
    assert [record.detector.config.get("scale") for record in records] == [4.0, None]


def test_the_manifest_covers_every_image_and_is_named_in_the_record(tmp_path):
    (record,) = run(tmp_path, "toy-brightness")
    manifest = json.loads((tmp_path / "out" / record.dataset.manifest).read_text("utf-8"))
    assert record.dataset.fingerprint in record.dataset.manifest
    assert {name: len(images) for name, images in manifest.items()} == record.dataset.split_sizes
    digests = [digest for images in manifest.values() for digest in images.values()]
    assert len(set(digests)) == 20


def test_an_existing_record_is_returned_without_running_and_said(tmp_path, monkeypatch):
    first = run(tmp_path, "toy-trained")
    monkeypatch.setattr(toys.Trained, "fit", None)
    diary = toys.Diary()
    assert run(tmp_path, "toy-trained", diary=diary) == first
    assert "exists; --force runs it again" in diary.text


def test_force_runs_again_and_uses_the_parts(tmp_path):
    (first,) = run(tmp_path, "toy-trained")
    diary = toys.Diary()
    (second,) = run(tmp_path, "toy-trained", diary=diary, force=True)
    assert second.metrics == first.metrics
    assert [what for what, _, _ in diary.steps if what == "toy training"] == []
    assert [what for what, _, _ in diary.steps if what.endswith("test maps")] != []
    assert len(read_records(tmp_path / "out")) == 1


def test_another_seed_is_another_record_with_a_part_of_its_own(tmp_path):
    records = [run(tmp_path, "toy-trained", seed=seed)[0] for seed in (0, 1)]
    assert len(read_records(tmp_path / "out")) == 2
    assert records[0].config_hash == records[1].config_hash
    assert records[0].detector.artifacts != records[1].detector.artifacts


FAULTS = {
    "toy-nan": "Scores must be finite",
    "toy-infinite": "Scores must be finite",
    "toy-misshapen": "must have the shape",
    "toy-list": "must be a torch tensor",
    "toy-short": "Image scores must have the shape",
    "toy-raising": "ValueError: the toy broke",
    "toy-leaving": "SystemExit: the toy left",
    "toy-greedy": "out of memory on cpu (tried to allocate 99 GiB): lower protocol.batch_size=100",
}


def test_a_fault_of_a_detector_is_a_failed_record_with_its_reason_and_the_others_go_on(tmp_path):
    records = run(tmp_path, *FAULTS, "toy-brightness")
    assert [record.status for record in records] == ["failed"] * len(FAULTS) + ["ok"]
    for record, reason in zip(records, FAULTS.values(), strict=False):
        assert reason in record.reason
        assert "\n" not in record.reason
        assert record.metrics == {}
        assert record.measurement is None
    assert [time.record for time in read_timings(tmp_path / "out")] == [records[-1].path.as_posix()]
    assert read_records(tmp_path / "out") == sorted(records, key=lambda record: record.path)


def test_failed_runs_are_on_the_page_with_their_reason(tmp_path):
    run(tmp_path, "toy-raising", "toy-short", "toy-brightness")
    pages.write_pages(tmp_path / "out")
    page = (tmp_path / "out/toy.md").read_text("utf-8")
    assert "ValueError: the toy broke" in page
    assert "Image scores must have the shape" in page


def test_a_failed_record_is_run_again_and_replaced(tmp_path, monkeypatch):
    (failed,) = run(tmp_path, "toy-raising")
    monkeypatch.setattr(toys.Raising, "fit", toys.Brightness.fit)
    (mended,) = run(tmp_path, "toy-raising")
    assert (failed.status, mended.status) == ("failed", "ok")
    assert read_records(tmp_path / "out") == [mended]


def test_a_fault_while_timing_is_said_and_leaves_the_record_without_a_time(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(harness, "time_scoring", lambda *args: 1 / 0)
        diary = toys.Diary()
        assert run(tmp_path, "toy-brightness", diary=diary)[0].status == "ok"
        assert "the record has no time on this device (ZeroDivisionError: division by zero)" in diary.text
        assert read_timings(tmp_path / "out") == []
    run(tmp_path, "toy-brightness")
    assert len(read_timings(tmp_path / "out")) == 1


def untimed(tmp_path) -> bytes:
    """Remove the time of the only record, as if it had been made on another device; return the record's bytes."""
    (time,) = read_timings(tmp_path / "out")
    (tmp_path / "out" / time.path).unlink()
    return (tmp_path / "out" / time.record).read_bytes()


def test_a_record_without_a_time_on_this_device_is_timed_and_stays_as_it_is(tmp_path, monkeypatch):
    (record,) = run(tmp_path, "toy-trained")
    before = untimed(tmp_path)
    monkeypatch.setattr(harness, "measure", None)
    diary = toys.Diary()
    assert run(tmp_path, "toy-trained", diary=diary) == [record]
    (time,) = read_timings(tmp_path / "out")
    assert time.record == record.path.as_posix()
    assert (tmp_path / "out" / record.path).read_bytes() == before
    assert [what for what, _, _ in diary.steps if what == "toy training"] == []


def test_nothing_is_trained_for_a_time_alone(tmp_path, monkeypatch):
    (record,) = run(tmp_path, "toy-trained")
    untimed(tmp_path)
    monkeypatch.setattr(toys.Trained, "fit", None)
    diary = toys.Diary()
    options = toys.options(tmp_path, cache=tmp_path / "another-cache")
    assert harness.run(["toy-trained"], "toy", options, diary) == [record]
    part = record.detector.artifacts["toy"]
    assert f"no time on this device ({part} is not in the cache, and --force would train it)" in diary.text
    assert read_timings(tmp_path / "out") == []


def test_a_damaged_time_is_said_and_measured_again(tmp_path):
    run(tmp_path, "toy-brightness")
    (path,) = (tmp_path / "out").glob("records/*/*/*.timing-*.json")
    path.write_text("{}")
    diary = toys.Diary()
    run(tmp_path, "toy-brightness", diary=diary)
    assert "the time cannot be read and is made again" in diary.text
    assert len(read_timings(tmp_path / "out")) == 1


def test_times_of_another_number_of_threads_stand_beside_ours(tmp_path, monkeypatch):
    (record,) = run(tmp_path, "toy-brightness")
    monkeypatch.setattr(toys.torch, "get_num_threads", lambda: 64)
    run(tmp_path, "toy-brightness")
    assert {time.environment.threads for time in read_timings(tmp_path / "out")} == {record.environment.threads, 64}
    options = toys.options(tmp_path)
    assert [time.environment.threads for time in harness.times_here([record], options)] == [64]


def test_two_regions_are_measured_on_the_same_scores_and_timed_once(tmp_path, monkeypatch):
    alone = [run(tmp_path / region, "toy-brightness", settings=[f"protocol.region={region}"])[0] for region in REGIONS]
    scored: list[int] = []
    score = toys.Brightness.score
    monkeypatch.setattr(
        toys.Brightness, "score", lambda self, images: scored.append(len(images)) or score(self, images)
    )
    timed: list[object] = []
    time = harness.time_scoring
    monkeypatch.setattr(harness, "time_scoring", lambda *given: timed.append(given) or time(*given))
    together = run(tmp_path / "both", "toy-brightness", settings=["protocol.region=image, brain"])
    assert [record.metrics for record in together] == [record.metrics for record in alone]
    assert [record.config_hash for record in together] == [record.config_hash for record in alone]
    assert [record.dataset.region for record in together] == REGIONS
    times = read_timings(tmp_path / "both/out")
    assert {time.record for time in times} == {record.path.as_posix() for record in together}
    assert times[0].timing == times[1].timing
    assert len(timed) == 1
    data = toys.cell(tmp_path, "toy-brightness").data
    reference, test = len(data.reference), len(data.splits.test)
    assert scored[:3] == [reference, test, test], "maps, and image-level scores"
    assert test not in scored[3:], "the rest is timing"


def count_scored(monkeypatch) -> list[int]:
    """The number of images of each call of `score` from now on; as yet there are none."""
    sizes: list[int] = []
    score = toys.Brightness.score

    def counted(self, images):
        sizes.append(len(images))
        return score(self, images)

    monkeypatch.setattr(toys.Brightness, "score", counted)
    return sizes


OTHERWISE_MEASURED = ["postprocess=median", "reference_images=2", "resamples=30"]
IN_FOURS, TIMED = ("protocol.batch_size=4", "protocol.reference_images=4", "protocol.timing_slices=3"), (1, 3)
"""Scored four by four, but timed one by one and three by three: a test can tell them apart."""


@pytest.mark.parametrize("setting", OTHERWISE_MEASURED)
def test_what_is_measured_otherwise_is_scored_once(tmp_path, monkeypatch, setting):
    alone = [
        run(tmp_path / str(i), "toy-brightness", settings=[*IN_FOURS, *more])[0].metrics
        for i, more in enumerate([[], [f"protocol.{setting}"]])
    ]
    cells = [
        build_cells(["toy-brightness"], "toy", toys.options(tmp_path / "both", *IN_FOURS, *more))[0]
        for more in ([], [f"protocol.{setting}"])
    ]
    assert cells[0].config_hash != cells[1].config_hash
    sizes = count_scored(monkeypatch)
    records = harness.evaluate(cells, toys.Diary())
    assert [record.metrics for record in records] == alone
    scored = [size for size in sizes if size not in TIMED]
    validation, test = [4], [4, 2]
    assert scored == [*validation, *test, *test, *([2] if setting == "reference_images=2" else [])]


def test_a_run_that_was_cut_off_goes_on_with_its_scores_when_it_is_measured_otherwise(tmp_path, monkeypatch):
    def cut(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(harness, "write_record", cut)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, "toy-brightness", settings=IN_FOURS)
    sizes = count_scored(monkeypatch)
    (record,) = run(tmp_path, "toy-brightness", settings=[*IN_FOURS, "protocol.resamples=30"], force=True)
    assert record.protocol["resamples"] == 30
    assert [size for size in sizes if size not in TIMED] == []


def test_what_fails_for_one_region_is_not_tried_for_the_other(tmp_path, monkeypatch):
    fits: list[object] = []
    monkeypatch.setattr(toys.Raising, "fit", lambda *given: fits.append(given) or 1 / 0)
    records = run(tmp_path, "toy-raising", settings=["protocol.region=image,brain"])
    assert [record.reason for record in records] == ["ZeroDivisionError: division by zero"] * 2
    assert len(fits) == 1


def test_image_scores_are_timed_in_the_batches_that_fit(tmp_path, monkeypatch):
    sizes = []

    def image_scores(self, images):
        sizes.append(len(images))
        return images.mean((1, 2, 3))

    def score(self, images):
        if len(images) > 2:
            raise toys.torch.OutOfMemoryError("too large")
        return images.clone()

    monkeypatch.setattr(toys.Brightness, "image_scores", image_scores)
    monkeypatch.setattr(toys.Brightness, "score", score)
    (record,) = run(tmp_path, "toy-brightness", settings=["protocol.batch_size=2", "protocol.timing_slices=5"])
    assert record.status == "ok", record.reason
    assert read_timings(tmp_path / "out")[0].timing.batch_size == 2
    assert max(sizes) == 2


def test_an_error_of_the_users_while_running_stops_the_run_and_writes_no_record(tmp_path, monkeypatch):
    def fit(self, healthy, validation):
        raise PluginError("Install the other half.")

    monkeypatch.setattr(toys.Trained, "fit", fit)
    with pytest.raises(AdbenchError, match="other half"):
        run(tmp_path, "toy-brightness", "toy-trained")
    assert [record.detector.name for record in read_records(tmp_path / "out")] == ["toy-brightness"]


def with_reported(method: str) -> DatasetInfo:
    theirs = Reported("Theirs", "best_dice", 0.92, "the paper", "Table 1", registered=method)
    seconds = Reported("Theirs", "s_per_100_slices", 46, "the paper", "Table 3", registered=method)
    return replace(toys.ToyData.info, synthetic="lesions", reported=(theirs, seconds))


def test_reported_values_are_those_of_the_method_and_dataset_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(toys.ToyData, "info", with_reported("toy-brightness"))
    brightness, constant = run(tmp_path, "toy-brightness", "toy-constant")
    assert (brightness.reported, brightness.reported_source) == ({"best_dice": 0.92}, "the paper, Table 1")
    assert (constant.reported, constant.reported_source) == (None, None)
    out = tmp_path / "out"
    pages.write_pages(out)
    page = (out / "toy.md").read_text("utf-8")
    assert "| Theirs | s / 100 slices | 46 | the paper, Table 3 |  |" in page
    assert "synthetic lesions" in (out / "README.md").read_text("utf-8")


def test_a_run_from_python_is_the_run_of_the_command_line(tmp_path):
    folders = {"out": tmp_path / "out", "cache": tmp_path / "cache"}
    settings = {"protocol.resamples": 20, "protocol.timing_slices": 2, "protocol.timing_budget_s": 0.01, "scale": 2}
    record = adbench.run("toy-trained", "toy", preset="smoke", settings=settings, **folders)
    assert record.status == "ok"
    assert run(tmp_path, "toy-trained", settings=["scale=2"]) == [record]


def test_the_same_run_twice_gives_the_same_numbers(tmp_path):
    first, second = (run(tmp_path / name, "toy-trained")[0] for name in ("a", "b"))
    assert first.metrics == second.metrics
    assert first.detector == second.detector
    assert first.dataset == second.dataset


def test_a_method_sees_images_and_nothing_else(tmp_path, monkeypatch):
    seen = []

    def fit(self, healthy, validation):
        seen.extend([healthy, validation])

    monkeypatch.setattr(toys.Brightness, "fit", fit)
    run(tmp_path, "toy-brightness")
    for images, n in zip(seen, (6, 4), strict=True):
        assert set(vars(images)) == {"_array", "fingerprint"}
        assert len(images) == n
    batch = seen[0][np.array([0, 1])]
    batch.fill_(9)
    assert seen[0][np.array([0, 1])].max() < 1, "a copy"


def test_cells_of_one_run_share_the_data(tmp_path):
    cells: list[Cell] = build_cells(["toy-trained", "toy-twin"], "toy", toys.options(tmp_path))
    assert cells[0].data is cells[1].data


def test_a_record_says_the_processor_minutes_of_its_parts_as_far_as_they_are_known(tmp_path):
    (record,) = run(tmp_path, "toy-trained")
    assert record.core_minutes is not None
    assert 0 < record.core_minutes < 1
    part = tmp_path / "cache/artifacts" / record.detector.artifacts["toy"] / "part.json"
    index = json.loads(part.read_text("utf-8"))
    del index["meta"]["core_s"]  # as a part from before the count
    index["meta_sha256"] = canonical_hash(index["meta"])
    part.write_text(json.dumps(index))
    (again,) = run(tmp_path, "toy-trained", force=True)
    assert again.core_minutes is None
    (without,) = run(tmp_path, "toy-brightness")
    assert without.core_minutes == 0
