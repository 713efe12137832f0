"""Quality by time: what each method takes on each device, and which none beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

KEY = "s_per_100_slices"


def times(results: pd.DataFrame) -> pd.DataFrame:
    """One row a method, settings and conditions: config_hash, dataset, timed_on, s_per_100_slices (median over seeds).

    Times of a busy machine are left out: they are not to be compared.
    """
    timed = results.dropna(subset=[KEY])
    timed = timed[~timed["busy"].fillna(False).astype(bool)]
    return timed.groupby(["dataset", "config_hash", "timed_on"], as_index=False)[KEY].median()


def conditions(times: pd.DataFrame) -> list[str]:
    """Devices with their settings, those with most times first."""
    counts = times["timed_on"].value_counts()
    return sorted(map(str, counts.index), key=lambda name: (-int(counts[name]), name))


def pareto(rows: pd.DataFrame, times: pd.DataFrame, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """For each metric and device the methods with their time (x) and quality (y), and whether they are on the front.

    On the front is what no other method beats in one without being worse in the other.
    """
    points: list[dict[str, Any]] = []
    merged = rows[["label", "dataset", "config_hash", *metrics]].merge(times, on=["dataset", "config_hash"])
    for metric in metrics:
        for device, same in merged.dropna(subset=[metric]).groupby("timed_on"):
            best = float("-inf")
            same = same.sort_values([KEY, metric], ascending=[True, False])
            for label, seconds, value in zip(same["label"], same[KEY], same[metric], strict=True):
                place = {"x": float(f"{seconds:.4g}"), "y": round(float(value), 4), "front": bool(value > best)}
                points.append({"method": label, "metric": metric, "device": device, **place})
                best = max(best, value)
    return points
