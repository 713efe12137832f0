"""What the page of one table shows, as plain data for its template: words, charts and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from adbench.results.columns import rows_of
from adbench.results.record import Record
from adbench.results.report import gallery, overview, words
from adbench.results.report.chart import Chart
from adbench.results.report.detail import detail
from adbench.results.report.differences import paired
from adbench.results.report.limits import CHECKED, PICTURED
from adbench.results.report.overview import MatrixCell
from adbench.results.report.sources import Sources
from adbench.results.report.tables import ReportTable


@dataclass(frozen=True)
class TablePage:
    """All that the template needs."""

    table: ReportTable
    best: Markup
    lead: Markup
    fast: Markup
    stands_on: str
    small_print: str
    tiles: Sequence[words.Tile]
    names: Sequence[str]
    checked: Sequence[str]
    overview: Sequence[Chart]
    """Of all methods."""
    matrix: Sequence[tuple[str, Sequence[MatrixCell | None]]]
    detail: Sequence[Chart]
    """Of the methods that are checked."""
    pictures: Sequence[gallery.Shown]
    no_pictures: str
    """Why there are none."""
    notice: str
    """The licence of the pictures."""

    @property
    def packed(self) -> dict[str, Any]:
        """The pictures as the page holds them."""
        return gallery.packed(self.pictures)


def table_page(table: ReportTable, sources: Sources, device: str, notice: str | None) -> TablePage:
    """Gather the page of a table.

    notice: under which its pictures may be shown; None where they may not be.
    Raises RecordError where a file beside a record cannot be read.
    """
    rows, times = table.compared, sources.times
    times = times[times["dataset"] == table.dataset]
    pairs = paired(rows, sources.values(record for of in rows["records"] for record in of))
    names = list(rows["label"])
    checked = names[:CHECKED]
    medians = {row["label"]: median_record(row, sources.records) for row in rows_of(rows)}
    drawn = [record.path.as_posix() for record in medians.values()]
    subjects = {record: file for record in drawn if (file := sources.subjects(record)) is not None}
    single = bool(((rows["parameters"] > 0) & (rows["records"].map(len) == 1)).any())
    pictures = [] if notice is None else _pictures(medians, sources, subjects)
    return TablePage(
        table=table,
        best=words.best(rows),
        lead=words.lead(rows, pairs),
        fast=words.speed(rows, times, device),
        stands_on=words.stands_on(rows.iloc[0], pairs),
        small_print=words.how_compared(pairs, single),
        tiles=words.tiles(rows, pairs, times, device),
        names=names,
        checked=checked,
        overview=overview.overview(rows, pairs, times, device),
        matrix=overview.matrix(pairs) if pairs else [],
        detail=detail(names, checked, medians, sources, subjects, table.first["prevalence"]),
        pictures=pictures,
        no_pictures="" if pictures else _why_none(notice),
        notice=notice or "",
    )


def median_record(row: Mapping[str, Any], records: Mapping[str, Record]) -> Record:
    """Of the seeds of a row the record with the median AUPRC, the lower of two: the one that is drawn."""
    of = [records[path] for path in row["records"]]
    of.sort(key=lambda record: (_value(record, "auprc"), record.seed))
    return of[(len(of) - 1) // 2]


def _value(record: Record, key: str) -> float:
    estimate = record.metrics.get(key)
    return -1.0 if estimate is None or estimate.value is None else estimate.value


def _pictures(
    medians: Mapping[str, Record], sources: Sources, subjects: Mapping[str, pd.DataFrame]
) -> list[gallery.Shown]:
    drawn = [
        gallery.shown(label, record, sources.out, subjects.get(record.path.as_posix()))
        for label, record in list(medians.items())[:PICTURED]
    ]
    return [each for each in drawn if each]


def _why_none(notice: str | None) -> str:
    if notice is None:
        return (
            "The terms of this dataset do not let its images be passed on, so they are left out. "
            "“adbench report --include-restricted” shows them, for your own eyes."
        )
    return "No pictures are kept beside these records."
