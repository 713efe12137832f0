"""Where the methods of a table stand: seeds pooled into rows, ranks, and what is said of them above the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adbench.errors import counted
from adbench.metrics.catalogue import METRICS
from adbench.metrics.chance import ALPHA, PairedTests, compare, enough, over_seeds
from adbench.results import formats
from adbench.results.columns import Row, rows_of
from adbench.results.scan_metrics import numbers

PRIMARY = "subject_auprc"
"""Ranks go by it unless another is asked for: it picks no threshold, and has one value a subject."""
Values = Mapping[str, Mapping[str, float]]
"""Path of a record -> subject -> the number that methods are compared by; nothing where there is none."""
RANK = "Rank: 1 + the number of methods that are better by more than chance."


def pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of records -> one row a method and settings: means over seeds.

    `seed` becomes text, the seeds of the row; `records` holds the paths of all; `<metric>_sd` is the standard deviation
    over seeds, missing for one; `rank` is 0, none yet.
    """
    rows = rows.sort_values("seed", kind="stable")
    groups = rows.groupby(["method", "config_hash"], sort=False)
    of_each = list(groups.indices.values())
    firsts = rows.iloc[[of[0] for of in of_each]].reset_index(drop=True)
    texts = {
        "seed": [", ".join(map(str, rows["seed"].iloc[of])) for of in of_each],
        "records": [list(rows["record"].iloc[of]) for of in of_each],
        "rank": 0,
        "core_minutes": [rows["core_minutes"].iloc[of].mean() for of in of_each],
    }
    means = _over_seeds(rows, of_each)
    kept = firsts.drop(columns=[*texts, *means], errors="ignore")
    return pd.concat([kept, pd.DataFrame(texts, index=kept.index), means], axis=1)


def _over_seeds(rows: pd.DataFrame, of_each: Sequence[NDArray[np.intp]]) -> pd.DataFrame:
    """The numbers of `pooled`, a row for each list of positions; all lists of one length at once."""
    columns: dict[str, NDArray[np.float64]] = {}
    scales = {key: number.scale for key, number in numbers().items()}
    for scale in sorted(set(scales.values())):
        keys = [key for key, of in scales.items() if of == scale]
        ends = [rows[[key + ending for key in keys]].to_numpy(np.float64) for ending in ("", "_low", "_high")]
        of_rows = np.empty((4, len(of_each), len(keys)))
        for seeds in {len(of) for of in of_each}:
            alike = [i for i, of in enumerate(of_each) if len(of) == seeds]
            at = np.stack([of_each[i] for i in alike], axis=1)  # (seeds, rows)
            of = over_seeds(ends[0][at], ends[1][at], ends[2][at], scale)
            of_rows[:, alike] = of.mean, of.sd, of.low, of.high
        for k, key in enumerate(keys):
            columns |= {key + ending: of_rows[i, :, k] for i, ending in enumerate(("", "_sd", "_low", "_high"))}
    return pd.DataFrame(columns)


def standing(rows: pd.DataFrame, values: Values, rank_by: str = PRIMARY) -> tuple[pd.DataFrame, str]:
    """Pooled rows, best first by a metric over subjects, with ranks where these can be given; and what is said of them.

    values: of the metric; without those of a record nothing is ranked. `rank` is 0 where there is none. `beaten_by` has
    the keys (`row_key`) of the rows that are better by more than chance, and is None where rows cannot be compared.
    Undefined values come last, ties in the order of the records.
    """
    rows = best_first(rows, rank_by).assign(beaten_by=None)
    seeds = by_subject(rows, values)
    if len(rows) < 2 or seeds is None:
        return rows, ""
    means = np.stack([of.mean(axis=0) for of in seeds])
    n, pairs = means.shape[1], len(rows) * (len(rows) - 1) // 2
    if not enough(n, pairs):
        few = f"{counted(n, 'test subject')} with lesions {'are' if n != 1 else 'is'} too few for ranks"
        return rows, f"{few}: none of {counted(pairs, 'pair')} could differ by more than chance."
    comparison = compare(means, [of.mean(axis=1) for of in seeds])
    keys = [row_key(row) for row in rows_of(rows[["method", "config_hash"]])]
    rows["beaten_by"] = [[keys[j] for j in comparison.better(i)] for i in range(len(rows))]
    trained = rows[rows["parameters"] > 0]
    once = trained["method"][trained["records"].map(len) == 1]
    single = len(once) > 0
    if not single:
        rows = rows.assign(rank=comparison.ranks).sort_values(["rank"], kind="stable")
    how = (
        f"Tested by sign flips over {n} subjects with lesions, {100 * ALPHA:.0f} %, Holm's correction over "
        f"{counted(pairs, 'pair')}: a true difference of {formats.number(comparison.detectable)} would be found in "
        "four of five such tests, a smaller one less often."
    )
    ranked = _no_ranks(list(once), len(trained)) if single else RANK
    leader = _leader(list(rows["method"]), comparison, single, METRICS[rank_by].title)
    return rows, f"{leader} {how} {ranked}"


def _no_ranks(once: list[str], trained: int) -> str:
    if len(once) == trained:
        return "No ranks: each method that trains has one training."
    named = ", ".join(f"`{name}`" for name in once)
    return f"No ranks: {named} {'have' if len(once) > 1 else 'has'} one training, for which alone the intervals hold."


def row_key(row: Row) -> tuple[str, str]:
    """Method and hash of the settings: what tells a row of a table from the others."""
    return row["method"], row["config_hash"]


def best_first(rows: pd.DataFrame, key: str = PRIMARY) -> pd.DataFrame:
    """By a metric; undefined values come last, ties in the order of the records."""
    return rows.sort_values([key, "record"], ascending=[not METRICS[key].higher_is_better, True])


def by_subject(rows: pd.DataFrame, values: Values) -> list[NDArray[np.float64]] | None:
    """Of each row the values (seeds, subjects), of the subjects for whom all records have one, in the first's order.

    None where the values of a record are not known.
    """
    records = [record for of in rows["records"] for record in of]
    if not records or any(record not in values for record in records):
        return None
    of_all = set.intersection(*(set(values[record]) for record in records))
    common = [subject for subject in values[records[0]] if subject in of_all]
    return [np.array([[values[record][subject] for subject in common] for record in of]) for of in rows["records"]]


def _leader(names: list[str], comparison: PairedTests, single: bool, metric: str) -> str:
    """`a` is better than all others, by 0.012 or more of subject AUPRC."""
    best, second = np.argsort(-comparison.means, kind="stable")[:2]
    alike = [f"`{names[j]}`" for j in range(len(names)) if j != best and not comparison.differ(int(best), j)]
    given = "given these trainings" if single else ""
    if alike:
        return (
            f"{', '.join(filter(None, [f'`{names[best]}` is first', given]))}, not separated from {', '.join(alike)}."
        )
    gap = formats.number(comparison.means[best] - comparison.means[second])
    better = f"`{names[best]}` is better than all others, by {gap} or more of {metric}"
    return f"{', '.join(filter(None, [better, given]))}."
