"""What the command line shows of results: tables of runs, one record, comparisons, reproductions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from adbench.cli import console
from adbench.errors import counted
from adbench.results import formats
from adbench.results.markdown import plain

MOST_SUBJECTS, MOST_SETTINGS = 5, 8
"""Lines of a comparison."""

if TYPE_CHECKING:
    from pandas import DataFrame

    from adbench.protocol.reproducing import Plan, Reproduction
    from adbench.results.comparison import Comparison, Difference
    from adbench.results.record import Record
    from adbench.results.side_by_side import Kept
    from adbench.results.table import Table
    from adbench.results.timing import TimingFile


def show_results(results: DataFrame, out_folder: Path) -> None:
    """Print the first table of each page, of these runs alone, and below where each record is."""
    from adbench.results.subjects import values_below
    from adbench.results.summary import summary
    from adbench.results.variants import trained_on, variants

    values = values_below(out_folder, results["record"].unique())
    several = results["dataset"].nunique() > 1
    for name, rows in results.groupby("dataset", sort=False):
        of_set = variants(rows)
        for variant in of_set:
            elsewhere = trained_on(variant.facts) if variant.facts["train_on"] else ""
            title = [str(name), variant.differs or elsewhere]
            shown = summary(variant, values)
            _show_table(shown.table, ", ".join(filter(None, title)) if several or title[1] or of_set[1:] else None)
            console.say(plain("\n".join(filter(None, [shown.warning, *shown.said]))))
    for row in results.drop_duplicates("record").to_dict("records"):
        which = f"{row['method']} on {row['dataset']}" if several else row["method"]
        state = "" if row["status"] == "ok" else f"{row['status']}, "
        console.say(f"{which}: {state}{out_folder / row['record']}")


def _show_table(table: Table, title: str | None) -> None:
    """Print a table, its best values bold."""
    shown = console.grid(*table.header, left=table.left, title=title and plain(title))
    for i, row in enumerate(table.rows):
        cells = [Text(plain(cell), "bold" if (i, j) in table.best else "") for j, cell in enumerate(row)]
        shown.add_row(*cells)
    console.out().print(shown)


def show_comparison(comparison: Comparison, picture: Path | None, settings: bool) -> None:
    """Print paired differences, the subjects that differ most with their pictures, and what differs in the settings."""
    pair = comparison.pair
    title = f"{pair.methods[0]} on {pair.dataset}" if pair.of_one else pair.dataset
    table = console.grid("metric", "subjects", *pair.names, "difference [95 %]", "p", title=title)
    table.columns[0].no_wrap = True
    for each in comparison.differences:
        table.add_row(_compared_title(each.metric), *_compared(each))
    console.out().print(table)
    _show_subjects(comparison, picture)
    _show_settings(comparison, settings)


def _compared(each: Difference) -> list[str]:
    """Subjects, values, difference and p."""
    of = each.difference
    numbers = [formats.number(each.a), formats.number(each.b), formats.interval(of.value, of.low, of.high)]
    return [str(each.subjects), *numbers, "< 0.001" if each.p < 0.001 else f"{each.p:#.2g}"]


def _show_subjects(comparison: Comparison, picture: Path | None) -> None:
    """Print the subjects that differ most, and where they are seen."""
    from adbench.results.card import read_cards

    names, kept = comparison.pair.names, _kept(comparison)
    table = console.grid("subject AUPRC differs most in", *names, "columns of the pictures" if kept else "")
    for row in comparison.subjects.head(MOST_SUBJECTS).itertuples(index=False):
        columns = (f"{name}: {column}" for name, each in kept for column in each.of(row.subject))
        seen = ", ".join(columns) or (formats.NONE if kept else "")
        table.add_row(str(row.subject), formats.number(row.a), formats.number(row.b), seen)
    console.out().print(table)
    for name, each in kept:
        console.say(f"picture of {name}: {each.path}")
    if picture:
        console.say(f"side by side, those that differ most first: {picture}")
    elif len(kept) == 2:
        console.say("--pictures DIR draws the slices that both keep side by side")
    elif not kept:
        folder, record = comparison.pair.a[0]
        card = read_cards(folder).get(record.dataset.name)
        console.say("no pictures are kept of these images" + (f"; their licence: {card.licence}" if card else ""))


def _kept(comparison: Comparison) -> list[tuple[str, Kept]]:
    """Name and picture of the sides that have one."""
    return [(name, each) for name, each in zip(comparison.pair.names, comparison.kept, strict=True) if each]


def _show_settings(comparison: Comparison, every: bool) -> None:
    """Print settings that differ, a: b; unless all are wanted a few, those of both first."""
    of_both = sorted(comparison.settings.items(), key=lambda item: None in item[1])
    shown = of_both if every else [item for item in of_both if None not in item[1]][:MOST_SETTINGS]
    for key, (ours, theirs) in shown:
        console.say(f"{key}: {formats.short(ours)} | {formats.short(theirs)}")
    if left := len(of_both) - len(shown):
        console.say(f"and {counted(left, 'setting')} more: --settings shows all")


def show_comparisons(comparisons: Sequence[Comparison]) -> None:
    """Print one line for each method of two folders, a table for each dataset and its rules."""
    columns = ("subject AUPRC", "subjects", "a", "b", "difference [95 %]", "p", "metrics worse", "better")
    for dataset in dict.fromkeys(each.pair.dataset for each in comparisons):
        table = console.grid(*columns, title=dataset)
        for each in (each for each in comparisons if each.pair.dataset == dataset):
            of = next((of for of in each.differences if of.metric == "auprc"), None)
            numbers = _compared(of) if of else [formats.NONE] * 5
            table.add_row(each.pair.methods[0], *numbers, str(len(each.worse)), str(len(each.better)))
        console.out().print(table)
    for each in comparisons:
        if each.worse:
            metrics = ", ".join(map(_compared_title, each.worse))
            console.say(f"{each.pair.methods[0]} on {each.pair.dataset} is worse in {metrics}")
    console.say("for all metrics, subjects and settings of one, name its method and --dataset")


def _compared_title(key: str) -> str:
    """Of the metric that is compared: one over all pixels, one with a value a subject, or one of scans."""
    from adbench.metrics.catalogue import METRICS
    from adbench.results.report.strips import column_title
    from adbench.results.scan_metrics import numbers
    from adbench.results.subjects import SEPARATOR
    from adbench.results.summary import title_of

    at, _, field = key.rpartition(SEPARATOR)
    if at == "pooled":
        return title_of(field)
    over_subjects = {metric.by_subject: of for of, metric in METRICS.items() if metric.by_subject}
    title = over_subjects.get(key, f"scan_{field}_{at}")
    return title_of(title) if title in numbers() else column_title(key)


def show_plan(path: Path, plan: Plan) -> None:
    """Print what would be made again, what it would take, what it took, and what differs in the environment."""
    record = plan.record
    took = "" if record.core_minutes is None else f"; its training took {record.core_minutes:.1f} core-minutes"
    facts = f"seed {record.seed}, preset {record.detector.preset}, images {record.dataset.fingerprint}"
    console.say(f"to make again: {record.detector.name} on {record.dataset.name}, {facts}{took}: {path}")
    console.show_forecast([plan.forecast])
    _show_environment(plan.environment)


def _show_environment(changed: Mapping[str, tuple[object, object]]) -> None:
    if not changed:
        console.say("environment: that of the record")
        return
    table = console.grid("environment", "of the record", "here", left=3)
    for key, (was, now) in changed.items():
        table.add_row(key, *(formats.NONE if value is None else str(value) for value in (was, now)))
    console.out().print(table)


def show_reproduction(reproduction: Reproduction, tolerance: float) -> None:
    """Print each number as it was and as it came out again, and what differs in the environment."""
    from adbench.protocol.reproducing import VERDICTS
    from adbench.results.summary import title_of

    table = console.grid("metric", "was", "now", "value", "interval")
    for number in reproduction.numbers:
        texts = ["-" if value is None else f"{value:.6f}" for value in (number.was, number.now)]
        table.add_row(title_of(number.metric), *texts, number.verdict, number.interval)
    console.out().print(table)
    verdicts = [number.verdict for number in reproduction.numbers]
    counts = ", ".join(f"{verdicts.count(each)} {each}" for each in VERDICTS)
    console.say(f"{counted(len(verdicts), 'number')}: {counts} (bit for bit; within {tolerance:g}; neither)")
    _show_environment(reproduction.environment)


def show_record(record: Record, times: Sequence[TimingFile]) -> None:
    """Print one record: what was run, its numbers, its times, and where it comes from."""
    from adbench.results.summary import title_of

    console.show_facts(_facts(record).items())
    numbers = console.grid("metric", "value [95 %]", "reported")
    for key in record.metrics:
        estimate = record.shown(key)
        if estimate.value is not None:
            value = formats.interval(estimate.value, estimate.low, estimate.high)
            numbers.add_row(title_of(key), value, formats.number((record.reported or {}).get(key)))
    if record.metrics:
        console.out().print(numbers)
    for time in times:
        console.say(str(time))


def _facts(record: Record) -> dict[str, str]:
    from adbench.results.timing import device_label

    of, where = record.dataset, record.environment
    commit = (where.git_commit or "unknown")[:12] + (" with changes" if where.git_dirty else "")
    torch = where.packages.get("torch", "unknown")
    minutes = "unknown" if record.core_minutes is None else formats.duration(60 * record.core_minutes)
    return {
        "status": record.status + (f": {record.reason}" if record.reason else ""),
        "method": f"{record.detector.name} ({record.detector.distribution} {record.detector.version})",
        "preset, seed": f"{record.detector.preset}, {record.seed}",
        "dataset": f"{of.name}, {', '.join(f'{name} {n}' for name, n in of.split_sizes.items())} images",
        "trained on": of.train_on.name if of.train_on else "its own healthy images",
        "image size, region": f"{of.image_size[0]} x {of.image_size[1]}, {of.region}",
        "fingerprint": of.fingerprint,
        "settings": formats.settings(record.detector.config),
        "protocol": formats.settings(record.protocol),
        "tuning": formats.settings(record.tuning) if record.tuning else "none",
        "weights": formats.si(record.detector.parameters),
        "processor time of training": minutes,
        "environment": f"{device_label(where)}, PyTorch {torch}, Python {where.python}",
        "commit": commit,
        "created": record.created,
    }
