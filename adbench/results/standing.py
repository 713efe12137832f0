"""Where the methods of a table stand: seeds pooled into rows, ranks, and what is said of them above the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adbench.metrics.catalogue import METRICS
from adbench.metrics.chance import ALPHA, Comparison, compare, enough, over_seeds
from adbench.metrics.estimate import Estimate
from adbench.results import formats
from adbench.results.columns import scales

PRIMARY = "subject_auprc"
"""Ranks go by it: it picks no threshold, and has one value a subject."""
COLUMN = "auprc"
"""Its name in the files of subjects."""


def pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of records -> one row a method and settings: means over seeds.

    `seed` becomes text, the seeds of the row; `records` holds the paths of all; `<metric>_sd` is the standard deviation
    over seeds, missing for one; `rank` is 0, none yet.
    """
    groups = [_pooled(group) for _, group in rows.groupby(["method", "config_hash"], sort=False)]
    numbers = [key + ending for key in scales() for ending in ("", "_low", "_high", "_sd")]
    return pd.DataFrame(groups).astype(dict.fromkeys(numbers, "float64")).copy()  # in one block of memory


def _pooled(group: pd.DataFrame) -> dict[str, Any]:
    group = group.sort_values("seed")
    columns = group.to_dict("list")
    seeds, records = columns["seed"], columns["record"]
    row = {str(key): value for key, value in group.iloc[0].items()}
    row |= {"seed": ", ".join(map(str, seeds)), "records": records, "rank": 0}
    for key, scale in scales().items():
        of_seeds = zip(*(columns[key + ending] for ending in ("", "_low", "_high")), strict=True)
        mean, sd = over_seeds([_estimate(*values) for values in of_seeds], scale)
        row |= {key: mean.value, f"{key}_low": mean.low, f"{key}_high": mean.high, f"{key}_sd": sd}
    return row


def _estimate(*numbers: float) -> Estimate:
    value, low, high = (None if formats.is_missing(number) else number for number in numbers)
    return Estimate(value=value, low=low, high=high)


def standing(rows: pd.DataFrame, subjects: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, str]:
    """Add ranks to the pooled rows of a table, where they can be given, and say how or why not.

    subjects: path of a record -> its rows by subject. `rank` is 0 where there is none.
    """
    known = all(record in subjects for records in rows["records"] for record in records)
    if len(rows) < 2 or not known:
        return rows, ""
    seeds = _by_subject(rows, subjects)
    values = np.stack([of.mean(axis=0) for of in seeds])
    n, pairs = values.shape[1], len(rows) * (len(rows) - 1) // 2
    if not enough(n, pairs):
        few = f"{n} test subjects with lesions are too few for ranks"
        return rows, f"{few}: none of {pairs} pairs could differ by more than chance."
    comparison = compare(values, [of.mean(axis=1) for of in seeds])
    said = (
        f"Compared by {METRICS[PRIMARY].title}: sign flips over {n} subjects, Holm's correction over {pairs} pairs, "
        f"{100 * ALPHA:.0f} %; four times in five a difference of {formats.number(comparison.detectable)} is found."
    )
    if ((rows["parameters"] > 0) & (rows["records"].map(len) == 1)).any():
        return rows, f"{said} {_without_ranks(list(rows['method']), comparison)}"
    return rows.assign(rank=comparison.ranks), f"{said} Rank: 1 + the number of methods that are significantly better."


def _by_subject(rows: pd.DataFrame, subjects: Mapping[str, pd.DataFrame]) -> list[NDArray[np.float64]]:
    """Of each row the primary metric (seeds, subjects), of the subjects for whom all records have it."""
    columns = {
        record: subjects[record].set_index("subject")[COLUMN] for records in rows["records"] for record in records
    }
    table = pd.concat(columns, axis=1).dropna()
    return [table[records].to_numpy(np.float64).T for records in rows["records"]]


def _without_ranks(names: list[str], comparison: Comparison) -> str:
    """What can be said of single trainings."""
    best = int(np.argmax(comparison.means))
    alike = [f"`{names[j]}`" for j in range(len(names)) if j != best and not comparison.differ(best, j)]
    text = f"No ranks, as methods that train have one training each. Given these trainings, `{names[best]}` is"
    return f"{text} best, and not separated from {', '.join(alike)}." if alike else f"{text} better than all others."
