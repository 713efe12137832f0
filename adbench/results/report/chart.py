"""What a chart needs beside its specification: heading, words, choices, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

from adbench.results import formats


@dataclass(frozen=True)
class Menu:
    """A list of choices that sets one parameter of a chart."""

    param: str
    title: str
    options: Mapping[str, str]
    """Value -> text; the first is chosen when the page opens."""


@dataclass(frozen=True)
class Chart:
    """A chart with its heading, or the reason why there is none."""

    key: str
    title: str
    spec: dict[str, Any] | None
    about: str
    choices: Sequence[Menu] = ()
    missing: str = ""

    @property
    def packed(self) -> dict[str, Any]:
        """The specification as the page holds it: each of its datasets as columns, which `report.js` makes rows of."""
        assert self.spec is not None
        return {**self.spec, "datasets": {name: columns(rows) for name, rows in self.spec["datasets"].items()}}


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any] | dict[str, list[Any]]]:
    """Rows as column -> values, a twentieth of their size: a column with text is its distinct values and their places.

    Places are `at`, or `runs` of place and length where that is shorter. Rows need not have the same keys:
    what is missing is None.
    """
    return {key: _column([row.get(key) for row in rows]) for key in dict.fromkeys(key for row in rows for key in row)}


def _column(values: list[Any]) -> list[Any] | dict[str, list[Any]]:
    if not any(isinstance(value, str) for value in values):
        return values
    places = {value: i for i, value in enumerate(dict.fromkeys(values))}
    runs = [(places[value], len(list(same))) for value, same in groupby(values)]
    if 2 * len(runs) < len(values):
        return {"values": list(places), "runs": list(chain.from_iterable(runs))}
    return {"values": list(places), "at": [places[value] for value in values]}


def rounded(value: float | None, digits: int = 4) -> float | None:
    """To some digits after the point; None where it is missing, so that JSON can hold it."""
    return None if value is None or formats.is_missing(value) else round(float(value), digits)
