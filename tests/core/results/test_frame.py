"""The frame of results, and the columns that it is made of."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from record_factory import (
    card,
    dataset,
    environment,
    failed,
    make,
    measurement,
    metrics,
    render,
    strata,
    timed,
    trained_on,
)

from adbench.metrics.catalogue import METRICS
from adbench.results import columns
from adbench.results.columns import METHOD, RUN, TIME, Column, metric_columns
from adbench.results.frame import frame, read_frame, to_csv
from adbench.results.frame import strata as strata_frame
from adbench.results.record import write_record
from adbench.results.scan_metrics import SCAN_METRICS
from adbench.results.timing import write_timing

GPU = environment(device="cuda", device_name="Some GPU", precision="bf16 autocast")


def test_there_is_a_row_for_each_record_and_device_and_one_for_a_record_without_a_time():
    records = [make("a"), make("b"), failed("c")]
    found = frame(records, [timed(records[0]), timed(records[0], on=GPU), timed(make("gone"))])
    assert list(zip(found["method"], found["device"].fillna("none"), strict=True)) == [
        ("a", "cpu"),
        ("a", "cuda"),
        ("b", "none"),
        ("c", "none"),
    ]


def test_columns_are_those_of_the_lists_with_the_dtypes_that_they_name_even_without_a_row():
    expected = {**RUN, **METHOD, **metric_columns(), **TIME}
    for found in (frame([]), frame([make()]), frame([make()], [timed(make())])):
        assert list(found.columns) == list(expected)
        assert {key: str(dtype) for key, dtype in found.dtypes.items()} == {k: c.dtype for k, c in expected.items()}


def test_every_column_says_what_it_holds():
    described = {**RUN, **METHOD, **metric_columns(), **TIME}
    assert len(described) == len(RUN) + len(METHOD) + 4 * len(METRICS) + 3 * len(SCAN_METRICS) + len(TIME)
    assert all(column.about and column.key == key for key, column in described.items())


def test_values_are_those_of_the_files_and_undefined_ones_are_missing():
    record = make(metrics=metrics(None), reported={"auprc": 0.9}, core_minutes=1.5, dataset=dataset(prevalence=None))
    row = frame([record], [timed(record, 2.0, slices=50)]).iloc[0]
    assert (row["auprc"], row["auprc_low"], row["auprc_reported"]) == (0.8, 0.8 - 0.02, 0.9)
    assert (row["core_minutes"], row["parameters"], row["image_height"]) == (1.5, 4_600_000, 64)
    assert (row["s_per_100_slices"], row["flops_per_100_slices"], row["latency_s"]) == (4.0, 2.46e12, 0.125)
    assert json.loads(row["stages_s_per_100_slices"]) == {"encode": 0.5, "decode": 1.5}
    assert json.loads(row["config"]) == {"steps": 10}
    assert row[["best_dice", "best_dice_low", "image_auprc", "prevalence", "best_dice_reported"]].isna().all()
    assert (row["reason"], row["train_on"], row["tuning"]) == ("", "", "")


def test_the_set_trained_on_is_named_with_its_settings():
    row = frame([make(dataset=dataset(train_on=trained_on("healthy")))]).iloc[0]
    assert (row["train_on"], row["train_on_version"], row["train_on_config"]) == ("healthy", "3", '{"size": 64}')


def test_the_family_of_a_method_is_that_of_its_card_and_empty_without_one():
    cards = {"fpi": card("synthetic", "synthetic anomalies"), "own": card(None), "gone": card("feature")}
    found = frame([make("fpi"), make("other"), make("own")], [], cards)
    assert list(found["family"]) == ["synthetic", "", ""]
    assert list(found["knowledge"]) == ["synthetic anomalies", "", "nothing"]


def test_the_csv_holds_every_number_in_full(tmp_path):
    value = 0.1234567890123456
    record = make(metrics={**metrics(), "auroc": {"value": value}})
    for each in (record, failed("broken", 'a "reason", and more')):
        write_record(each, tmp_path)
    write_timing(timed(record), tmp_path)
    text = to_csv(read_frame(tmp_path))
    found = pd.read_csv(io.StringIO(text), keep_default_na=False)
    assert list(found["reason"]) == ['a "reason", and more', ""]
    assert found["auroc"][1] == str(value)
    assert found["peak_memory_bytes"][1] == str(300 * 2**20)
    assert found["auroc"][0] == found["s_per_100_slices"][0] == ""


def test_lesions_by_size_have_a_row_for_each_record_point_and_range():
    found = strata_frame([make(measurement=measurement(strata=strata())), make("without")])
    assert len(found) == 4 * 2
    first = found[(found["point"] == "1pct") & (found["from_fraction"] == 0)].iloc[0]
    assert (first["lesions"], first["pixels"], first["lesion_recall"], first["sensitivity"]) == (5, 50, 0.375, 0.125)
    assert found.loc[found["from_fraction"] == 0.02, "to_fraction"].isna().all()


def test_a_column_of_times_is_one_object_that_reaches_page_glossary_and_csv(monkeypatch):
    watts = Column("toy_w", "float64", "watts drawn.", lambda t: 7.5, "power W", lambda row: f"{row['toy_w']:.1f} W")
    monkeypatch.setitem(columns.TIME, watts.key, watts)
    pages = render([make()], [timed(make())])
    header, _, row = pages[Path("toy.md")].split("<summary>Time on")[1].split("\n\n")[2].splitlines()
    assert row.split(" | ")[header.split(" | ").index("power W")] == "7.5 W"
    assert "- **power W**: watts drawn." in pages[Path("GLOSSARY.md")]
    assert pd.read_csv(io.StringIO(to_csv(frame([make()], [timed(make())]))))["toy_w"][0] == 7.5


@pytest.mark.parametrize("higher", [True, False])
def test_pages_rank_by_the_direction_of_the_metric(monkeypatch, higher):
    given = METRICS["subject_auprc"]
    monkeypatch.setitem(METRICS, given.key, replace(given, higher_is_better=higher))
    values = {"a": 0.1, "b": 0.2}
    records = [make(name, metrics={**metrics(), given.key: {"value": value}}) for name, value in values.items()]
    pages = render(records)
    shown = [line.split(" | ")[0] for line in pages[Path("toy.md")].splitlines() if line.startswith(("| `a`", "| `b`"))]
    assert shown[:2] == [f"| {name}" for name in (["`b`", "`a`"] if higher else ["`a`", "`b`"])]
    assert f"({given.counts}, {'higher' if higher else 'lower'} is better" in pages[Path("GLOSSARY.md")]
