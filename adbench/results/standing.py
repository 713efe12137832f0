"""Where the methods of a table stand: seeds pooled into rows, ranks, and what is said of them above the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adbench.errors import counted
from adbench.metrics.catalogue import METRICS
from adbench.metrics.chance import ALPHA, Comparison, compare, enough, over_seeds
from adbench.metrics.estimate import Estimate
from adbench.results import formats
from adbench.results.columns import scales

PRIMARY = "subject_auprc"
"""Ranks go by it unless another is asked for: it picks no threshold, and has one value a subject."""
RANK = "Rank: 1 + the number of methods that are better by more than chance."


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
    seeds, records = (group[key].tolist() for key in ("seed", "record"))
    row = {str(key): value for key, value in group.iloc[0].items()}
    row |= {"seed": ", ".join(map(str, seeds)), "records": records, "rank": 0}
    for key, scale in scales().items():
        columns = group[[key, f"{key}_low", f"{key}_high"]].itertuples(index=False, name=None)
        mean, sd = over_seeds([_estimate(*values) for values in columns], scale)
        row |= {key: mean.value, f"{key}_low": mean.low, f"{key}_high": mean.high, f"{key}_sd": sd}
    return row


def _estimate(*numbers: float) -> Estimate:
    value, low, high = (None if formats.is_missing(number) else number for number in numbers)
    return Estimate(value=value, low=low, high=high)


def standing(
    rows: pd.DataFrame, subjects: Mapping[str, pd.DataFrame], rank_by: str = PRIMARY
) -> tuple[pd.DataFrame, str]:
    """Pooled rows, best first by a metric over subjects, with ranks where these can be given; and what is said of them.

    subjects: path of a record -> its rows by subject. `rank` is 0 where there is none. Undefined values come last, ties
    in the order of the records.
    """
    rows = best_first(rows, rank_by)
    known = all(record in subjects for records in rows["records"] for record in records)
    if len(rows) < 2 or not known:
        return rows, ""
    seeds = _by_subject(rows, subjects, METRICS[rank_by].by_subject)
    values = np.stack([of.mean(axis=0) for of in seeds])
    n, pairs = values.shape[1], len(rows) * (len(rows) - 1) // 2
    if not enough(n, pairs):
        few = f"{counted(n, 'test subject')} with lesions {'are' if n != 1 else 'is'} too few for ranks"
        return rows, f"{few}: none of {counted(pairs, 'pair')} could differ by more than chance."
    comparison = compare(values, [of.mean(axis=1) for of in seeds])
    single = ((rows["parameters"] > 0) & (rows["records"].map(len) == 1)).any()
    if not single:
        rows = rows.assign(rank=comparison.ranks).sort_values(["rank"], kind="stable")
    how = (
        f"By {METRICS[rank_by].title}: sign flips over {n} subjects, Holm's correction over {pairs} pairs, "
        f"{100 * ALPHA:.0f} %; four times in five a difference of {formats.number(comparison.detectable)} is found."
    )
    ranked = "No ranks: a method that trains has one training." if single else RANK
    return rows, f"{_leader(list(rows['method']), comparison, single)} {how} {ranked}"


def best_first(rows: pd.DataFrame, key: str = PRIMARY) -> pd.DataFrame:
    """By a metric; undefined values come last, ties in the order of the records."""
    return rows.sort_values([key, "record"], ascending=[not METRICS[key].higher_is_better, True])


def _by_subject(rows: pd.DataFrame, subjects: Mapping[str, pd.DataFrame], column: str) -> list[NDArray[np.float64]]:
    """Of each row the values (seeds, subjects), of the subjects for whom all records have one."""
    columns = {
        record: subjects[record].set_index("subject")[column] for records in rows["records"] for record in records
    }
    table = pd.concat(columns, axis=1).dropna()
    return [table[records].to_numpy(np.float64).T for records in rows["records"]]


def _leader(names: list[str], comparison: Comparison, single: bool) -> str:
    """`a` is better than all others, by 0.012 or more."""
    best, second = np.argsort(-comparison.means, kind="stable")[:2]
    alike = [f"`{names[j]}`" for j in range(len(names)) if j != best and not comparison.differ(int(best), j)]
    given = "given these trainings" if single else ""
    if alike:
        return (
            f"{', '.join(filter(None, [f'`{names[best]}` is first', given]))}, not separated from {', '.join(alike)}."
        )
    gap = formats.number(comparison.means[best] - comparison.means[second])
    better = f"`{names[best]}` is better than all others, by {gap} or more"
    return f"{', '.join(filter(None, [better, given]))}."
