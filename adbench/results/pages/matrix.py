"""The index page: methods by datasets, the first variant of each."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd

from adbench.errors import counted
from adbench.metrics.catalogue import METRICS
from adbench.results import formats
from adbench.results.standing import best_first, pooled
from adbench.results.summary import QUALITY
from adbench.results.table import Table
from adbench.results.variants import Variant, trained_on, variants

SHOWN = QUALITY[0]


def matrix(results: pd.DataFrame, rank_by: str) -> Iterator[str]:
    """The table of all methods, and a line for each dataset."""
    if results.empty:
        yield "No records yet."
        return
    shown = [(str(name), variant) for name, rows in results.groupby("dataset") for variant in _untuned(rows)]
    columns = {_heading(name, variant): _values(variant, rank_by) for name, variant in shown}
    wide = pd.DataFrame({heading: values[SHOWN] for heading, values in columns.items()})
    places = pd.DataFrame(
        {heading: values[rank_by].rank(ascending=False, pct=True) for heading, values in columns.items()}
    )
    order = places.mean(axis=1).rename("place").rename_axis("method").reset_index().sort_values(["place", "method"])
    wide = wide.loc[order["method"]]
    best = {(i, j + 1) for j, heading in enumerate(wide) for i in _largest(wide[heading])}
    texts = [[f"`{method}`", *map(formats.number, values)] for method, *values in wide.itertuples(name=None)]
    yield (
        f"{METRICS[SHOWN].title} of each method's best row; bold: the best of a column. Methods in the order of their "
        f"mean place by {METRICS[rank_by].title}. n: test subjects. Intervals, chance and time are on the pages."
    )
    yield Table(["method", *wide], texts, 1, best).markdown()
    yield "\n".join(_line(str(name), rows) for name, rows in results.groupby("dataset"))


def _untuned(rows: pd.DataFrame) -> list[Variant]:
    """The first variant of each set trained on: others differ in rules alone, and are on the page."""
    first: dict[str, Variant] = {}
    for variant in variants(rows):
        if not variant.facts["tuning"]:
            first.setdefault(variant.facts["train_on"], variant)
    return list(first.values())


def _heading(name: str, variant: Variant) -> str:
    elsewhere = f", {trained_on(variant.facts)}" if variant.facts["train_on"] else ""
    n = json.loads(variant.facts["subjects"]).get("test", 0)
    return f"[{name}]({name}.md){elsewhere} (n = {n})"


def _values(variant: Variant, rank_by: str) -> pd.DataFrame:
    """Method -> its best row, means over seeds."""
    rows = best_first(pooled(variant.runs), rank_by)
    return rows.drop_duplicates("method").set_index("method")[[SHOWN, rank_by]]


def _largest(values: pd.Series) -> list[int]:
    shown = values.round(3).reset_index(drop=True)
    return list(shown.index[shown == shown.max()])


def _line(name: str, rows: pd.DataFrame) -> str:
    runs = rows.drop_duplicates("record")
    failed = int((runs["status"] != "ok").sum())
    text = counted(len(runs) - failed, "record") + (f", {failed} failed or skipped" if failed else "")
    return f"- [{name}]({name}.md): {text}"
