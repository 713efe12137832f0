"""The tables of the pages, in Markdown, from rows of the frame: facts, quality, lesions by size, time, and failures."""

from __future__ import annotations

import json
from collections.abc import Callable

import pandas as pd

from adbench.config.nested import flat
from adbench.errors import counted
from adbench.metrics.catalogue import METRICS
from adbench.metrics.strata import STRATUM_FRACTIONS
from adbench.results import formats, markdown
from adbench.results.columns import Row, canonical, in_time_table
from adbench.results.scan_metrics import SCAN_METRICS

Cell = tuple[str, Callable[[Row], str]]
"""The heading of a column, and its text from a row."""


def rows_of(frame: pd.DataFrame) -> list[Row]:
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _table(frame: pd.DataFrame, cells: list[Cell], left: int) -> str:
    header = [heading for heading, _ in cells]
    return markdown.table(header, [[text(row) for _, text in cells] for row in rows_of(frame)], left)


def facts(row: Row) -> str:
    """The dataset and the rules that all rows of the tables below share, from any of them."""
    subjects = json.loads(row["subjects"])
    sizes = [
        f"{name} {n} ({counted(subjects.get(name, n), 'subject')})" for name, n in json.loads(row["images"]).items()
    ]
    undefined = pd.isna(row["prevalence"])
    values = {
        "dataset": f"`{row['dataset']}` {row['dataset_version']} ({row['dataset_distribution']})",
        "trained on": _trained_on(row),
        "fingerprint": f"`{row['fingerprint']}`",
        "images": ", ".join(sizes),
        "image size": image_size(row),
        "region measured": row["region"],
        "lesions": formats.NONE if undefined else f"{100 * row['prevalence']:.3f} % of the pixels measured",
        "settings": _settings(row["dataset_config"]),
        "protocol": _settings(row["protocol"]),
    }
    return markdown.table(["", ""], list(values.items()), left=2)


def image_size(row: Row) -> str:
    return f"{row['image_height']} x {row['image_width']}"


def _trained_on(row: Row) -> str:
    """Where the healthy images came from."""
    if not row["train_on"]:
        return "its own healthy images"
    name, version, distribution = (row[key] for key in ("train_on", "train_on_version", "train_on_distribution"))
    return f"`{name}` {version} ({distribution}), settings {_settings(row['train_on_config'])}"


def _settings(text: str) -> str:
    return formats.settings(json.loads(text))


def quality(rows: pd.DataFrame, point: str = "") -> str:
    """One table of the metrics at an operating point, or of those that need none.

    Rows are pooled over seeds (`adbench.results.standing`). A published value stands beside ours where any row has one.
    Empty where no row has a value at the point.
    """
    metrics = {key: metric for key, metric in METRICS.items() if metric.point == point}
    if point and rows[list(metrics)].isna().all(axis=None):
        return ""
    ranked = [("rank", lambda row: str(row["rank"]))] if not point and (rows["rank"] > 0).all() else []
    cells = [*ranked, *_who(rows)]
    for key, metric in metrics.items():
        cells.append((metric.heading, _estimate(key)))
        if rows[f"{key}_reported"].notna().any():
            cells.append(("reported", lambda row, key=key: formats.number(row[f"{key}_reported"])))  # type: ignore[misc]
    return _table(rows, [*cells, ("record", _links)], left=2 + len(ranked))


def scans(rows: pd.DataFrame, point: str = "") -> str:
    """One table of what scans are judged by on their own grid, as `quality`; empty for sets of pictures."""
    metrics = {key: metric for key, metric in SCAN_METRICS.items() if metric.point == point}
    if rows[list(metrics)].isna().all(axis=None):
        return ""
    cells = [(metric.title, _estimate(key)) for key, metric in metrics.items()]
    return _table(rows, [*_who(rows), *cells, ("record", _links)], left=2)


def _estimate(key: str) -> Callable[[Row], str]:
    return lambda row: formats.interval(row[key], row[f"{key}_low"], row[f"{key}_high"], row[f"{key}_sd"])


def timing(rows: pd.DataFrame) -> str:
    """One table of times, fastest first, those of a busy machine last; all must come from the same conditions."""
    rows = rows.sort_values(["busy", "s_per_100_slices", "record"])
    return _table(rows, [*_who(rows), *((c.title, c.show) for c in in_time_table()), ("record", _link)], left=2)


def lesions_by_size(rows: pd.DataFrame, strata: pd.DataFrame) -> str:
    """Lesion recall and sensitivity by size of lesion; strata are of one operating point."""
    strata = strata[strata["record"].isin(rows["record"])]
    starts = sorted(strata.loc[strata["lesions"] > 0, "from_fraction"].unique())
    if not starts:
        return ""
    wide = strata.pivot(index="record", columns="from_fraction")
    rows = rows[rows["record"].isin(wide.index)]
    cells = _who(rows)
    for start in starts:
        size = _size(start, strata.loc[strata["from_fraction"] == start, "to_fraction"].iloc[0])
        for name in STRATUM_FRACTIONS:
            columns = wide[[(name, start), (f"{name}_low", start), (f"{name}_high", start)]]
            texts = {record: formats.interval(*values) for record, *values in columns.itertuples(name=None)}
            cells.append((f"{size}: {name.replace('_', ' ')}", lambda row, texts=texts: texts[row["record"]]))  # type: ignore[misc]
    return _table(rows, [*cells, ("record", _link)], left=2)


def lesion_counts(strata: pd.DataFrame) -> str:
    """`Lesions: below 0.1 %: 12 (30 pixels), 0.1 to 0.5 %: 3 (40 pixels).`, of rows that measured the same pixels."""
    first = strata.drop_duplicates("from_fraction").sort_values("from_fraction")
    sizes = [f"{_size(s.from_fraction, s.to_fraction)}: {s.lesions} ({s.pixels} pixels)" for s in first.itertuples()]
    return f"Lesions: {', '.join(sizes)}." if sizes else ""


def _size(start: float, end: float) -> str:
    if pd.isna(end):
        return f"from {100 * start:g} %"
    return f"{100 * start:g} to {100 * end:g} %" if start else f"below {100 * end:g} %"


def failures(rows: pd.DataFrame) -> str:
    """Failed and skipped runs with their reasons."""
    keys = ("status", "reason")
    said = [(key, lambda row, key=key: row[key] or formats.NONE) for key in keys]
    return _table(rows, [("method", _failed_name), *_preset_and_seed(), *said, ("record", _link)], left=6)


def _failed_name(row: Row) -> str:
    return f"`{row['method']}`" + (f", trained on `{row['train_on']}`" if row["train_on"] else "")


def _who(rows: pd.DataFrame) -> list[Cell]:
    names = _labels(rows)
    return [("method", lambda row: names[row["record"]]), *_preset_and_seed()]


def _preset_and_seed() -> list[Cell]:
    return [("preset", lambda row: row["preset"]), ("seed", lambda row: str(row["seed"]))]


def _labels(rows: pd.DataFrame) -> dict[str, str]:
    """Record -> method; where rows of one method and preset differ in settings, with those that differ."""
    result: dict[str, str] = {}
    for (method, _), same in rows.groupby(["method", "preset"]):
        settings = {record: flat(json.loads(text)) for record, text in zip(same["record"], same["config"], strict=True)}
        values = pd.DataFrame([{key: canonical(value) for key, value in each.items()} for each in settings.values()])
        vary = values.columns[values.fillna("null").nunique() > 1]  # a field that is newer than a record is as null
        for record, each in settings.items():
            differing = formats.settings({key: each.get(key) for key in vary})
            result[record] = f"`{method}`" + (f" ({differing})" if len(vary) else "")
    return result


def _links(row: Row) -> str:
    """To the records of all seeds of a pooled row."""
    return ", ".join(_link({**row, "record": record}) for record in row["records"])


def _link(row: Row) -> str:
    return f"[{row['config_hash'][:6]}]({row['record']})"
