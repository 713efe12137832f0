"""The tables of the report: rows that may be compared, pooled over seeds, best first."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from adbench.results import markdown
from adbench.results.columns import Row, rows_of
from adbench.results.report.limits import COMPARED, ROWS
from adbench.results.standing import best_first, pooled
from adbench.results.summary import labels
from adbench.results.variants import variants


@dataclass(frozen=True)
class ReportTable:
    """One row a method and settings, seeds pooled; all measured the same pixels by the same rules."""

    slug: str
    """Of its page's file."""
    dataset: str
    variant: str
    """In what it differs from the first table of the dataset; empty for that."""
    rows: pd.DataFrame
    """Best first, with a `label` that no other row has; the best `ROWS` of `total`."""
    total: int

    @property
    def compared(self) -> pd.DataFrame:
        """The rows that are drawn and compared with each other."""
        return self.rows.head(COMPARED)

    @property
    def title(self) -> str:
        return f"{self.dataset}, {self.variant}" if self.variant else self.dataset

    @property
    def first(self) -> Row:
        """Any of the rows, for what all share."""
        return rows_of(self.rows.head(1))[0]


def tables(results: pd.DataFrame) -> list[ReportTable]:
    """The tables of a frame (`adbench.results.frame`), by dataset, in the order of its page."""
    made: list[ReportTable] = []
    for dataset, of_set in results.groupby("dataset"):
        for number, variant in enumerate(variants(of_set), 1):
            of_all = best_first(pooled(variant.runs)).reset_index(drop=True)
            rows = of_all.head(ROWS)
            rows = rows.assign(label=[markdown.plain(label) for label in labels(rows)])
            slug = _slug(str(dataset)) + (f"-{number}" if number > 1 else "")
            made.append(ReportTable(slug, str(dataset), markdown.plain(variant.differs), rows, len(of_all)))
    return made


def _slug(text: str) -> str:
    """A name that is safe in a path: those of datasets are, but for a person who edits a record."""
    return re.sub(r"[^\w.-]+", "-", text).strip(".") or "set"
