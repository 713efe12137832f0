"""The leaderboard: one row a method and settings of all tables, with what its columns sort by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from adbench.metrics.points import POINTS
from adbench.results import formats
from adbench.results.columns import rows_of
from adbench.results.report.provenance import name_of
from adbench.results.report.tables import ReportTable
from adbench.results.scan_metrics import numbers
from adbench.results.standing import PRIMARY

MAIN = (PRIMARY, "best_dice", "auprc", "dice_1pct")
"""Metrics that are shown when the page opens; all others are a click away."""


@dataclass(frozen=True)
class Heading:
    """A column."""

    title: str
    about: str
    descending: bool
    """Whether the first click puts the largest first."""
    extra: bool
    """Whether it is shown only with all columns."""
    text: bool = False


@dataclass(frozen=True)
class BoardCell:
    text: str
    sort: float | None = None
    """What a column of numbers sorts by, where the text does not begin with it."""
    note: str = ""
    """The interval."""
    best: bool = False


@dataclass(frozen=True)
class BoardRow:
    dataset: str
    variant: str
    method: str
    family: str
    label: str
    page: str
    table: str
    """File of the page of its table."""
    cells: list[BoardCell]


@dataclass(frozen=True)
class Numeric:
    key: str
    heading: Heading
    higher: bool


def columns(tables: Iterable[ReportTable]) -> list[Numeric]:
    """The metrics that any table has a value of, those of `MAIN` first."""
    rows = [table.rows for table in tables]
    titles = {point.key: f" at {point.title}" for point in POINTS} | {"": ""}
    held = {key: number for key, number in numbers().items() if any(of[key].notna().any() for of in rows)}
    order = sorted(held, key=lambda key: MAIN.index(key) if key in MAIN else len(MAIN))
    headings = {
        key: Heading(
            name_of(key) + titles[held[key].point], held[key].glossary, held[key].higher_is_better, key not in MAIN
        )
        for key in order
    }
    return [Numeric(key, heading, heading.descending) for key, heading in headings.items()]


def board(tables: Iterable[ReportTable], times: pd.DataFrame, device: str) -> tuple[list[Heading], list[BoardRow]]:
    """Headings of the numbers, those that are shown first, and the rows; names of dataset and method stand before."""
    tables = list(tables)
    numeric = columns(tables)
    reported = any(table.rows["best_dice_reported"].notna().any() for table in tables)
    headings = [column.heading for column in numeric]
    if reported:
        headings.insert(2, Heading("published ⌈DICE⌉", "the value that the method's paper prints.", True, False))
    headings += [
        Heading("s / 100 slices", f"median seconds for 100 slices on {device or 'any device'}.", False, False),
        Heading("trainings", "seeds that the row is the mean of.", True, False),
        Heading("preset", "size of the run.", False, True, text=True),
        Heading("weights", "parameters of all networks.", False, True),
        Heading("core minutes", "processor minutes of training.", False, True),
    ]
    known = times[times["timed_on"] == device]
    seconds = {(r.dataset, r.config_hash): float(r.s_per_100_slices) for r in known.itertuples()}
    order = sorted(range(len(headings)), key=lambda i: headings[i].extra)
    rows = [row for table in tables for row in _rows(table, numeric, reported, seconds)]
    return [headings[i] for i in order], [replace(row, cells=[row.cells[i] for i in order]) for row in rows]


def _rows(
    table: ReportTable, numeric: list[Numeric], reported: bool, seconds: Mapping[tuple[str, str], float]
) -> Iterable[BoardRow]:
    best = {c.key: table.rows[c.key].max() if c.higher else table.rows[c.key].min() for c in numeric}
    for row in rows_of(table.rows):
        cells = [_metric(row, column, best[column.key]) for column in numeric]
        if reported:
            cells.insert(2, BoardCell(formats.number(row["best_dice_reported"])))
        time = seconds.get((row["dataset"], row["config_hash"]))
        cells += [
            _plain(time, formats.seconds(time)),
            BoardCell(str(len(row["records"]))),
            BoardCell(row["preset"]),
            _plain(row["parameters"], formats.si(row["parameters"])),
            BoardCell(formats.number(row["core_minutes"], 1)),
        ]
        page, family = f"methods/{table.slug}/{row['config_hash']}.html", row["family"] or formats.NONE
        who = (table.dataset, table.variant, row["method"], family, row["label"])
        yield BoardRow(*who, page, f"{table.slug}.html", cells)


def _metric(row: Mapping[str, Any], column: Numeric, best: float) -> BoardCell:
    value, low, high, sd = (row[column.key + ending] for ending in ("", "_low", "_high", "_sd"))
    if formats.is_missing(value):
        return BoardCell(formats.NONE)
    text = formats.number(value) if formats.is_missing(sd) else f"{formats.number(value)} ± {formats.number(sd)}"
    note = "" if formats.is_missing(low) else f"{formats.number(low)} to {formats.number(high)}"
    return BoardCell(text, note=note, best=value == best)


def _plain(value: float | None, text: str) -> BoardCell:
    missing = value is None or formats.is_missing(value)
    return BoardCell(text, None if missing else float(f"{value:.4g}"))
