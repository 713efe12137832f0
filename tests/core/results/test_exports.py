"""Results for other programs and for papers."""

from __future__ import annotations

import io
import json
import sys

import pandas as pd
import pytest
from record_factory import dataset, make, metrics, timed

from adbench.errors import RecordError
from adbench.metrics.catalogue import METRICS
from adbench.results.exports import chosen, export
from adbench.results.frame import frame
from adbench.results.scan_metrics import SCAN_METRICS

RECORDS = [
    make("ddpm_a", metrics=metrics(0.91), reported={"best_dice": 0.92}, reported_source="A paper, 5 %"),
    make("ddpm_a", seed=1, metrics=metrics(0.89)),
    make("control", metrics=metrics(0.5), parameters=0),
    make("control", dataset=dataset(name="other", fingerprint="f" * 16), parameters=0),
]
RESULTS = frame(RECORDS, [timed(RECORDS[0])])


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_all_records_survive_in_every_format(form, tmp_path):
    data = export(RESULTS, form, [], tmp_path)
    if form == "csv":
        found = pd.read_csv(io.BytesIO(data))
    else:
        found = pd.DataFrame(json.loads(data)) if form == "json" else pd.read_parquet(io.BytesIO(data))
    assert list(found) == list(RESULTS)
    assert found["record"].tolist() == RESULTS["record"].tolist()
    assert found["best_dice"].tolist() == RESULTS["best_dice"].tolist()


def test_rows_and_metrics_may_be_chosen(tmp_path):
    rows = chosen(RESULTS, {"dataset": ["toy"], "method": ["control"]}, ["auprc"])
    assert rows["record"].tolist() == ["records/toy/control/abcdef012345-seed0.json"]
    found = pd.read_csv(io.BytesIO(export(rows, "csv", ["auprc"], tmp_path)))
    measured = {key for key in found if key.startswith((*METRICS, *SCAN_METRICS))}
    assert measured == {"auprc", "auprc_low", "auprc_high", "auprc_reported"}
    assert {"config", "s_per_100_slices"} <= set(found)


@pytest.mark.parametrize(
    ("names", "wanted", "match"),
    [
        ({"dataset": ["brats"]}, [], "no record of the dataset 'brats': those with records are other, toy"),
        ({"method": ["ddpm"]}, [], "no record of the method 'ddpm': those with records are control, ddpm_a"),
        ({}, ["dice"], "no metric 'dice': the metrics are best_dice, "),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(names, wanted, match):
    with pytest.raises(RecordError, match=match):
        chosen(RESULTS, names, wanted)


def test_markdown_has_a_table_for_each_dataset_and_the_metrics_asked_for(tmp_path):
    text = export(RESULTS, "markdown", ["auroc", "dice_1pct"], tmp_path).decode()
    assert "`toy`, trained on its own healthy images\n" in text
    assert text.count("| method | AUROC | Dice at 1 % |") == 2
    assert "| 0.990 ± 0.000 [0.989, 0.991] |" in text.replace("**", "")


def test_latex_is_a_table_with_the_rules_of_booktabs_whose_signs_are_escaped(tmp_path):
    text = export(RESULTS, "latex", [], tmp_path).decode()
    (toy,) = (part for part in text.split("\\end{tabular}") if "ddpm" in part)
    assert toy.count("\\begin{tabular}{lrrrrr}") == 1
    assert [toy.count(rule) for rule in ("\\toprule", "\\midrule", "\\bottomrule")] == [1, 1, 1]
    (line,) = (line for line in toy.splitlines() if "ddpm" in line)
    assert line.startswith("ddpm\\_a & \\textbf{0.900 $\\pm$ 0.014 [")
    assert line.endswith("\\\\")
    assert line.count(" & ") == 5
    assert "$\\lceil$DICE$\\rceil$" in toy
    assert "Dice at 1 \\%" in toy
    assert "% Reported: A paper, 5 %.\n" in text


def test_without_pyarrow_parquet_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RecordError, match="install it with pip install"):
        export(RESULTS, "parquet", [], tmp_path)
