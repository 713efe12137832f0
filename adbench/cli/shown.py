"""What the command line shows of results: tables of runs, one record, comparisons, reproductions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from adbench.cli import console
from adbench.errors import counted
from adbench.results import formats
from adbench.results.markdown import plain

if TYPE_CHECKING:
    from pandas import DataFrame

    from adbench.protocol.reproducing import Reproduction
    from adbench.results.comparison import Comparison
    from adbench.results.record import Record
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


def show_comparison(label: str, comparison: Comparison, names: tuple[str, str], settings: bool) -> None:
    """Print paired differences, the subjects that differ most, and what differs in the settings if they are wanted."""
    table = console.grid("metric", "subjects", *names, "difference [95 %]", "p", title=label)
    table.columns[0].no_wrap = True
    for each in comparison.differences:
        of = each.difference
        numbers = [formats.number(each.a), formats.number(each.b), formats.interval(of.value, of.low, of.high)]
        p = "< 0.001" if each.p < 0.001 else f"{each.p:#.2g}"
        table.add_row(_compared_title(each.metric), str(each.subjects), *numbers, p)
    console.out().print(table)
    subjects = console.grid("subject AUPRC differs most in", *names)
    for row in comparison.largest.itertuples(index=False):
        subjects.add_row(str(row.subject), formats.number(row.a), formats.number(row.b))
    console.out().print(subjects)
    for key, (ours, theirs) in comparison.settings.items() if settings else ():
        console.say(f"{key}: {formats.short(ours)} | {formats.short(theirs)}")


def _compared_title(key: str) -> str:
    """Of the metric that is compared: one over all pixels, one with a value a subject, or one of scans."""
    from adbench.metrics.catalogue import METRICS
    from adbench.results.report.strips import column_title
    from adbench.results.scan_metrics import SCAN_METRICS
    from adbench.results.subjects import SEPARATOR
    from adbench.results.summary import title_of

    at, _, field = key.rpartition(SEPARATOR)
    if at == "pooled":
        return title_of(field)
    over_subjects = {metric.by_subject: of for of, metric in METRICS.items() if metric.by_subject}
    title = over_subjects.get(key, f"scan_{field}_{at}")
    return title_of(title) if title in {**METRICS, **SCAN_METRICS} else column_title(key)


def show_reproduction(reproduction: Reproduction, tolerance: float) -> None:
    """Print each number as it was and as it came out again, and what differs in the environment."""
    from adbench.results.summary import title_of

    table = console.grid("metric", "was", "now", "")
    for number in reproduction.numbers:
        texts = ["-" if value is None else f"{value:.6f}" for value in (number.was, number.now)]
        table.add_row(title_of(number.metric), *texts, number.verdict)
    console.out().print(table)
    verdicts = [number.verdict for number in reproduction.numbers]
    counts = ", ".join(f"{verdicts.count(each)} {each}" for each in ("the same", "agrees", "differs"))
    console.say(f"{counted(len(verdicts), 'number')}: {counts} (within {tolerance:g})")
    for key, (was, now) in reproduction.environment.items():
        console.say(f"{key}: {was} | {now}")


def show_record(record: Record, times: Sequence[TimingFile]) -> None:
    """Print one record: what was run, its numbers, its times, and where it comes from."""
    from adbench.results.summary import title_of

    facts = console.grid("", "", left=2)
    facts.show_header = False
    for key, value in _facts(record).items():
        facts.add_row(key, value)
    console.out().print(facts)
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
