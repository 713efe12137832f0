"""A publication's tables, theirs beside ours: `notes/<name>.csv` makes the page `<name>.md`.

The file has one row a number of the publication, in the columns of `COLUMNS`; rows are shown in its order.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence

import pandas as pd

from adbench.errors import RecordError, counted
from adbench.metrics.catalogue import METRICS
from adbench.results import formats, markdown
from adbench.results.columns import Row, reported_title
from adbench.results.summary import SECONDS, Summary
from adbench.results.variants import Variant

COLUMNS = ("table", "dataset", "method", "registered", "metric", "value", "stand_in", "why")
"""Table of the publication; dataset, method as printed there; the method's name here; key of the metric; its value; the
dataset whose records stand beside it; and what differs, or why it is not measured."""
TIMED = "s_per_100_slices"
Summaries = Mapping[str, Sequence[tuple[Variant, Summary]]]


def read_published(text: str, path: str) -> pd.DataFrame:
    """Read the file. Raises RecordError where its columns are others, or a metric is none."""
    try:
        rows = pd.read_csv(io.StringIO(text), keep_default_na=False)
    except ValueError as error:
        raise RecordError(f"{path} must be a CSV file, but cannot be read ({error}).") from error
    if tuple(rows) != COLUMNS:
        raise RecordError(f"{path} must have the columns {', '.join(COLUMNS)}, got {', '.join(rows)}.")
    if unknown := sorted(set(rows["metric"]) - {*METRICS, TIMED}):
        raise RecordError(f"{path} names the metric {unknown[0]!r}: there are {', '.join([*METRICS, TIMED])}.")
    return rows


def published(rows: pd.DataFrame, summaries: Summaries) -> tuple[list[str], dict[str, str]]:
    """The blocks of the page: how many numbers are reached, then of each table those beside which ours stand.

    And title -> table of those that are not measured. summaries: dataset -> its variants.
    """
    texts = [_row(row, summaries) for row in rows.to_dict("records")]
    rows = rows.assign(ours=[ours for ours, _ in texts], state=[state for _, state in texts])
    states = rows["state"].str.partition(":")[0].value_counts()
    counts = ", ".join(f"{state} {n}" for state, n in states.sort_index().items())
    several = any("±" in ours for ours in rows["ours"])
    ours = "means ± standard deviation over trainings" if several else "of one training"
    blocks = [f"{len(rows)} numbers: {counts}. Ours are {ours}, without a median."]
    missing = {}
    for name, table in rows.groupby("table", sort=False):
        without = table["state"].str.startswith("not measured")
        if not without.all():
            blocks += [f"## {name}", _table(table[~without])]
        if without.any():
            missing[f"{name}: {counted(int(without.sum()), 'number')} not measured"] = _table(table[without])
    return blocks, missing


def _table(rows: pd.DataFrame) -> str:
    header = ["method", "data", "metric", "theirs", "ours", ""]
    columns = rows[["method", "dataset", "metric", "value", "ours", "state"]].itertuples(index=False, name=None)
    cells = [[m, d, reported_title(k), f"{v:g}", ours, state] for m, d, k, v, ours, state in columns]
    return markdown.table(header, cells, left=3)


def _row(row: Mapping[str, object], summaries: Summaries) -> tuple[str, str]:
    """Ours as text, and whether it is reached, of a stand-in, of another device, or not measured, with the reason."""
    why = f": {row['why']}" if row["why"] else ""
    shown = _ours(str(row["stand_in"]), str(row["registered"]), summaries)
    key = SECONDS if row["metric"] == TIMED else str(row["metric"])
    if shown is None or formats.is_missing(shown[key]):
        if row["stand_in"] in summaries:
            why = f": stand-in [{row['stand_in']}]({row['stand_in']}.md), {row['why']}"
        return formats.NONE, "not measured yet" if row["stand_in"] == row["dataset"] else f"not measured{why}"
    if key == SECONDS:
        return formats.seconds(shown[key]), f"another device{why}"
    ours = formats.interval(shown[key], None, None, shown[f"{key}_sd"])
    if row["stand_in"] != row["dataset"]:
        return ours, f"stand-in: [{row['stand_in']}]({row['stand_in']}.md){why}"
    return ours, "reached" if round(shown[key], 3) >= float(str(row["value"])) else f"not reached{why}"


def _ours(dataset: str, method: str, summaries: Summaries) -> Row | None:
    """The best row of a method on a dataset, of the untuned variant without post-processing where there is one."""
    untuned = [(variant, shown) for variant, shown in summaries.get(dataset, ()) if not variant.facts["tuning"]]
    plain = [each for each in untuned if json.loads(each[0].facts["protocol"]).get("postprocess", "none") == "none"]
    for _, shown in (plain or untuned)[:1]:
        return next((row for row in shown.rows if row["method"] == method), None)
    return None
