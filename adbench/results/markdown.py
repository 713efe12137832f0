"""Records as Markdown tables: what was measured on, quality, lesions by size, time, and failures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adbench.metrics.estimate import Estimate
from adbench.results import formats
from adbench.results.record import MetricsRecord, Record, StratumRecord, TimingRecord

QUALITY = (
    ("⌈DICE⌉", "best_dice"),
    ("Dice transferred", "dice_transferred"),
    ("subject Dice", "subject_dice"),
    ("AUPRC", "auprc"),
    ("AUROC", "auroc"),
    ("image AUROC", "image_auroc"),
    ("image AUPRC", "image_auprc"),
)
TIMING = (
    "s / 100 slices",
    "latency s",
    "image-level s",
    "stages, s / 100 slices",
    "network passes",
    "FLOPs",
    "peak memory",
    "parameters",
)


def quality_rules(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a protocol that decide quality: how long a method may be timed does not."""
    return {key: value for key, value in protocol.items() if not key.startswith("timing_")}


def facts(record: Record) -> str:
    """The dataset and the rules that all rows of the tables below share."""
    data = record.dataset
    sizes = [f"{name} {n} ({data.subjects.get(name, n)} subjects)" for name, n in data.split_sizes.items()]
    lesions = formats.NONE if data.prevalence is None else f"{100 * data.prevalence:.3f} % of the pixels measured"
    rows = {
        "dataset": f"`{data.name}` {data.version} ({data.distribution})",
        "trained on": trained_on(record),
        "fingerprint": f"`{data.fingerprint}`",
        "images": ", ".join(sizes),
        "image size": " x ".join(map(str, data.image_size)),
        "region measured": data.region,
        "lesions": lesions,
        "settings": formats.settings(data.config),
        "protocol": formats.settings(quality_rules(record.protocol)),
    }
    return table(["", ""], list(rows.items()), left=2)


def trained_on(record: Record) -> str:
    """Where the healthy images came from."""
    elsewhere = record.dataset.train_on
    if elsewhere is None:
        return "its own healthy images"
    settings = formats.settings(elsewhere.config)
    return f"`{elsewhere.name}` {elsewhere.version} ({elsewhere.distribution}), settings {settings}"


def budget(record: Record) -> str:
    """`tuned: 200 trials, inference tier, dice`: what rows of one table share. Empty where nothing was tuned."""
    if not record.tuning:
        return ""
    trials, tier = (record.tuning.get(key, "unknown") for key in ("trials", "tier"))
    return f"tuned: {trials} trials, {tier} tier, {' and '.join(record.tuning.get('objectives', ['unknown']))}"


def quality(rows: Sequence[Record]) -> str:
    """One table of all metrics; a published value stands beside ours where any row has one."""
    published = {name for row in rows for name in row.reported or {}}
    header = ["method", "preset", "seed"]
    for title, name in QUALITY:
        header += [title, "reported"] if name in published else [title]
    label = labels(rows)
    cells = [[*_who(row, label), *_metric_cells(row, row.metrics, published), link(row)] for row in rows if row.metrics]
    return table([*header, "record"], cells, left=2)


def _metric_cells(row: Record, metrics: MetricsRecord, published: Iterable[str]) -> list[str]:
    cells = []
    for _, name in QUALITY:
        estimate = getattr(metrics, name)
        cells.append(formats.interval(estimate.value, estimate.low, estimate.high))
        if name in published:
            cells.append(formats.number((row.reported or {}).get(name)))
    return cells


def strata(rows: Sequence[Record], transferred: bool) -> str:
    """How many lesions of each size are detected and how much of them is flagged, at either threshold."""
    by_row = [(row, row.metrics.strata) for row in rows if row.metrics and row.metrics.strata]
    sizes = {_size(s): s.from_fraction for _, strata in by_row for s in strata if s.lesions}
    sizes = dict(sorted(sizes.items(), key=lambda size: size[1]))
    if not sizes:
        return ""
    header = ["method", "preset", "seed", *(f"{size}: {what}" for size in sizes for what in ("detected", "recall"))]
    label = labels(rows)
    cells = []
    for row, strata in by_row:
        by_size = {_size(stratum): stratum for stratum in strata}
        found = [cell for size in sizes for cell in _stratum_cells(by_size.get(size), transferred)]
        cells.append([*_who(row, label), *found, link(row)])
    return table([*header, "record"], cells, left=2)


def lesions(rows: Sequence[Record]) -> str:
    """`Lesions: < 0.1 %: 12 (30 pixels), 0.1 to 0.5 %: 3 (40 pixels).`, of rows that measured the same pixels."""
    strata = next((row.metrics.strata for row in rows if row.metrics and row.metrics.strata), [])
    sizes = [f"{_size(s)}: {s.lesions} ({s.pixels} pixels)" for s in strata]
    return f"Lesions: {', '.join(sizes)}." if sizes else ""


def _size(stratum: StratumRecord) -> str:
    low, high = (f"{100 * share:g}" for share in (stratum.from_fraction, stratum.to_fraction or 0.0))
    if stratum.to_fraction is None:
        return f"from {low} %"
    return f"{low} to {high} %" if stratum.from_fraction else f"below {high} %"


def _stratum_cells(stratum: StratumRecord | None, transferred: bool) -> list[str]:
    if stratum is None:
        return [formats.NONE, formats.NONE]
    pair: tuple[Estimate, Estimate] = (stratum.detected, stratum.recall)
    if transferred:
        pair = (stratum.detected_transferred, stratum.recall_transferred)
    return [formats.interval(found.value, found.low, found.high) for found in pair]


def timing(records: Iterable[Record]) -> str:
    """One table of times, fastest first; all must come from one device."""
    timed = [(record, record.timing) for record in records if record.timing]
    timed.sort(key=lambda pair: (pair[1].median_s / pair[1].slices, str(pair[0].path)))
    label = labels(record for record, _ in timed)
    cells = [
        [*_who(record, label), *_timing_cells(measured, record.detector.parameters), link(record)]
        for record, measured in timed
    ]
    return table(["method", "preset", "seed", *TIMING, "record"], cells, left=2)


def _timing_cells(measured: TimingRecord, parameters: int) -> list[str]:
    scale = 100 / measured.slices
    times = (measured.median_s, measured.min_s, measured.max_s)
    median, low, high = (formats.seconds(scale * s) for s in times)
    split = "" if measured.batch_size >= measured.slices else f", in batches of {measured.batch_size}"
    stages = [f"{name} {formats.seconds(scale * s)}" for name, s in measured.stages_s.items()]
    return [
        f"{median} ({low} to {high}, {measured.repeats} repeats{split})",
        formats.seconds(measured.latency_s),
        formats.seconds(scale * measured.image_scores_s),
        ", ".join(stages) or formats.NONE,
        formats.counts(measured.passes),
        formats.si(scale * measured.flops),
        formats.mebibytes(measured.peak_memory_bytes),
        formats.si(parameters),
    ]


def failures(records: Iterable[Record]) -> str:
    """Failed and skipped runs with their reasons."""
    cells = [
        [_failed_name(r), r.detector.preset, str(r.seed), r.status, r.reason or formats.NONE, link(r)] for r in records
    ]
    return table(["method", "preset", "seed", "status", "reason", "record"], cells, left=6)


def _failed_name(record: Record) -> str:
    elsewhere = record.dataset.train_on
    return f"`{record.detector.name}`" + (f", trained on `{elsewhere.name}`" if elsewhere else "")


def canonical(value: Any) -> str:
    """Equal values give equal text."""
    return json.dumps(value, sort_keys=True, default=str)


def grouped(records: Iterable[Record], key: Callable[[Record], str]) -> dict[str, list[Record]]:
    """Records by a key, keys and records in a fixed order."""
    groups: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: str(record.path)):
        groups.setdefault(key(record), []).append(record)
    return dict(sorted(groups.items()))


def labels(rows: Iterable[Record]) -> dict[Path, str]:
    """Method names; where rows of one method and preset differ in settings, with those that differ."""
    result: dict[Path, str] = {}
    for same in grouped(rows, lambda r: canonical([r.detector.name, r.detector.preset])).values():
        configs = {record.path: formats.flat(record.detector.config) for record in same}
        keys = {key for config in configs.values() for key in config}
        vary = [key for key in keys if len({canonical(config.get(key)) for config in configs.values()}) > 1]
        for record in same:
            differing = formats.settings({key: configs[record.path].get(key) for key in vary})
            result[record.path] = f"`{record.detector.name}`" + (f" ({differing})" if vary else "")
    return result


def _who(record: Record, label: dict[Path, str]) -> list[str]:
    return [label[record.path], record.detector.preset, str(record.seed)]


def link(record: Record) -> str:
    return f"[{record.config_hash[:6]}]({record.path.as_posix()})"


def escape(text: str) -> str:
    """One line that neither ends a table cell nor starts an HTML tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> str:
    """A Markdown table whose first `left` columns are aligned left and the others right."""
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    lines = [header, rule, *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
