"""From how many subjects on a metric shows its interval is what `benchmarks/coverage.py` found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adbench.metrics.catalogue import METRICS
from adbench.metrics.student import FEWEST, NEVER
from adbench.results.scan_metrics import SCAN_METRICS

ROOT = Path(__file__).parents[3]
FOUND = json.loads((ROOT / "benchmarks" / "results" / "coverage.json").read_text("utf-8"))
FRACTIONS, NUMBERS = "mean over subjects of fractions", "mean over subjects of mm or components"
SIMULATED = {
    "best_dice": "pooled ⌈DICE⌉",
    "auprc": "pooled AUPRC",
    "auroc": "pooled AUROC",
    "subject_auprc": FRACTIONS,
    "image_auroc": "image AUROC",
    "image_auroc_p99": "image AUROC",
    "image_auprc": "image AUPRC",
    "image_auprc_p99": "image AUPRC",
    "dice": "Dice at 1 %, {} healthy subjects",
    "subject_dice": "subject Dice at 1 %, {} healthy subjects",
    "sensitivity": "sensitivity at 1 %, {} healthy subjects",
    "lesion_recall": "lesion recall",
    "lesion_f1": "lesion F1",
    "false_components": "false components a slice",
    "rate_met": FRACTIONS,
    "scan_perfect_dice": FRACTIONS,
    "scan_hd95_mm": NUMBERS,
    "scan_avd_percent": "mean over subjects of AVD",
    "scan_false_components": NUMBERS,
}
"""Metric without its operating point -> the row of its interval; others of scans are means of fractions."""
WITHOUT_INTERVAL = {"scan_best_dice", "scan_auprc", "scan_auroc"}


def fewest(row: str) -> int:
    """The least of the numbers simulated from which on 90 % hold, within one standard error of the simulation."""
    rows = {row.format(healthy) for healthy in (3, 4, 20)}
    part = next(of for of in FOUND.values() if rows <= of["coverage"].keys())
    held = [(int(n), held) for each in rows for shape in part["coverage"][each].values() for n, held in shape.items()]
    needed = 0.9 - (0.9 * 0.1 / part["draws"]) ** 0.5
    fails = max((n for n, held in held if held < needed), default=0)
    return min((n for n, _ in held if n > fails), default=NEVER)


@pytest.mark.parametrize("key", [*METRICS, *(key for key in SCAN_METRICS if key not in WITHOUT_INTERVAL)])
def test_an_interval_is_shown_where_it_holds_the_truth_in_nine_of_ten_simulations(key: str):
    metric = METRICS.get(key) or SCAN_METRICS[key]
    row = SIMULATED.get(key.removesuffix(f"_{metric.point}"), FRACTIONS if key in SCAN_METRICS else "")
    assert metric.fewest == fewest(row)


def test_no_interval_is_computed_where_nothing_is_simulated():
    assert min(int(n) for of in FOUND["means"]["coverage"][FRACTIONS].values() for n in of) == FEWEST


def test_the_documentation_prints_the_least_of_each_row():
    page = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    for part in ("pixels", "points", "lesions", "means", "images"):
        for row, shapes in FOUND[part]["coverage"].items():
            least = [min(of[n] for of in shapes.values()) for n in next(iter(shapes.values()))]
            assert f"| {row} | {' | '.join(f'{100 * held:.0f} %' for held in least)} |" in page
