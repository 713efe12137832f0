"""What the frame of results holds: one object a column, of runs and of their times. Metrics have columns of their own.

A column of times with a title stands in the table of times on the pages, with `about` in their glossary; all columns
are in the frame and in the CSV file. Adding one changes its entry here and its test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import pandas as pd

from adbench.devices.times import BUSY
from adbench.metrics.catalogue import METRICS
from adbench.metrics.estimate import Estimate
from adbench.results import formats
from adbench.results.method_card import MethodCard
from adbench.results.record import Record
from adbench.results.scan_metrics import SCAN_METRICS, estimate, numbers
from adbench.results.timing import TimingFile

Described = TypeVar("Described", Record, TimingFile, MethodCard | None, "Numbers")
RATES = {
    "rate_met_on_reference": "healthy images of the threshold",
    "rate_in_subjects_without_lesion": "test subjects without lesion",
    "rate_in_clean_slices_of_patients": "slices of patients without lesion",
    "rate_outside_lesions": "outside lesions, slices with one",
}
"""Field of a point -> the pixels of which it is the rate that is flagged."""
Row = Mapping[str, Any]
"""One row of the frame: values by key of the column."""


@dataclass(frozen=True)
class Column(Generic[Described]):
    """One column of the frame."""

    key: str
    """Its name in the frame and in the CSV file."""
    dtype: Literal["string", "float64", "Int64", "boolean"]
    """Text is empty where there is none, mappings are JSON text; numbers that are undefined or unknown are missing."""
    about: str
    """What it holds, with its unit."""
    of: Callable[[Described], Any]
    title: str = ""
    """Its name in the table of times; empty for the CSV file alone."""
    show: Callable[[Row], str] = lambda row: formats.NONE
    """Its text in that table, from the whole row."""


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Every row as a mapping; `to_dict` takes ten times as long for so many columns."""
    names = list(frame)
    return [dict(zip(names, row, strict=True)) for row in zip(*(frame[name].tolist() for name in names), strict=True)]


def canonical(value: Any) -> str:
    """Equal values give equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def _tuning(record: Record) -> str:
    if not record.tuning:
        return ""
    trials, tier = (record.tuning.get(key, "unknown") for key in ("trials", "tier"))
    return f"tuned: {trials} trials, {tier} tier, {' and '.join(record.tuning.get('objectives', ['unknown']))}"


def _elsewhere(field: str) -> Callable[[Record], str]:
    """A field of the set trained on, as text; empty where images are the dataset's own."""

    def of(record: Record) -> str:
        value = getattr(record.dataset.train_on, field, "")
        return value if isinstance(value, str) else canonical(value)

    return of


def _measured(field: str) -> Callable[[Record], Any]:
    return lambda record: getattr(record.measurement, field, None)


def _scored_on(record: Record) -> str:
    of = record.environment
    return f"{of.device}, {of.precision}"


def _not_estimable(record: Record) -> str:
    points = record.measurement.points if record.measurement else []
    return canonical({point.key: point.missing for point in points if point.missing})


def _undefined_on_scans(record: Record) -> str:
    scans = record.measurement.scans if record.measurement else None
    return canonical({each.point: each.undefined for each in scans.volumes if each.undefined} if scans else {})


def _largest(record: Record, field: str) -> float | None:
    return max(getattr(record.measurement, field).values(), default=None) if record.measurement else None


def _rates(record: Record) -> str:
    """At the points that healthy images support."""
    points = record.measurement.points if record.measurement else []
    return canonical(
        {point.key: {kind: getattr(point, kind) for kind in RATES} for point in points if not point.missing}
    )


def _froc(record: Record) -> str:
    points = record.measurement.froc if record.measurement else []
    return canonical({f"{point.rate:g}": [point.lesion_recall, point.false_components] for point in points})


_RUN: tuple[Column[Record], ...] = (
    Column("record", "string", "path of the record below the folder of results", lambda r: r.path.as_posix()),
    Column("config_hash", "string", "of all that decides the numbers but the seed", lambda r: r.config_hash),
    Column("seed", "Int64", "of training and scoring", lambda r: r.seed),
    Column("status", "string", "ok, failed or skipped", lambda r: r.status),
    Column("reason", "string", "why it failed or was skipped", lambda r: r.reason or ""),
    Column("method", "string", "registered name", lambda r: r.detector.name),
    Column("method_version", "string", "of the method's code", lambda r: r.detector.code_version),
    Column("preset", "string", "that the settings started from", lambda r: r.detector.preset),
    Column("config", "string", "settings of the method, JSON", lambda r: canonical(r.detector.config)),
    Column("tuning", "string", "budget of tuning; empty where untuned", _tuning),
    Column(
        "parameters",
        "Int64",
        "weights of all networks.",
        lambda r: r.detector.parameters,
        "parameters",
        lambda row: formats.si(row["parameters"]),
    ),
    Column("core_minutes", "float64", "processor minutes of all trained parts", lambda r: r.core_minutes),
    Column("dataset", "string", "its name; data.name gives one to a set of your own", lambda r: r.dataset.name),
    Column("dataset_distribution", "string", "that brings it", lambda r: r.dataset.distribution),
    Column("dataset_version", "string", "of its code", lambda r: r.dataset.version),
    Column("dataset_config", "string", "settings of the dataset, JSON", lambda r: canonical(r.dataset.config)),
    Column("fingerprint", "string", "of all images, lesions and splits", lambda r: r.dataset.fingerprint),
    Column("images", "string", "split -> number, JSON", lambda r: json.dumps(r.dataset.split_sizes)),
    Column("subjects", "string", "split -> number, JSON", lambda r: json.dumps(r.dataset.subjects)),
    Column(
        "lesion_subjects",
        "Int64",
        "test subjects with lesions; all test subjects where the record is older than the count",
        lambda r: r.lesion_subjects,
    ),
    Column("image_height", "Int64", "pixels", lambda r: r.dataset.image_size[0]),
    Column("image_width", "Int64", "pixels", lambda r: r.dataset.image_size[1]),
    Column("region", "string", "pixels that count: image or brain", lambda r: r.dataset.region),
    Column("prevalence", "float64", "lesion pixels as a fraction of those that count", lambda r: r.dataset.prevalence),
    Column("train_on", "string", "set of the training images; empty for the dataset's own", _elsewhere("name")),
    Column("train_on_distribution", "string", "that brings it", _elsewhere("distribution")),
    Column("train_on_version", "string", "of its code", _elsewhere("version")),
    Column("train_on_config", "string", "its settings, JSON", _elsewhere("config")),
    Column("train_on_fingerprint", "string", "of its images", _elsewhere("fingerprint")),
    Column("protocol", "string", "rules that decide quality, JSON", lambda r: canonical(r.protocol)),
    Column("best_threshold", "float64", "score; of ⌈DICE⌉", _measured("best_threshold")),
    Column("not_estimable", "string", "operating point -> why it has no threshold, JSON", _not_estimable),
    Column(
        "undefined_on_scans", "string", "operating point -> number -> subjects without it, JSON", _undefined_on_scans
    ),
    Column(
        "unseen_lesion_fraction",
        "float64",
        "of the lesion voxels of scans, those that no image shows",
        lambda r: r.measurement.scans.unseen_lesion_fraction if r.measurement and r.measurement.scans else None,
    ),
    Column(
        "thresholds_on_grid",
        "boolean",
        "whether the thresholds of scans come from healthy scans on their own grid; missing for sets of pictures",
        lambda r: r.measurement.scans.thresholds_on_grid if r.measurement and r.measurement.scans else None,
    ),
    Column("reference_images", "Int64", "healthy images that thresholds come from", _measured("reference_images")),
    Column("reference_subjects", "Int64", "subjects of these", _measured("reference_subjects")),
    Column("images_left_out", "Int64", "of image-level metrics: no lesion counts", _measured("images_left_out")),
    Column("error_bound", "float64", "how far bins can move any value", lambda r: _largest(r, "error_bound")),
    Column(
        "interval_error_bound",
        "float64",
        "how far they can move an end of any interval",
        lambda r: _largest(r, "interval_error_bound"),
    ),
    Column("rates", "string", "operating point -> kind of pixels -> rate flagged, JSON", _rates),
    Column("froc", "string", "rate of healthy pixels -> lesion recall, false components a slice, JSON", _froc),
    Column(
        "too_old_intervals",
        "string",
        "metrics without interval, as the record is older than the rule for it, JSON",
        lambda r: canonical(r.too_old_intervals),
    ),
    Column("reported_source", "string", "of the published values", lambda r: r.reported_source or ""),
    Column("scored_on", "string", "type of device and precision of scoring: rows of a table share them", _scored_on),
    Column("machine", "string", "processor or GPU of scoring", lambda r: r.environment.device_name),
    Column("git_commit", "string", "of the code; empty where unknown", lambda r: r.environment.git_commit or ""),
    Column("git_dirty", "boolean", "whether the code had changes", lambda r: r.environment.git_dirty),
    Column("created", "string", "UTC, ISO 8601", lambda r: r.created),
)
RUN: dict[str, Column[Record]] = {column.key: column for column in _RUN}
"""What is known of a run, but for its metrics."""

_METHOD: tuple[Column[MethodCard | None], ...] = (
    Column("family", "string", "of the method; empty where unknown", lambda card: (card and card.family) or ""),
    Column(
        "knowledge", "string", "beyond healthy images; empty where unknown", lambda card: card.knowledge if card else ""
    ),
)
METHOD: dict[str, Column[MethodCard | None]] = {column.key: column for column in _METHOD}
"""What the card of a run's method says, None where it has none."""


@dataclass(frozen=True)
class Numbers:
    """Every one of `adbench.results.scan_metrics.numbers` of a record, by key, and the published ones."""

    measured: Mapping[str, Estimate]
    reported: Mapping[str, float]

    @classmethod
    def of(cls, record: Record) -> Numbers:
        return cls({key: estimate(record, key) for key in numbers()}, record.reported or {})


def metric_columns() -> dict[str, Column[Numbers]]:
    """Value and interval of every number, and the published value of every metric at network size."""
    columns: list[Column[Numbers]] = []
    for key, number in numbers().items():
        grid = "on the scans' own grid: " if key in SCAN_METRICS else ""
        for ending, field, what in (
            ("", "value", f"{grid}{number.glossary}"),
            ("_low", "low", "lower end of its 95 % interval"),
            ("_high", "high", "upper end of its 95 % interval"),
        ):
            columns.append(Column(key + ending, "float64", what, _estimated(key, field)))
        if key in METRICS:
            columns.append(Column(f"{key}_reported", "float64", "published value", _reported(key)))
    return {column.key: column for column in columns}


def _estimated(key: str, field: str) -> Callable[[Numbers], float | None]:
    return lambda of: getattr(of.measured[key], field)


def _reported(key: str) -> Callable[[Numbers], float | None]:
    return lambda of: of.reported.get(key)


def _per_100(timing: TimingFile, seconds: float | None) -> float | None:
    return None if seconds is None else 100 / timing.timing.slices * seconds


def _stages(timing: TimingFile) -> str:
    return json.dumps({name: _per_100(timing, s) for name, s in timing.timing.stages_s.items()})


def _show_seconds(row: Row) -> str:
    """`12.3 (12.0 to 12.9, 10 repeats)`."""
    keys = ("s_per_100_slices", "s_per_100_slices_min", "s_per_100_slices_max")
    median, low, high = (formats.seconds(row[key]) for key in keys)
    whole = row["timed_batch_size"] >= row["timed_slices"]
    split = "" if whole else f", in batches of {row['timed_batch_size']}"
    composed = f", composed; a whole call {formats.seconds(row['s_per_100_slices_whole'])}" if row["composed"] else ""
    busy = f", **busy machine: others used {100 * row['others_share']:.0f} %**" if row["busy"] else ""
    return f"{median} ({low} to {high}, {row['repeats']} repeats{split}{composed}{busy})"


def _show_stages(row: Row) -> str:
    stages = json.loads(row["stages_s_per_100_slices"])
    return ", ".join(f"{name} {formats.seconds(s)}" for name, s in stages.items()) or formats.NONE


_TIME: tuple[Column[TimingFile], ...] = (
    Column("timed_on", "string", "device, threads, precision, slices: compare where equal", lambda t: t.conditions),
    Column("device", "string", "cpu or cuda", lambda t: t.environment.device),
    Column("device_name", "string", "its maker's name", lambda t: t.environment.device_name),
    Column("threads", "Int64", "of PyTorch", lambda t: t.environment.threads),
    Column("precision", "string", "of the networks", lambda t: t.environment.precision),
    Column("torch", "string", "version of PyTorch", lambda t: t.environment.packages.get("torch", "unknown")),
    Column("timed", "string", "UTC, ISO 8601", lambda t: t.created),
    Column("timed_slices", "Int64", "slices in the timed minibatch", lambda t: t.timing.slices),
    Column("timed_batch_size", "Int64", "smaller where they did not fit into memory", lambda t: t.timing.batch_size),
    Column("warmups", "Int64", "calls before the repeats", lambda t: t.timing.warmups),
    Column("repeats", "Int64", "timed calls", lambda t: t.timing.repeats),
    Column(
        "s_per_100_slices",
        "float64",
        "seconds for one minibatch (`timing_slices` of the protocol) that is already on the device, scaled to 100 "
        "slices: median of the repeats (fastest to slowest) after warm-ups. Composed: repeated with shorter chains of "
        "network passes, each stage times its passes, beside one whole call. Compare times within one table only, and "
        "none of a busy machine.",
        lambda t: _per_100(t, t.timing.median_s),
        "s / 100 slices",
        _show_seconds,
    ),
    Column(
        "cpu_s_per_100_slices",
        "float64",
        "processor seconds for the same: median.",
        lambda t: _per_100(t, t.timing.cpu_s.get("score")),
        "processor s",
        lambda row: formats.seconds(row["cpu_s_per_100_slices"]),
    ),
    Column("s_per_100_slices_min", "float64", "of the fastest repeat", lambda t: _per_100(t, t.timing.min_s)),
    Column("s_per_100_slices_max", "float64", "of the slowest repeat", lambda t: _per_100(t, t.timing.max_s)),
    Column("composed", "boolean", "whether it is composed of shorter chains", lambda t: t.timing.composed),
    Column(
        "s_per_100_slices_whole",
        "float64",
        "of the one whole call, where it is composed",
        lambda t: _per_100(t, t.timing.whole_s.get("score")),
    ),
    Column(
        "others_share",
        "float64",
        "largest share of the machine that others used while it was timed",
        lambda t: max(t.timing.others.values(), default=None),
    ),
    Column("busy", "boolean", f"whether that is above {BUSY:g}: not to be compared", lambda t: t.timing.busy),
    Column(
        "latency_s",
        "float64",
        "median seconds for a single slice.",
        lambda t: t.timing.latency_s,
        "latency s",
        lambda row: formats.seconds(row["latency_s"]),
    ),
    Column(
        "image_level_s_per_100_slices",
        "float64",
        "seconds for the image-level scores of 100 slices, timed apart.",
        lambda t: _per_100(t, t.timing.image_scores_s),
        "image-level s",
        lambda row: formats.seconds(row["image_level_s_per_100_slices"]),
    ),
    Column(
        "stages_s_per_100_slices",
        "string",
        "seconds by stage of the repeat in the middle.",
        _stages,
        "stages, s / 100 slices",
        _show_stages,
    ),
    Column(
        "passes",
        "string",
        "passes through each network for one minibatch.",
        lambda t: json.dumps(t.timing.passes),
        "network passes",
        lambda row: formats.counts(json.loads(row["passes"])),
    ),
    Column(
        "flops_per_100_slices",
        "float64",
        "of 100 slices, as PyTorch counts them.",
        lambda t: _per_100(t, t.timing.flops),
        "FLOPs",
        lambda row: formats.si(row["flops_per_100_slices"]),
    ),
    Column(
        "peak_memory_bytes",
        "Int64",
        "of the timed minibatch, above what was in use before.",
        lambda t: t.timing.peak_memory_bytes,
        "peak memory",
        lambda row: formats.mebibytes(row["peak_memory_bytes"]),
    ),
    Column("fit_s", "float64", "seconds of fitting in that run; reused parts cost loading", lambda t: t.timing.fit_s),
)
TIME: dict[str, Column[TimingFile]] = {column.key: column for column in _TIME}
"""What is known of the time of a run on one device."""


def reported_title(key: str) -> str:
    """The title of what a publication prints a value of: a metric, or a column of times."""
    return METRICS[key].title if key in METRICS else TIME[key].title


def in_time_table() -> list[Column[Any]]:
    """The columns of the table of times, in order."""
    columns: list[Column[Any]] = [*TIME.values(), *RUN.values()]
    return [column for column in columns if column.title]
