"""Charts of the methods that a reader checks: curves, subjects and sizes of lesions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from adbench.metrics.points import POINTS
from adbench.results import formats
from adbench.results.record import Record
from adbench.results.report import charts, curves, strips
from adbench.results.report.chart import Chart, Menu
from adbench.results.report.sources import Sources

MEASURES = {"lesion_recall": "lesion recall", "sensitivity": "sensitivity"}


def detail(
    names: Sequence[str],
    checked: Sequence[str],
    medians: Mapping[str, Record],
    sources: Sources,
    subjects: Mapping[str, pd.DataFrame],
    prevalence: float,
) -> list[Chart]:
    roc: curves.Points = []
    precision: curves.Points = []
    for label, record in medians.items():
        if hist := sources.counts(record.path.as_posix()):
            of_roc, of_precision = curves.pixel_curves(label, hist)
            roc += of_roc
            precision += of_precision
    of_froc = [point for label, record in medians.items() for point in curves.froc(label, record)]
    level = None if formats.is_missing(prevalence) else round(float(prevalence), 4)
    lines = [
        _drawn(
            "precision",
            "Precision and recall",
            charts.curves(names, checked, "recall", "precision", level=level),
            precision,
            "All test pixels pooled. The dashed line is what a random score gets: the share of lesion pixels.",
            "No counts are kept beside these records, so there are no curves.",
        ),
        _drawn(
            "roc",
            "ROC",
            charts.curves(names, checked, "false positive rate", "true positive rate"),
            roc,
            "All test pixels pooled. Flattering where lesions are rare.",
            "No counts are kept beside these records, so there are no curves.",
        ),
        _drawn(
            "froc",
            "FROC",
            charts.curves(names, checked, "false components in a slice", "lesion recall", rates=True),
            of_froc,
            "Measured at eight rates of healthy pixels, 0.1 to 20 %, and joined in that order; between them nothing is "
            "known. A curve can turn back: as more is flagged, components grow together.",
            "These records keep no FROC points.",
        ),
    ]
    return [*lines, _strips(names, checked, medians, subjects), _sizes(names, checked, medians)]


def _drawn(key: str, title: str, chart: Any, rows: Sequence[Mapping[str, Any]], about: str, missing: str) -> Chart:
    if not rows:
        return Chart(key, title, None, "", missing=missing)
    return Chart(key, title, charts.filled(chart, rows), about)


def _strips(
    names: Sequence[str], checked: Sequence[str], medians: Mapping[str, Record], subjects: Mapping[str, pd.DataFrame]
) -> Chart:
    files = {label: subjects[path] for label, r in medians.items() if (path := r.path.as_posix()) in subjects}
    rows = strips.strips(files)
    title = "Subject by subject"
    if not rows:
        return Chart("strips", title, None, "", missing="No numbers by subject are kept beside these records.")
    measures = {str(row["measure"]): strips.column_title(str(row["measure"])) for row in rows}
    about = "A stroke is a test subject with a lesion, the diamond the median. Point at one to find it in every row."
    spec = charts.filled(charts.strips(names, checked, next(iter(measures))), rows)
    return Chart("strips", title, spec, about, [Menu("measure", "number", measures)])


def _sizes(names: Sequence[str], checked: Sequence[str], medians: Mapping[str, Record]) -> Chart:
    rows = [point for label, record in medians.items() for point in curves.sizes(label, record)]
    title = "Lesions by size"
    if not rows:
        return Chart("sizes", title, None, "", missing="These records keep nothing by size of lesion.")
    points = {p.key: f"at {p.title}" for p in POINTS if any(row["point"] == p.key for row in rows)}
    first = "1pct" if "1pct" in points else next(iter(points))
    points = {first: points[first], **points}
    order = [row["size"] for row in sorted(rows, key=lambda row: row["from"])]
    spec = charts.filled(charts.sizes(names, checked, first, "lesion_recall", list(dict.fromkeys(order))), rows)
    about = (
        "Share of the lesions of a size that are found (a tenth of their pixels flagged), or of their pixels, with "
        "95 % intervals. Neither counts what is flagged elsewhere. Sizes without a lesion are left out."
    )
    choices = [Menu("measure", "number", MEASURES), Menu("point", "threshold", points)]
    return Chart("sizes", title, spec, about, choices)
