"""Published results, from `reported.csv`: a row is a number, with its source and how its data or rules differ."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import pandas as pd

from adbench.contracts.dataset import Reported


def reported_on(dataset: str) -> tuple[Reported, ...]:
    """The published results on a dataset, in the order of the file."""
    rows = _table()[_table()["dataset"] == dataset].drop(columns="dataset")
    return tuple(Reported(**row) for row in rows.to_dict("records"))


@cache
def _table() -> pd.DataFrame:
    with (files("adbench_datasets") / "reported.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, keep_default_na=False)
