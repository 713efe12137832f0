"""Which rows may share a table."""

from __future__ import annotations

from record_factory import dataset, environment, make, trained_on

from adbench.results.frame import frame
from adbench.results.variants import variants


def parted(*changes: dict) -> list[str]:
    """In what each further variant differs, of records on one dataset."""
    records = [make(f"m{i}", dataset=dataset(**change)) for i, change in enumerate(changes)]
    return [variant.differs for variant in variants(frame(records))[1:]]


def test_what_is_said_of_images_without_a_mask_parts_no_table_and_other_settings_do():
    said = [{"config": {"n_test": 20, "unmatched": value}} for value in ("skip", "refuse")]
    assert parted(*said) == []
    assert parted(said[0], {"config": {"n_test": 30, "unmatched": "refuse"}}) == ["n_test=30"]
    sources = [{"train_on": trained_on(config={"size": 64, "unmatched": value})} for value in ("skip", "refuse")]
    assert parted(*sources) == []
    assert parted(sources[0], {"train_on": trained_on(config={"size": 128})}) == ["trained on `healthy`"]


def test_records_of_another_type_of_device_or_precision_share_no_table_and_another_processor_does():
    def scored(**changes: object) -> list[str]:
        records = [make("a"), make("b", environment=environment(**changes))]
        return [variant.differs for variant in variants(frame(records))[1:]]

    assert scored(device="cuda", device_name="NVIDIA H100") == ["scored on cuda, float32"]
    assert len(scored(precision="bf16 autocast")) == 1
    assert scored(threads=3, device_name="Another CPU, 8 cores") == []
