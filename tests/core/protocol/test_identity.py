"""What decides a cell's name, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import toys

from adbench.contracts.dataset import DatasetConfig
from adbench.protocol import cell as cell_module
from adbench.protocol import identity
from adbench.protocol.cell import build_cells
from adbench.protocol.identity import DatasetIdentity
from adbench.protocol.protocol import MeasurementProtocol


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


def config_hash(tmp_path, *settings: str, method: str = "toy-trained", **given) -> str:
    return build_cells([method], "toy", toys.options(tmp_path, *settings, **given))[0].config_hash


CHANGES = [
    *("part.steps=5", "part.rate=0.4", "scale=2", "data.n_train=7", "data.n_validation=9", "data.n_test=7"),
    *("protocol.batch_size=50", "protocol.region=brain", "protocol.postprocess=median"),
    *("protocol.reference_images=5", "protocol.resamples=21", "protocol.median_px=3"),
]
TIMES_ALONE = ["protocol.timing_slices=3", "protocol.timing_repeats=9", "protocol.timing_budget_s=0.02"]


def test_the_config_hash_changes_with_every_value_of_config_data_and_protocol(tmp_path):
    hashes = {change: config_hash(tmp_path, change) for change in CHANGES}
    hashes |= {"preset": config_hash(tmp_path, preset="paper"), "none": config_hash(tmp_path)}
    hashes["method"] = config_hash(tmp_path, "scale=1", method="toy-twin")
    assert len(set(hashes.values())) == len(CHANGES) + 3
    assert all(len(value) == 12 and int(value, 16) >= 0 for value in hashes.values())


def test_every_field_of_config_data_and_protocol_was_changed_in_that_test(tmp_path):
    cell = toys.cell(tmp_path, "toy-trained")
    fields = {f"data.{name}" for name in cell.data.dataset.config.model_dump()}
    fields |= {f"protocol.{name}" for name in cell.protocol.model_dump()} - {"protocol.version"}
    fields |= {"scale", "part.steps", "part.rate"}
    assert {change.partition("=")[0] for change in [*CHANGES, *TIMES_ALONE]} == fields


def test_how_a_cell_is_timed_is_no_part_of_its_name(tmp_path):
    assert {config_hash(tmp_path, change) for change in TIMES_ALONE} == {config_hash(tmp_path)}


def test_the_config_hash_depends_neither_on_seed_device_and_folders_nor_on_the_way_a_value_was_given(tmp_path):
    base = config_hash(tmp_path)
    assert config_hash(tmp_path, seed=3) == base
    assert config_hash(tmp_path, device="cpu") == base
    assert config_hash(tmp_path / "elsewhere", force=True) == base
    assert config_hash(tmp_path, "part.steps=4", "scale=1.0") == base


def test_the_config_hash_changes_with_the_code_of_method_and_data_and_with_any_pixel(tmp_path, monkeypatch):
    cell = toys.cell(tmp_path, "toy-trained")
    base = cell.config_hash
    image = cell.data.splits.train.images.copy()
    image[0, 0, 0, 0] += 0.5
    splits = replace(cell.data.splits, train=replace(cell.data.splits.train, images=image))
    assert replace(cell, data=replace(cell.data, splits=splits)).config_hash != base
    with monkeypatch.context() as patch:
        patch.setattr(toys.Trained, "info", replace(toys.Trained.info, version="2"))
        assert config_hash(tmp_path) != base
    monkeypatch.setattr(toys.ToyData, "info", replace(toys.ToyData.info, version="2"))
    assert config_hash(tmp_path) != base


def test_what_was_said_of_images_without_a_mask_is_seen_in_the_images_and_no_part_of_the_config_hash():
    class Config(DatasetConfig):
        unmatched: str = "refuse"
        size: int = 64

    def hashed(**fields) -> str:
        data = DatasetIdentity("set", "1", Config(**fields), "0123456789abcdef")
        return identity.config_hash("m", "1", Config(), data, MeasurementProtocol(), {}, data)

    assert hashed(unmatched="skip") == hashed(unmatched="refuse") == hashed()
    assert hashed(size=128) != hashed()


def test_scores_belong_to_the_marked_fields_of_the_protocol_and_to_all_of_the_method(tmp_path, monkeypatch):
    def scores_hash(*settings: str, **given) -> str:
        return build_cells(["toy-trained"], "toy", toys.options(tmp_path, *settings, **given))[0].scores_hash

    base = scores_hash()
    same = {change for change in CHANGES if scores_hash(change) == base}
    decided_by_images = {"data.n_test=7"}
    assert same == {c for c in CHANGES if c.startswith("protocol.")} - {"protocol.batch_size=50"} | decided_by_images
    assert scores_hash(tuning={"identity": "x", "trial": 1, "fingerprint": "y"}) == base
    assert scores_hash(preset="paper") != base, "it trains for longer"
    assert scores_hash(seed=3) != base, "other parts"
    changed = [
        (toys.Trained, "info", replace(toys.Trained.info, version="2")),
        (cell_module, "decide_for_all", lambda *given: "bf16"),
    ]
    for owner, name, value in changed:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            assert scores_hash() != base
    on_cpu = toys.cell(tmp_path, "toy-trained")
    assert replace(on_cpu, device=toys.torch.device("cuda")).scores_hash != on_cpu.scores_hash
