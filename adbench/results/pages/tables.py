"""The tables inside a page's details, in Markdown, from rows of the frame."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from adbench.contracts.dataset import Reported
from adbench.errors import counted
from adbench.metrics.catalogue import METRICS
from adbench.metrics.points import FROC_RATES, POINTS
from adbench.metrics.strata import STRATUM_FRACTIONS
from adbench.results import formats, markdown
from adbench.results.columns import RATES, Row, in_time_table, reported_title, rows_of
from adbench.results.scan_metrics import FIELDS, SCAN_METRICS
from adbench.results.summary import QUALITY
from adbench.results.variants import image_size

TextColumn = tuple[str, Callable[[Row], str]]
"""The heading of a column, and its text from a row."""
NO_BOUND = 0.95
"""From here on a bound of numbers from 0 to 1 says nothing: it would be printed as 1."""


def _table(rows: Sequence[Row], cells: list[TextColumn], left: int) -> str:
    """Without the columns, right of the first `left`, that hold nothing in any row."""
    columns = [(heading, [text(row) for row in rows]) for heading, text in cells]
    shown = [each for i, each in enumerate(columns) if i < left or set(each[1]) != {formats.NONE}]
    return markdown.table([heading for heading, _ in shown], zip(*(texts for _, texts in shown), strict=True), left)


def _any(rows: Sequence[Row], keys: Iterable[str]) -> bool:
    """Whether any row has any of these numbers."""
    return any(not formats.is_missing(row[key]) for key in keys for row in rows)


def facts(row: Mapping[str, Any]) -> str:
    """The dataset and the rules that all rows of a variant share, from any of them."""
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
        "left out of image-level metrics": _left_out(row["images_left_out"]),
        "settings": _settings(row["dataset_config"]),
        "protocol": _settings(row["protocol"]),
    }
    return markdown.table(["", ""], list(values.items()), left=2)


def _left_out(images: int | None) -> str:
    return f"{counted(images, 'image')}, of which no lesion counts" if images else formats.NONE


def _trained_on(row: Mapping[str, Any]) -> str:
    """Where the healthy images came from."""
    if not row["train_on"]:
        return "its own healthy images"
    name, version, distribution = (row[key] for key in ("train_on", "train_on_version", "train_on_distribution"))
    return f"`{name}` {version} ({distribution}), settings {_settings(row['train_on_config'])}"


def _settings(text: str) -> str:
    return formats.settings(json.loads(text))


def quality(rows: Sequence[Row], point: str = "") -> str:
    """One table of the metrics at an operating point, or of those that need none; empty where no row has a value.

    Rows are those of a summary; those without a value are left out. Metrics of the page's first table come last; a
    published value stands beside ours where any row has one, and those that need no threshold have minutes of training.
    """
    metrics = {key: metric for key, metric in METRICS.items() if metric.point == point}
    rows = [row for row in rows if _any([row], metrics)]
    if not rows:
        return ""
    cells = _who()
    for key in sorted(metrics, key=lambda key: key in QUALITY):
        cells.append((metrics[key].heading, _estimate(key)))
        if _any(rows, [f"{key}_reported"]):
            cells.append(("reported", lambda row, key=key: formats.number(row[f"{key}_reported"])))  # type: ignore[misc]
    if not point and _any(rows, ["core_minutes"]):
        cells.append(("core minutes", lambda row: formats.number(row["core_minutes"], 0)))
    return _table(rows, [*cells, ("record", _links)], left=2)


def bins(rows: Sequence[Row]) -> str:
    """How far counting in bins can move numbers and intervals, in a sentence."""
    value, ends = (pd.Series([row[key] for row in rows]).max() for key in ("error_bound", "interval_error_bound"))
    moved = f" and an end of an interval by {ends:.1g}" if ends else ""
    if ends >= NO_BOUND:
        moved = "; for the ends of some intervals there is no useful bound"
    return f"Scores are counted in bins, which can move a value by {value:.1g} at most{moved}; ⌈DICE⌉ is exact."


def not_estimable(rows: Sequence[Row], point: str) -> str:
    """Why methods have no numbers at an operating point, in a sentence; empty where all have."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if reason := json.loads(row["not_estimable"]).get(point):
            reasons.setdefault(reason, []).append(row["label"])
    said = [f"{'all' if len(of) == len(rows) else ', '.join(of)} ({reason})" for reason, of in reasons.items()]
    return f"Not estimable for {'; '.join(said)}." if said else ""


def rates(rows: pd.DataFrame, names: Mapping[str, str]) -> str:
    """The rates of pixels really flagged at each operating point, by kind of pixels, one row a record; or nothing."""
    if all(json.loads(text) == {} for text in rows["rates"]):
        return ""
    cells = _run(names)
    for point in POINTS:
        for kind, title in RATES.items():

            def text(row: Row, point: str = point.key, kind: str = kind) -> str:
                return formats.number(json.loads(row["rates"]).get(point, {}).get(kind), 4)

            cells.append((f"{100 * point.rate:g} %: {title}", text))
    return _table(rows_of(rows), [*cells, ("record", _link)], left=2)


def froc(rows: pd.DataFrame, names: Mapping[str, str]) -> str:
    """Lesion recall and false components at each rate of healthy pixels, one row a record; empty without any."""
    if all(json.loads(text) == {} for text in rows["froc"]):
        return ""
    cells = _run(names)
    for rate in FROC_RATES:

        def text(row: Row, rate: str = f"{rate:g}") -> str:
            return " / ".join(map(formats.number, json.loads(row["froc"]).get(rate, [None])))

        cells.append((f"{100 * rate:g} %", text))
    return _table(rows_of(rows), [*cells, ("record", _link)], left=2)


def undefined(rows: Sequence[Row], point: str) -> str:
    """For how many subjects numbers of scans are not defined at an operating point; empty where all are."""
    of_fields: dict[str, list[str]] = {}
    for row in rows:
        for field, n in json.loads(row["undefined_on_scans"]).get(point, {}).items():
            of_fields.setdefault(FIELDS[field].title if field in FIELDS else field, []).append(f"{row['label']} {n}")
    said = [f"{title}: {', '.join(of)}" for title, of in of_fields.items()]
    return f"Subjects for whom a number is not defined, left out of its mean: {'; '.join(said)}." if said else ""


def scans(rows: Sequence[Row], point: str = "") -> str:
    """One table of what scans are judged by on their own grid, as `quality`; empty for sets of pictures."""
    metrics = {key: metric for key, metric in SCAN_METRICS.items() if metric.point == point}
    if not _any(rows, metrics):
        return ""
    cells = [(metric.title, _estimate(key)) for key, metric in metrics.items()]
    return _table(rows, [*_who(), *cells, ("record", _links)], left=2)


def _estimate(key: str) -> Callable[[Row], str]:
    return lambda row: formats.interval(*(row[name] for name in _fields(key)))


def _fields(key: str) -> list[str]:
    """Value, ends of its interval, and standard deviation over seeds."""
    return [key, f"{key}_low", f"{key}_high", f"{key}_sd"]


def timing(rows: pd.DataFrame, names: Mapping[str, str]) -> str:
    """One table of times, fastest first, those of a busy machine last; all must come from the same conditions.

    names: path of a record -> its method's name.
    """
    rows = rows.sort_values(["busy", "s_per_100_slices", "record"])
    return _table(
        rows_of(rows), [*_run(names), *((c.title, c.show) for c in in_time_table()), ("record", _link)], left=2
    )


def lesions_by_size(rows: pd.DataFrame, strata: pd.DataFrame, names: Mapping[str, str]) -> str:
    """Lesion recall and sensitivity by size of lesion, one row a record; strata are of one operating point.

    Beside them its false components, whatever lesions they lie near.
    """
    strata = strata[strata["record"].isin(rows["record"])]
    starts = sorted(strata.loc[strata["lesions"] > 0, "from_fraction"].unique())
    if not starts:
        return ""
    wide = strata.pivot(index="record", columns="from_fraction")
    rows = rows[rows["record"].isin(wide.index)]
    cells = _run(names)
    for start in starts:
        size = formats.size_range(start, strata.loc[strata["from_fraction"] == start, "to_fraction"].iloc[0])
        for name in STRATUM_FRACTIONS:
            columns = wide[[(name, start), (f"{name}_low", start), (f"{name}_high", start)]]
            texts = {record: formats.interval(*values) for record, *values in columns.itertuples(name=None)}
            cells.append((f"{size}: {name.replace('_', ' ')}", lambda row, texts=texts: texts[row["record"]]))  # type: ignore[misc]
    false = f"false_components_{strata['point'].iloc[0]}"
    cells.append((METRICS[false].heading, _estimate(false)))
    rows = rows.assign(**{f"{false}_sd": None})[["record", "config_hash", "seed", *_fields(false)]]
    return _table(rows_of(rows), [*cells, ("record", _link)], left=2)


def lesion_counts(strata: pd.DataFrame) -> str:
    """`Lesions: below 0.1 %: 12 (30 pixels), 0.1 to 0.5 %: 3 (40 pixels).`, of rows that measured the same pixels."""
    first = strata.drop_duplicates("from_fraction").sort_values("from_fraction")
    sizes = [
        f"{formats.size_range(s.from_fraction, s.to_fraction)}: {s.lesions} ({s.pixels} pixels)"
        for s in first.itertuples()
    ]
    return f"Lesions: {', '.join(sizes)}." if sizes else ""


def reported(values: Sequence[Reported]) -> str:
    """Published values, in the order in which their publications print them."""
    header = ["method", "metric", "value", "source", "differs in"]
    cells = [[v.method, reported_title(v.metric), f"{v.value:g}", f"{v.source}, {v.place}", v.differs] for v in values]
    return markdown.table(header, cells, left=5) if cells else ""


def failures(rows: pd.DataFrame) -> str:
    """Failed and skipped runs with their reasons."""
    who: list[TextColumn] = [("method", _failed_name), ("preset", lambda row: row["preset"]), _seed()]
    said = [(key, lambda row, key=key: row[key] or formats.NONE) for key in ("status", "reason")]
    return _table(rows_of(rows), [*who, *said, ("record", _link)], left=6)


def _failed_name(row: Row) -> str:
    return f"`{row['method']}`" + (f", trained on `{row['train_on']}`" if row["train_on"] else "")


def _who() -> list[TextColumn]:
    """Of a row that is pooled over seeds."""
    return [("method", lambda row: row["label"]), ("seeds", lambda row: row["seed"])]


def _run(names: Mapping[str, str]) -> list[TextColumn]:
    """Of a row that is a record's."""
    return [("method", lambda row: names[row["record"]]), _seed()]


def _seed() -> TextColumn:
    return "seed", lambda row: str(row["seed"])


def _links(row: Row) -> str:
    """To the records of all seeds of a pooled row."""
    return ", ".join(_link({**row, "record": record}) for record in row["records"])


def _link(row: Row) -> str:
    return f"[{row['config_hash'][:6]}]({row['record']})"


def names_of(rows: Sequence[Row]) -> dict[str, str]:
    """Path of a record -> its method's name in a summary's rows."""
    return {record: row["label"] for row in rows for record in row["records"]}
