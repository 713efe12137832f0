"""The first table of a page, which the terminal and papers show too: which method, how well, how fast.

At most seven columns: rank, method, ⌈DICE⌉, its published value, AUPRC, Dice at 1 % of healthy pixels, and seconds; and
the metric that orders the rows where one of them is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from adbench.config.nested import flat
from adbench.errors import counted
from adbench.metrics.catalogue import METRICS
from adbench.metrics.points import POINTS
from adbench.metrics.student import FEWEST
from adbench.results import formats
from adbench.results.columns import Row, canonical, rows_of
from adbench.results.method_card import marked, marks_said
from adbench.results.scan_metrics import SCAN_METRICS, numbers
from adbench.results.standing import PRIMARY, Values, pooled, standing
from adbench.results.table import Table
from adbench.results.variants import Variant

QUALITY, SECONDS = ("best_dice", "auprc", "dice_1pct"), "s / 100 slices"
COLUMNS = 7
"""Of the first table, at most."""
BEST = 10
"""Methods by whose times the conditions are chosen under which seconds are shown."""
FEW = 5
"""Test subjects below which a table says how few they are, and has no best."""


@dataclass(frozen=True)
class Summary:
    """The methods of a variant, best first."""

    rows: Sequence[Row]
    """Pooled over seeds (`adbench.results.standing`), in the order of the table; `label` is the method's name there."""
    table: Table
    said: Sequence[str]
    """What must be known to read it, a sentence or two each."""
    warning: str
    """What must be known before it is read: that test subjects are few, and which numbers have no interval for it."""
    few: bool
    """Whether there are fewer than `FEW` test subjects."""


def summary(
    variant: Variant,
    values: Values,
    rank_by: str = PRIMARY,
    metrics: Sequence[str] = QUALITY,
) -> Summary:
    """Summarise a variant by some metrics, the first of them with its interval and published value.

    values: of the metric that is ranked by, as `values_below` reads them.
    """
    rows, stands = standing(pooled(variant.runs), values, rank_by)
    rows = rows.assign(label=labels(rows))
    conditions, seconds = seconds_of(variant.rows)
    rows[SECONDS] = [_mean([seconds[record] for record in of if record in seconds]) for of in rows["records"]]
    order = f"In the order of {METRICS[rank_by].title}."
    times = f"Seconds on {conditions}." if conditions else "No times were measured here."
    said = [order, stands, _trainings(rows), times, _sources(rows), _budget(rows), *marks_said(rows["knowledge"])]
    shown, few = rows_of(rows), _few(variant.facts)
    table = _table(rows, shown, metrics, rank_by)
    warning = " ".join(filter(None, [few, _without_interval(rows, variant.facts["lesion_subjects"])]))
    return Summary(
        shown, replace(table, best=set()) if few else table, [text for text in said if text], warning, bool(few)
    )


def labels(rows: pd.DataFrame) -> list[str]:
    """Method with its mark, and in brackets what tells it from other rows: preset, settings, trainings that differ.

    Rows that only versions of the code tell apart have their hash.
    """
    differ = _settings_that_differ(rows)
    presets, counts = rows["preset"].nunique() > 1, rows[rows["parameters"] > 0]["records"].map(len).nunique() > 1
    columns = rows[["method", "knowledge", "preset", "parameters", "records"]]
    abouts = []
    for row, settings in zip(rows_of(columns), differ, strict=True):
        about = [row["preset"]] * presets + [settings] * bool(settings)
        abouts.append(about + [counted(len(row["records"]), "training")] * (counts and row["parameters"] > 0))
    named = pd.DataFrame({"method": list(rows["method"]), "about": [", ".join(about) for about in abouts]})
    for i in named.index[named.duplicated(keep=False)]:
        abouts[i].append(rows["config_hash"].iloc[i][:6])
    return [
        marked(method, knowledge) + (f" ({', '.join(about)})" if about else "")
        for method, knowledge, about in zip(rows["method"], rows["knowledge"], abouts, strict=True)
    ]


def _settings_that_differ(rows: pd.DataFrame) -> list[str]:
    """Of each row, the settings in which rows of the same method and preset differ."""
    said = pd.Series("", index=rows.index, dtype="object")
    for _, same in rows[rows.duplicated(["method", "preset"], keep=False)].groupby(["method", "preset"]):
        settings = [flat(json.loads(text)) for text in same["config"]]
        keys = dict.fromkeys(key for each in settings for key in each)
        # a field that is newer than a record is as null
        vary = [key for key in keys if len({canonical(each.get(key)) for each in settings}) > 1]
        for index, each in zip(same.index, settings, strict=True):
            said[index] = formats.settings({key: each.get(key) for key in vary}) if vary else ""
    return list(said)


def _table(rows: pd.DataFrame, shown: Sequence[Row], metrics: Sequence[str], rank_by: str) -> Table:
    """The columns of which any row has a value; with those of `QUALITY` that of `rank_by` too where there is room."""
    columns: list[tuple[str, Callable[[Row], str], str]] = []
    if (rows["rank"] > 0).all():
        columns.append(("rank", lambda row: str(row["rank"]), ""))
    columns.append(("method", lambda row: row["label"], ""))
    left = len(columns)
    for key in metrics:
        columns.append((title_of(key), _estimate(key, interval=key == metrics[0]), key))
        reported = f"{key}_reported"
        if key == metrics[0] and reported in rows and rows[reported].notna().any():
            columns.append(("reported", lambda row, reported=reported: formats.number(row[reported]), ""))  # type: ignore[misc]
    if rows[SECONDS].notna().any():
        columns.append((SECONDS, lambda row: formats.seconds(row[SECONDS]), SECONDS))
    if metrics == QUALITY and len(columns) < COLUMNS and rank_by not in metrics and rows[rank_by].notna().any():
        place = next(i for i, (_, _, key) in enumerate(columns) if key == metrics[-1])
        columns.insert(place, (title_of(rank_by), _estimate(rank_by, interval=False), rank_by))
    texts = [[text(row) for _, text, _ in columns] for row in shown]
    best = {(i, j) for j, (_, _, key) in enumerate(columns) if key for i in _best(rows, key)}
    return Table([heading for heading, _, _ in columns], texts, left, best)


def title_of(key: str) -> str:
    """`Dice at 1 %`: a metric's heading where those of several operating points stand side by side."""
    metric = numbers()[key]
    rates = [f" at {100 * point.rate:g} %" for point in POINTS if point.key == metric.point]
    scan = "scan " if key in SCAN_METRICS else ""
    return scan + metric.heading + "".join(rates)


def _estimate(key: str, interval: bool) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        low, high = (row[f"{key}_low"], row[f"{key}_high"]) if interval else (None, None)
        return formats.interval(row[key], low, high, row[f"{key}_sd"])

    return text


def _best(rows: pd.DataFrame, key: str) -> list[int]:
    """Positions of the best values; all that are shown alike are."""
    shown = rows[key].round(3).to_numpy(np.float64)
    if len(shown) < 2 or np.isnan(shown).all():
        return []
    metric = numbers().get(key)
    most = metric is not None and metric.higher_is_better
    return list(np.flatnonzero(shown == (np.nanmax(shown) if most else np.nanmin(shown))))


def seconds_of(rows: pd.DataFrame) -> tuple[str, dict[str, float]]:
    """Seconds by record under one kind of conditions, and these; none of a busy machine.

    The conditions are those that most of the `BEST` best methods were timed in, then those of most records.
    """
    timed = rows.dropna(subset="s_per_100_slices")
    timed = timed[~timed["busy"].fillna(False).astype(bool)]
    if timed.empty:
        return "", {}
    best = rows.groupby("method")[PRIMARY].mean().nlargest(BEST).index
    of_best = timed[timed["method"].isin(best)].groupby("timed_on")["method"].nunique()
    records = timed["timed_on"].value_counts().sort_index()
    counts = pd.DataFrame({"best": of_best, "records": records}).fillna(0)
    conditions = counts.sort_values(["best", "records"], ascending=False, kind="stable").index[0]
    there = timed[timed["timed_on"] == conditions]
    return str(conditions), dict(zip(there["record"], there["s_per_100_slices"], strict=True))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def subjects(row: Mapping[str, Any]) -> int:
    """Of the test set."""
    n: int = json.loads(row["subjects"]).get("test", 0)
    return n


def tested_on(row: Mapping[str, Any]) -> str:
    """`200 test images of 40 subjects`."""
    images = json.loads(row["images"]).get("test", 0)
    return f"{counted(images, 'test image')} of {counted(subjects(row), 'subject')}"


def _few(facts: Mapping[str, Any]) -> str:
    n = subjects(facts)
    return f"**Only {counted(n, 'test subject')}**: nothing here says how methods do on others." * (n < FEW)


def _without_interval(rows: pd.DataFrame, n: int) -> str:
    """Why numbers have none."""
    if n < FEWEST:
        return f"Fewer than {FEWEST} subjects with lesions: numbers have no intervals."
    hidden = {key: number for key, number in numbers().items() if n < number.fewest}
    titles = dict.fromkeys(metric.title for key, metric in hidden.items() if rows[key].notna().any())
    said = []
    if titles:
        said.append(
            f"Not shown: intervals of {', '.join(titles)}, which held the truth in less than nine of ten simulations "
            f"of {n} or more subjects with lesions."
        )
    if old := {key for of in rows["too_old_intervals"] for key in json.loads(of)}:
        titles = dict.fromkeys(METRICS[key].title for key in METRICS if key in old)
        said.append(
            f"Not shown: intervals of {', '.join(titles)} at thresholds, which must hold for other healthy subjects "
            "too: these records keep no counts of such."
        )
    lows, highs = (rows[[f"{key}_{end}" for key in METRICS]].to_numpy(np.float64).ravel() for end in ("low", "high"))
    if any(map(formats.is_everything, lows, highs)):
        said.append("Intervals that would be 0 to 1 are not printed.")
    return " ".join(said)


def _trainings(rows: pd.DataFrame) -> str:
    """How often methods were trained, where it is the same for all of them."""
    counts = rows[rows["parameters"] > 0]["records"].map(len).unique()
    if len(counts) != 1:
        return ""
    presets = rows["preset"].unique()
    preset = f" (preset `{presets[0]}`)" * (len(presets) == 1)
    if counts[0] > 1:
        return f"Methods that train were trained {counts[0]} times{preset}: mean ± standard deviation."
    return f"Methods that train were trained once{preset}: numbers hold for these trainings alone."


def _sources(rows: pd.DataFrame) -> str:
    sources = sorted({source for of in rows["reported_source"] if of for source in of.split("; ")})
    return f"Reported: {'; '.join(sources)}." if sources else ""


def _budget(rows: pd.DataFrame) -> str:
    tuned = rows["tuning"].iloc[0]
    return f"Every row has the same budget ({tuned}); lesions were drawn on healthy images for it." if tuned else ""
