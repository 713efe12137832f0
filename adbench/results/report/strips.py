"""One number a subject and method, for the strips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from adbench.metrics.points import POINTS
from adbench.results.comparison import COUNTS
from adbench.results.scan_metrics import FIELDS
from adbench.results.subjects import SEPARATOR

_TITLES = {"auprc": "AUPRC", "pixel_dice": "Dice"}
MOST = 300
"""Subjects of a strip: of more, those at even steps in the order of their names."""


def column_title(column: str) -> str:
    """`Dice at 1 % of healthy pixels` of `1pct:pixel_dice`."""
    at, _, field = column.rpartition(SEPARATOR)
    title = _TITLES.get(field) or (FIELDS[field].title if field in FIELDS else field.replace("_", " "))
    point = next((point.title for point in POINTS if point.key == at), at.replace("_", " "))
    return f"{title} at {point}" if at else title


def judged(files: Iterable[pd.DataFrame]) -> list[str]:
    """The columns that judge a method, of all files, that hold any number."""
    columns = dict.fromkeys(c for file in files for c in file if file[c].notna().any())
    return [str(c) for c in columns if c != "subject" and str(c).split(SEPARATOR)[-1] not in COUNTS]


def strips(shown: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Label -> its rows by subject, as long rows: method, measure (the column), subject and value."""
    rows: list[dict[str, Any]] = []
    ordered = {label: file.sort_values("subject") for label, file in shown.items()}
    for column in judged(ordered.values()):
        for label, file in ordered.items():
            if column not in file:
                continue
            values = [(s, v) for s, v in zip(file["subject"].tolist(), file[column].tolist(), strict=True) if v == v]
            rows += [
                {"method": label, "measure": column, "subject": subject, "value": round(float(value), 3)}
                for subject, value in values[:: max(1, -(-len(values) // MOST))]
            ]
    return rows
