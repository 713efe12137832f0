"""The tables of the report: rows that may be compared, pooled over seeds, best first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from adbench.config.nested import flat
from adbench.results.columns import Row, rows_of
from adbench.results.report.limits import COMPARED, ROWS
from adbench.results.standing import PRIMARY, pooled
from adbench.results.variants import COMPARABLE

_SAYS = {"fingerprint": "images", "train_on": "trained on", "tuning": "tuning"}
"""Columns that set tables apart and are no settings, with their name on the page."""


@dataclass(frozen=True)
class Table:
    """One row a method and settings, seeds pooled; all measured the same pixels by the same rules."""

    slug: str
    """Of its page's file."""
    dataset: str
    variant: str
    """What sets it apart from the other tables of the dataset; empty where there is no other."""
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


def tables(results: pd.DataFrame) -> list[Table]:
    """The tables of a frame (`adbench.results.frame`), by dataset, those with most records first."""
    found: list[Table] = []
    for dataset, of_set in results[results["status"] == "ok"].drop_duplicates("record").groupby("dataset"):
        groups = [group for _, group in of_set.groupby(COMPARABLE)]
        groups.sort(key=lambda group: (-len(group), group["record"].min()))
        variants = variants_of([rows_of(group.head(1))[0] for group in groups])
        for number, (group, variant) in enumerate(zip(groups, variants, strict=True), 1):
            rows = pooled(group).sort_values([PRIMARY, "record"], ascending=[False, True]).reset_index(drop=True)
            rows = rows.assign(label=labels(rows))
            ending = f"-{number}" if len(groups) > 1 else ""
            found.append(Table(_slug(str(dataset)) + ending, str(dataset), variant, rows.head(ROWS), len(rows)))
    return found


def _slug(text: str) -> str:
    """A name that is safe in a path: those of datasets are, but for a person who edits a record."""
    return re.sub(r"[^\w.-]+", "-", text).strip(".") or "set"


def labels(rows: pd.DataFrame) -> list[str]:
    """The method; where several rows share it with the preset, and where that is not enough with its hash."""

    def unique(keys: Sequence[str]) -> pd.Series[bool]:
        return ~rows.duplicated(list(keys), keep=False)

    alone, with_preset = unique(["method"]), unique(["method", "preset"])
    return [
        row.method if alone[i] else f"{row.method} ({row.preset if with_preset[i] else row.config_hash[:6]})"
        for i, row in zip(rows.index, rows.itertuples(), strict=True)
    ]


def variants_of(firsts: Sequence[Row]) -> list[str]:
    """What sets each table apart from the others of its dataset, from any row of each: `postprocess median`."""
    described = [dict(_described(row)) for row in firsts]
    keys = list(dict.fromkeys(key for each in described for key in each))
    differing = [key for key in keys if len({json.dumps(each.get(key), default=str) for each in described}) > 1]
    if (
        "images" in differing
        and len(differing) > 1
        and _apart(described, [key for key in differing if key != "images"])
    ):
        differing.remove("images")
    return [
        ", ".join(f"{key} {_plain(each[key])}" for key in differing if each.get(key) not in (None, ""))
        or (", ".join(f"no {key}" for key in differing))
        for each in described
    ]


def _apart(described: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> bool:
    """Whether these keys alone tell all tables apart."""
    return len({json.dumps([each.get(key) for key in keys], default=str) for each in described}) == len(described)


def _described(row: Row) -> Iterator[tuple[str, Any]]:
    for key, name in _SAYS.items():
        yield name, row[key]
    yield "region", row["region"]
    for key in ("dataset_config", "train_on_config", "protocol"):
        settings = json.loads(row[key]) if row[key] else {}
        for name, value in flat(settings or {}).items():
            yield name.replace("_", " "), value


def _plain(value: Any) -> str:
    return {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
