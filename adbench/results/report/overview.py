"""Charts of all methods of a table: how far behind the best, values with intervals, quality by time, every pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from adbench.metrics.catalogue import METRICS
from adbench.metrics.points import POINTS
from adbench.results import formats
from adbench.results.columns import rows_of
from adbench.results.report import charts, speed, words
from adbench.results.report.chart import Chart, Menu, rounded
from adbench.results.report.differences import Paired
from adbench.results.standing import PRIMARY

FOREST = (PRIMARY, "best_dice", "auprc", "auroc", "image_auroc", "image_auprc")
"""Metrics that a reader can choose before those at operating points."""


@dataclass(frozen=True)
class MatrixCell:
    text: str
    title: str
    strength: float
    """In [-1, 1]: how far the row is ahead (above 0) or behind, by the largest difference of the table."""
    differs: bool


def overview(rows: pd.DataFrame, pairs: Paired | None, times: pd.DataFrame, device: str) -> list[Chart]:
    """The charts of a table's compared rows, in the order of the page. `device` is chosen first."""
    names = list(rows["label"])
    return [_behind(pairs), _forest(rows, names), _pareto(rows, names, times, device)]


def _behind(pairs: Paired | None) -> Chart:
    title = "How far behind the best"
    if pairs is None:
        return Chart("behind", title, None, "", missing="There is one method alone, or numbers by subject are missing.")
    rows = []
    for i, name in enumerate(pairs.names):
        if i:
            difference = pairs.difference(i, 0)
            values = {key: rounded(getattr(difference, key)) for key in ("value", "low", "high")}
            rows.append({"method": name, **values, "differs": pairs.differ(0, i), "p": words.p_text(pairs.p(0, i))})
    about = (
        f"Mean difference in {words.TITLE} to {pairs.names[0]}, subject by subject, with 95 % intervals. Filled: more "
        "than chance after correction for all comparisons; hollow: may be chance."
    )
    return Chart("behind", title, charts.filled(charts.behind(list(pairs.names[1:])), rows), about)


def matrix(pairs: Paired) -> list[tuple[str, list[MatrixCell | None]]]:
    """For each method (row) its lead over each other (column); None on the diagonal."""
    n = len(pairs.names)
    means = pairs.values.mean(axis=1)
    largest = float(means.max() - means.min()) or 1.0

    def cell(i: int, j: int) -> MatrixCell | None:
        if i == j:
            return None
        d = pairs.difference(i, j)
        reach = f"{formats.number(d.value)}, 95 % interval {formats.number(d.low)} to {formats.number(d.high)}"
        title = f"{pairs.names[i]} minus {pairs.names[j]}: {reach}, {words.p_text(pairs.p(i, j))}"
        value = d.value or 0.0
        return MatrixCell(signed(value), title, round(value / largest, 3), pairs.differ(i, j))

    return [(name, [cell(i, j) for j in range(n)]) for i, name in enumerate(pairs.names)]


def signed(value: float) -> str:
    """With a sign, unless it is 0.00."""
    text = f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
    return "0.00" if text[1:] == "0.00" else text


def _titles(rows: pd.DataFrame) -> dict[str, str]:
    """Metrics that a reader can choose."""
    at = [m.key for m in METRICS.values() if m.point]
    named = {point.key: f", at {point.title}" for point in POINTS} | {"": ""}
    return {key: METRICS[key].heading + named[METRICS[key].point] for key in (*FOREST, *at) if rows[key].notna().any()}


def _forest(rows: pd.DataFrame, names: Sequence[str]) -> Chart:
    titles, listed = _titles(rows), rows_of(rows)
    data = [
        {
            "method": row["label"],
            "metric": key,
            "title": title,
            **{end: rounded(row[key + ending]) for end, ending in (("value", ""), ("low", "_low"), ("high", "_high"))},
            "reported": rounded(row[f"{key}_reported"]),
        }
        for key, title in titles.items()
        for row in listed
        if not formats.is_missing(row[key])
    ]
    about = (
        "The value of each method with its 95 % interval over test subjects. Overlapping intervals do not mean that "
        "two methods are alike: the comparison is paired. A hollow diamond is the value that the method's paper prints."
    )
    choice = Menu("metric", "number", titles)
    return Chart("forest", "Values and intervals", charts.filled(charts.forest(names, PRIMARY), data), about, [choice])


def _pareto(rows: pd.DataFrame, names: Sequence[str], times: pd.DataFrame, device: str) -> Chart:
    titles = _titles(rows)
    data = speed.pareto(rows, times, list(titles))
    title = "Quality and time"
    about = "Up and to the left is better. The line joins the methods that none beats in both."
    if not data:
        return Chart("pareto", title, None, "", missing="No times are kept beside these records.")
    devices = sorted({point["device"] for point in data}, key=lambda name: (name != device, name))
    spec = charts.filled(charts.pareto(names, names, PRIMARY, devices[0]), data)
    choices = [Menu("metric", "quality", titles), Menu("device", "device", {name: name for name in devices})]
    return Chart("pareto", title, spec, about, choices)
