"""Several datasets in one run, and training on one set while testing on others."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import toys

import adbench
from adbench.config.options import RunOptions
from adbench.contracts.splits import Split
from adbench.errors import AdbenchError, ConfigError, DataError
from adbench.protocol import data, harness
from adbench.protocol.cell import Cell, build_cells
from adbench.protocol.forecast import forecast
from adbench.protocol.rebuilding import Rebuilder
from adbench.results import pages
from adbench.results.record import Record, read_record, read_records


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


def options(tmp_path, *settings: str, **given) -> RunOptions:
    return toys.options(tmp_path, *settings, **{"train_on": "toy", **given})


def run(tmp_path, datasets, *settings: str, diary: toys.Diary | None = None, **given) -> list[Record]:
    return harness.run(["toy-trained"], datasets, options(tmp_path, *settings, **given), diary or toys.Diary())


def cell(tmp_path, dataset: str, *settings: str, **given) -> Cell:
    return build_cells(["toy-trained"], dataset, options(tmp_path, *settings, **given))[0]


def test_one_training_serves_all_test_sets(tmp_path):
    diary = toys.Diary()
    records = run(tmp_path, ["toy-sick", "toy-large"], "data.size=16", diary=diary)
    assert [(record.status, record.dataset.name) for record in records] == [("ok", "toy-sick"), ("ok", "toy-large")]
    assert records[0].detector.artifacts == records[1].detector.artifacts
    assert sum(what.endswith("toy training") for what, _, _ in diary.steps) == 4, "the steps of one training"


def test_a_set_tested_elsewhere_and_the_set_itself_share_a_training_on_the_same_images(tmp_path):
    diary = toys.Diary()
    own, other = run(tmp_path, ["toy", "toy-sick"], diary=diary)
    assert own.detector.artifacts == other.detector.artifacts
    assert own.dataset.train_on is None
    assert other.dataset.train_on.name == "toy"


def test_training_on_the_tested_set_itself_is_the_run_without(tmp_path):
    assert cell(tmp_path, "toy").config_hash == cell(tmp_path, "toy", train_on=None).config_hash
    assert cell(tmp_path, "toy").data.train_on is None


def test_a_set_whose_test_images_cannot_be_had_trains_and_says_why(tmp_path, monkeypatch):
    def fail(self):
        raise DataError("its masks are missing.")

    train, validation = toys.ToyData(toys.ToyConfig()).load_healthy()
    monkeypatch.setattr(toys.ToyData, "load", fail)
    monkeypatch.setattr(toys.ToyData, "load_healthy", lambda self: (train, validation))
    diary = toys.Diary()
    (built,) = build_cells(["toy-trained"], "toy", options(tmp_path, train_on=None), diary, tested=False)
    assert len(built.data.splits.test) == 0
    assert "toy: its healthy images alone are used (toy: its masks are missing.)" in diary.text


def test_images_come_from_the_two_sets(tmp_path):
    splits = cell(tmp_path, "toy-sick").data.splits
    train, validation = toys.ToyData(toys.ToyConfig()).load_healthy()
    test = toys.ToySick(toys.SickConfig()).load_test()
    expected = [train.fingerprint, validation.fingerprint, test.fingerprint]
    assert [split.fingerprint for _, split in splits.items()] == expected


def test_the_record_says_what_was_trained_on_and_the_manifest_holds_both(tmp_path):
    (record,) = run(tmp_path, "toy-sick", "data.n_train=5", "data.n_test=8")
    trained = record.dataset.train_on
    assert (trained.name, trained.distribution, trained.version) == ("toy", "toys", "1")
    assert trained.config == {"n_train": 5, "n_validation": 8, "n_test": 8}, "a setting reaches every set that has it"
    assert record.dataset.config["n_test"] == 8
    assert record.dataset.split_sizes == {"train": 5, "validation": 8, "test": 8}
    manifest = json.loads((tmp_path / "out" / record.dataset.manifest).read_text("utf-8"))
    assert "train-0" in manifest["train"]
    assert "sick-0" in manifest["test"]
    path = tmp_path / "out/records/toy-sick/toy-trained" / f"{record.config_hash}-seed0.json"
    assert read_record(path) == record


def test_the_config_hash_holds_the_set_trained_on_its_version_and_its_images(tmp_path, monkeypatch):
    hashes = [
        cell(tmp_path, "toy-sick").config_hash,
        cell(tmp_path, "toy-sick", train_on="toy-old").config_hash,
        cell(tmp_path, "toy-sick", "data.n_train=5").config_hash,
    ]
    monkeypatch.setattr(toys.ToyData, "info", replace(toys.ToyData.info, version="2"))
    hashes.append(cell(tmp_path, "toy-sick").config_hash)
    assert len(set(hashes)) == 4


@pytest.mark.parametrize(
    ("shared", "message"),
    [
        ("subject", r"subject 'train-0' is in both train and test \(scans/sick-0\.nii\[9\]\)"),
        ("image", r"image content '[0-9a-f]{64}' is in both train and test \(scans/sick-0\.nii\[9\]\)"),
    ],
)
def test_what_is_trained_on_must_not_be_tested_on(tmp_path, shared, message):
    with pytest.raises(DataError, match=message) as error:
        run(tmp_path, "toy-sick", f"data.shared={shared}")
    assert str(error.value).startswith("Trained on toy, tested on toy-sick: ")
    assert not (tmp_path / "out").exists()


def test_patients_that_a_set_is_known_to_share_are_left_out_and_it_is_said(tmp_path, monkeypatch):
    whole = cell(tmp_path, "toy-sick").data.splits.test
    monkeypatch.setattr(toys.ToySick, "has_patients_of", ("toy",))
    diary = toys.Diary()
    options = toys.options(tmp_path, "data.shared=subject", train_on="toy")
    (of,) = build_cells(["toy-brightness"], "toy-sick", options, diary)
    kept, trained = of.data.splits.test, of.data.splits.train
    assert len(kept) == len(whole) - 1
    assert not set(kept.subjects) & set(trained.subjects)
    assert "1 subject left out, for toy has them too" in diary.text
    with pytest.raises(DataError, match="image content"):
        build_cells(["toy-brightness"], "toy-sick", toys.options(tmp_path, "data.shared=image", train_on="toy"))


def test_images_of_two_sizes_are_refused_with_the_setting_to_change(tmp_path):
    with pytest.raises(ConfigError) as error:
        run(tmp_path, "toy-large")
    assert "those of toy have 16 x 16 pixels and those of toy-large 32 x 32." in str(error.value)
    assert "--set data.size=16 reaches toy-large" in str(error.value)


def test_the_size_to_set_is_that_of_the_set_that_has_no_setting(tmp_path, monkeypatch):
    def load_healthy(self):
        images = np.random.default_rng(2).random((4, 1, 32, 32), np.float32)
        return toys.healthy(images[:2], "train"), toys.healthy(images[2:], "validation")

    monkeypatch.setattr(toys.ToyLarge, "load_healthy", load_healthy)
    with pytest.raises(ConfigError, match=r"--set data\.size=16 reaches toy-large"):
        run(tmp_path, "toy", train_on="toy-large")


def test_images_of_two_sizes_without_a_setting_point_to_the_settings_there_are(tmp_path, monkeypatch):
    def large(self):
        return toys.healthy(np.ones((2, 1, 32, 32), np.float32), "large")

    monkeypatch.setattr(toys.ToyOld, "load_test", large)
    with pytest.raises(ConfigError, match="See 'adbench info toy' and 'adbench info toy-old'"):
        run(tmp_path, "toy-old")


def test_two_modalities_are_refused_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(toys.ToyData, "load", None)
    with pytest.raises(ConfigError, match=r"of one modality, but toy is 'none' and toy-ct 'CT \(made up\)'"):
        run(tmp_path, "toy-ct")


def test_a_modality_is_the_first_word(tmp_path, monkeypatch):
    monkeypatch.setattr(toys.ToyData, "info", replace(toys.ToyData.info, modality="ct, as distributed"))
    assert cell(tmp_path, "toy-ct").data.train_on


@pytest.mark.parametrize(
    ("ours", "theirs", "fits"),
    [
        ("MRI FLAIR", "MRI T1", False),
        ("MRI T1", "MRI T1c", False),
        ("MRI FLAIR", "MRI (simulated FLAIR)", True),
        ("MRI", "MRI T2", True),
        ("MRI FLAIR", "CT (HU)", False),
    ],
)
def test_two_contrasts_of_mri_are_refused_where_both_are_said(tmp_path, monkeypatch, ours, theirs, fits):
    monkeypatch.setattr(toys.ToyData, "info", replace(toys.ToyData.info, modality=ours))
    monkeypatch.setattr(toys.ToySick, "info", replace(toys.ToySick.info, modality=theirs))
    if fits:
        assert cell(tmp_path, "toy-sick").data.train_on
        return
    with pytest.raises(ConfigError) as raised:
        cell(tmp_path, "toy-sick")
    assert f"toy is {ours!r} and toy-sick {theirs!r}" in str(raised.value)


def test_a_set_of_ones_own_has_records_a_page_and_messages_under_the_name_that_its_config_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(toys.ToySick, "name", "my-hospital")
    (record,) = run(tmp_path, "toy-sick")
    assert (record.dataset.name, record.dataset.registered) == ("my-hospital", "toy-sick")
    assert record.path.parent.as_posix() == "records/my-hospital/toy-trained"
    assert read_record(tmp_path / "out" / record.path) == record
    pages.write_pages(tmp_path / "out")
    assert (tmp_path / "out/my-hospital.md").is_file()
    rebuilt = Rebuilder(options(tmp_path), toys.Diary()).cell(record)
    assert rebuilt.record_path == tmp_path / "out" / record.path
    with pytest.raises(DataError, match=r"^my-hospital: toy-sick has no healthy images"):
        run(tmp_path, "toy-sick", train_on=None)


def test_a_set_of_ones_own_cannot_take_the_name_of_a_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(toys.ToySick, "name", "toy-ct")
    with pytest.raises(ConfigError, match=r"'toy-ct' is a dataset of adbench.*data\.name=.*toy-ct-slices"):
        cell(tmp_path, "toy-sick")


def test_a_set_without_healthy_images_needs_another_one(tmp_path):
    with pytest.raises(DataError, match="--train-on"):
        run(tmp_path, "toy-sick", train_on=None)


def test_a_setting_that_none_of_the_sets_has_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"no setting 'data\.n_tran' for toy-sick or toy; did you mean 'data\.n_train'"
    ):
        run(tmp_path, "toy-sick", "data.n_tran=3")


def test_a_region_that_the_set_trained_on_lacks_is_said_of_that_set(tmp_path, monkeypatch):
    def sick(self):
        split = load(self)
        return replace(split, brains=np.ones(split.images.shape, bool))

    def bare(self):
        train, validation = self.load().train, self.load().validation
        return train, replace(validation, brains=None)

    load = toys.ToySick.load_test
    monkeypatch.setattr(toys.ToySick, "load_test", sick)
    monkeypatch.setattr(toys.ToyData, "load_healthy", bare)
    with pytest.raises(ConfigError, match="brain masks, but toy has none"):
        run(tmp_path, "toy-sick", "protocol.region=brain")


def test_several_datasets_without_train_on_are_trained_on_their_own(tmp_path):
    records = harness.run(["toy-trained", "toy-brightness"], ["toy", "toy-old"], toys.options(tmp_path), toys.Diary())
    found = [(record.dataset.name, record.detector.name, record.dataset.train_on) for record in records]
    assert found == [
        (data, method, None) for data in ("toy", "toy-old") for method in ("toy-trained", "toy-brightness")
    ]


def test_a_dry_run_trains_once_for_all_test_sets_and_names_each(tmp_path):
    cells = forecast(["toy-trained"], ["toy-sick", "toy-large"], options(tmp_path, "data.size=16"), toys.Diary())
    assert [cell.dataset for cell in cells] == ["toy-sick", "toy-large"]
    assert cells[0].parts == cells[1].parts
    assert cells[0].record != cells[1].record


def test_a_dataset_gets_cache_progress_and_messages_from_the_run(tmp_path, monkeypatch):
    def load_test(self):
        self.runtime.progress("preparing", 1, 1)
        self.runtime.notify("one case is skipped")
        seen.append(self.runtime.cache)
        return load(self)

    seen, load, diary = [], toys.ToySick.load_test, toys.Diary()
    monkeypatch.setattr(toys.ToySick, "load_test", load_test)
    run(tmp_path, "toy-sick", diary=diary)
    assert seen == [tmp_path / "cache/data"]
    assert ("preparing", 1, 1) in diary.steps
    assert "one case is skipped" in diary.messages


def test_a_dataset_whose_init_takes_config_and_root_alone_works_and_gets_its_runtime(tmp_path):
    (made,) = (
        data.make(plugin, {}, toys.options(tmp_path), toys.Diary()) for plugin in data.plugins(["toy-old"], None)
    )
    assert made.dataset.runtime.cache == tmp_path / "cache/data"
    assert run(tmp_path, "toy-old", train_on=None)[0].status == "ok"


def test_an_init_that_raises_a_type_error_of_its_own_is_not_called_again(tmp_path, monkeypatch):
    calls = []

    def init(self, config, data_root=None, runtime=None):
        calls.append(runtime)
        raise TypeError("its own")

    monkeypatch.setattr(toys.ToyData, "__init__", init)
    with pytest.raises(TypeError, match="its own"):
        cell(tmp_path, "toy", train_on=None)
    assert len(calls) == 1


def test_pages_say_what_was_trained_on_and_keep_it_apart(tmp_path):
    run(tmp_path, "toy-sick")
    run(tmp_path, "toy-sick", train_on="toy-old")
    pages.write_pages(tmp_path / "out")
    page, index = ((tmp_path / "out" / name).read_text("utf-8") for name in ("toy-sick.md", "README.md"))
    assert page.count("| method | ⌈DICE⌉ |") == 2
    assert "<summary>Variant, not to be compared with the rows above: trained on toy" in page
    assert "| trained on | `toy` 1 (toys), settings n_test=6, n_train=6, n_validation=8 |" in page
    assert "| trained on | `toy-old` 1 (toys)" in page
    assert "trained on `toy` (n = " in index


def test_a_failed_record_of_a_run_trained_elsewhere_keeps_the_reason(tmp_path):
    (record,) = harness.run(["toy-raising"], "toy-sick", options(tmp_path), toys.Diary())
    assert (record.status, record.reason) == ("failed", "ValueError: the toy broke")
    assert record.dataset.train_on.name == "toy"
    pages.write_pages(tmp_path / "out")
    assert "`toy-raising`, trained on `toy`" in (tmp_path / "out/toy-sick.md").read_text("utf-8")


def test_from_python_one_dataset_gives_a_record_and_several_a_list(tmp_path):
    quick = {"protocol.resamples": 20, "protocol.timing_slices": 2, "protocol.timing_budget_s": 0.01}
    given = {"preset": "smoke", "settings": quick, "out": tmp_path / "out", "cache": tmp_path / "cache"}
    record = adbench.run("toy-trained", "toy-sick", train_on="toy", **given)
    assert record.dataset.train_on.name == "toy"
    assert adbench.run("toy-trained", ["toy-sick", "toy"], train_on="toy", **given)[0] == record
    assert len(read_records(tmp_path / "out")) == 2


def test_an_unknown_set_to_train_on_is_named(tmp_path):
    with pytest.raises(AdbenchError, match="no dataset 'toi'; did you mean 'toy'"):
        cell(tmp_path, "toy-sick", train_on="toi")


def test_the_config_hash_holds_the_versions_of_the_parts(tmp_path, monkeypatch):
    def spec(self, healthy):
        return replace(before(self, healthy), version=2)

    before, base = toys.Trained.spec, cell(tmp_path, "toy")
    assert (base.part_versions, len(base.config_hash)) == ({"toy": 1}, 12)
    monkeypatch.setattr(toys.Trained, "spec", spec)
    raised = cell(tmp_path, "toy")
    assert raised.part_versions == {"toy": 2}
    assert base.config_hash != raised.config_hash
    (record,) = run(tmp_path, "toy")
    assert record.detector.part_versions == {"toy": 2}


def test_splits_taken_in_one_piece_are_views():
    images = np.zeros((6, 1, 4, 4), np.float32)
    split = toys.healthy(images, "a", image_level_only=np.array([False] * 4 + [True] * 2))
    assert np.shares_memory(split.pixel_level().images, images)
    assert len(split.pixel_level()) == 4
    whole = replace(split, image_level_only=np.zeros(6, bool))
    assert whole.pixel_level() is whole
    apart: Split = split.take(np.array([0, 2]))
    assert apart.subjects == ["a-0", "a-2"]
