"""A metric is one object: registered in the list, it is measured, recorded and shown, with no other change."""

from __future__ import annotations

import csv
import io
import json

import pytest
import toys

from adbench.metrics.catalogue import METRICS
from adbench.metrics.estimate import Estimate
from adbench.metrics.evidence import Evidence
from adbench.metrics.metric import Metric


def mean_score(of: Evidence) -> Estimate:
    """In percent, over the lesion pixels of all images."""
    inside = [float(score) for _, scores, lesion, _ in of.maps() for score in scores[lesion]]
    return Estimate(value=100 * sum(inside) / len(inside), low=12.5, high=87.5)


TOY = Metric(
    key="toy_mean",
    title="toy mean",
    glossary="mean score of lesion pixels.",
    counts="pixels",
    resampled="nothing",
    estimate=mean_score,
    higher_is_better=False,
    unit="%",
)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)
    monkeypatch.setitem(METRICS, TOY.key, TOY)
    return ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]


def test_a_toy_metric_reaches_record_terminal_page_glossary_and_csv(folders, command, tmp_path):
    settings = ["protocol.resamples=20", "protocol.timing_slices=2", "protocol.timing_budget_s=0.01"]
    chosen = ["--method", "toy-brightness", "--dataset", "toy", "--preset", "smoke", "--set", *settings]
    code, _, _ = command("run", *chosen, *folders)
    assert code == 0
    asked = ["--metric", "toy_mean", "--format", "markdown", "--out", str(tmp_path / "out")]
    _, terminal, _ = command("table", *asked)
    (path,) = (tmp_path / "out/records/toy/toy-brightness").glob("*-seed0.json")
    value = json.loads(path.read_text("utf-8"))["metrics"]["toy_mean"]["value"]
    assert value > 0
    assert "| method | toy mean % |" in terminal
    assert f"| `toy-brightness` | {value:.3f} [12.500, 87.500] |" in terminal
    page = (tmp_path / "out/toy.md").read_text("utf-8")
    header, _, row = page.split("<summary>All metrics")[1].split("\n\n")[1].splitlines()
    assert row.split(" | ")[header.split(" | ").index("toy mean %")] == f"{value:.3f} [12.500, 87.500]"
    assert "- **toy mean %** (pixels, lower is better; interval over nothing): mean score of lesion pixels." in (
        tmp_path / "out/GLOSSARY.md"
    ).read_text("utf-8")
    _, text, _ = command("table", "--format", "csv", "--out", str(tmp_path / "out"))
    (result,) = csv.DictReader(io.StringIO(text))
    shown = [result[key] for key in ("toy_mean", "toy_mean_low", "toy_mean_high", "toy_mean_reported")]
    assert shown == [str(value), "12.5", "87.5", ""]
