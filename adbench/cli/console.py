"""What the command line shows on stdout: tables for people."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from textwrap import wrap
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as RichTable

from adbench.errors import counted
from adbench.results import formats

if TYPE_CHECKING:
    from pydantic import BaseModel

    from adbench.config.options import Reporter
    from adbench.contracts.dataset import Findings
    from adbench.contracts.registry import LoadedPlugin, PluginEntry
    from adbench.contracts.splits import Splits
    from adbench.protocol.forecast import CellForecast
    from adbench.results.record import Record

FAILED, USAGE, INTERRUPTED = 1, 2, 130
"""Exit codes."""
WIDE = 100
"""Columns of what is shown: of a file or a pipe, and of a terminal at most."""


def out() -> Console:
    """A console on the stdout of this moment; text is shown as it is, without markup."""
    console = Console(markup=False, highlight=False, emoji=False, soft_wrap=False)
    width = min(WIDE, console.width) if sys.stdout.isatty() else WIDE
    return Console(width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def say(text: str, command: bool = False) -> None:
    """Print text to stdout, its lines broken between words; those of a command so that a shell takes them as one.

    A word that is longer than a line, such as a path, stays whole on a line of its own.
    """
    console, end = out(), " \\" if command else ""
    for line in visible(text).split("\n"):
        broken = wrap(line, console.width - len(end), break_long_words=False, break_on_hyphens=False) or [""]
        console.print(f"{end}\n".join(broken), soft_wrap=True)


def complain(text: str) -> None:
    """Print text to stderr without breaking its lines."""
    Console(stderr=True, markup=False, highlight=False, emoji=False).print(visible(text), soft_wrap=True)


def visible(text: str) -> str:
    """Text whose control characters are spelled: what a file says of itself commands no terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def working() -> Iterator[Reporter]:
    """Report on stderr, and keep stdout for the results whatever plugins print."""
    from adbench.cli import progress

    with redirect_stdout(sys.stderr), progress.reporter() as reporter:
        yield reporter


def check_results(out: Path) -> None:
    """Raise RecordError where a folder holds no records."""
    from adbench.errors import RecordError

    if not (out / "records").is_dir():
        raise RecordError(
            f"Results are read from {out / 'records'}, which is no folder. Name the folder of a run, its --out."
        )


def say_wrong_values(out: Path, records: Iterable[Record]) -> None:
    """Say on stderr of how many records the values are not what the counts beside them give."""
    from adbench.results.counts import wrong_values

    if said := wrong_values(out, records):
        complain(f"Not to be believed: {counted(len(said), 'record')}, see 'adbench verify {out}'. {said[0]}")


def say_left_out(out: Path) -> None:
    """Say on stderr which records below a folder no table may hold."""
    from adbench.results.record import PROTOCOL_VERSION, of_earlier_protocol

    if earlier := of_earlier_protocol(out):
        complain(
            f"Left out: {counted(len(earlier), 'record')} of another version of the protocol than {PROTOCOL_VERSION}, "
            f"such as {earlier[0]}: run those cells again, or remove the files."
        )


def say_json(value: Any) -> None:
    """Print a value to stdout as JSON."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def grid(*columns: str, left: int = 1, title: str | None = None) -> RichTable:
    table = RichTable(box=SIMPLE, title=title, title_justify="left", pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < left else "right", overflow="fold")
    return table


def show_entries(
    noun: str, entries: Sequence[PluginEntry], made: Mapping[str, Mapping[str, Any]], problems: Mapping[str, str]
) -> None:
    """Print the registered names, of methods or datasets; a plugin that cannot work is marked, not left out."""
    of_methods = noun == "method"
    who = ("method", "family", "distribution") if of_methods else (noun, "distribution")
    table = grid(*who, "records", "trained on (in the cache)" if of_methods else "", left=len(who))
    table.columns[0].no_wrap, table.columns[-1].justify = True, "left"
    for entry in entries:
        notes = (
            f"broken: {problems[entry.name]}" if entry.name in problems else ", ".join(made[entry.name]["trained_on"])
        )
        records = str(made[entry.name]["records"] or "")
        family = [made[entry.name]["family"] or formats.NONE] if of_methods else []
        table.add_row(entry.name, *family, f"{entry.distribution} {entry.version}", records, notes)
    out().print(table)


def show_rows(columns: Sequence[str], rows: Iterable[Sequence[str]], left: int, title: str | None = None) -> None:
    """Print a table of texts."""
    table = grid(*columns, left=left, title=title)
    for row in rows:
        table.add_row(*map(visible, row))
    out().print(table)


def show_facts(facts: Iterable[Sequence[str]], title: str | None = None) -> None:
    """Print names with what they are."""
    table = grid("", "", left=2, title=title)
    table.show_header = title is not None
    for row in facts:
        table.add_row(*map(visible, row))
    out().print(table)


CARD = (
    *("summary", "source", "licence", "citation", "modality", "access", "releases", "counts"),
    *("unconfirmed", "spacing_mm", "version"),
)
"""Fields of a card that are shown, of methods and of datasets."""


def show_info(noun: str, loaded: LoadedPlugin[Any]) -> None:
    """Print a plugin's card, its config fields and its presets, and what its module says of itself."""
    cls, entry, info = loaded.cls, loaded.entry, loaded.cls.info
    card = [(noun, entry.name)]
    card += [(name, str(getattr(info, name))) for name in CARD if getattr(info, name, None) not in (None, "")]
    of_method = [name for name in ("family", "knowledge") if hasattr(cls, name)]
    card += [(name, getattr(cls, name) or formats.NONE) for name in of_method]
    show_facts([*card, ("distribution", f"{entry.distribution} {entry.version}"), ("class", entry.target)])
    prefix = "data." if noun == "dataset" else ""
    show_fields(cls.Config, formats.flat(getattr(cls, "overrides", {})), prefix, cls.presets)
    if text := inspect.getdoc(inspect.getmodule(cls)):
        say(f"\n{text}")


def show_fields(
    model: type[BaseModel], overrides: Mapping[str, Any], prefix: str, presets: Mapping[str, Mapping[str, Any]]
) -> None:
    """Print the fields of a config as `--set` takes them, and what presets give."""
    rows = list(config_rows(model, overrides, prefix))
    show_rows(("--set", "type", "default", ""), rows, 4) if rows else say("no settings")
    for preset, values in presets.items():
        given = ", ".join(f"{prefix}{key}={_as_set(value)}" for key, value in formats.flat(values).items())
        say(f"--preset {preset}: {given or 'the defaults above'}")


def config_rows(
    model: type[BaseModel], overrides: Mapping[str, Any], prefix: str = "", inner: str = "", given: Any = None
) -> Iterator[tuple[str, str, str, str]]:
    """Yield (key, type, default, description) of each field, nested ones under dotted keys.

    `overrides` are by dotted key; `given` is the default instance that a nested config has in its parent.
    """
    for name, field in model.model_fields.items():
        key = inner + name
        default = field.get_default(call_default_factory=True, validated_data={})
        default = getattr(given, name) if given is not None else default
        annotation = field.annotation
        if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
            own = default if hasattr(type(default), "model_fields") else None
            yield from config_rows(annotation, overrides, prefix, f"{key}.", own)
            continue
        shown = "required" if field.is_required() else _as_set(overrides.get(key, default))
        yield prefix + key, _type_name(annotation, field.metadata), shown, field.description or ""


def _as_set(value: Any) -> str:
    """A value as `--set` takes it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _type_name(annotation: Any, constraints: Sequence[Any]) -> str:
    """`int, ge 1`: a type as written in Python, without module names, and its limits."""
    if get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
        return _type_name(annotation, [c for note in notes for c in getattr(note, "metadata", [note])])
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(
            "null" if part is NoneType else _type_name(part, constraints) for part in get_args(annotation)
        )
    plain = isinstance(annotation, type) and not hasattr(annotation, "__args__")
    name = annotation.__name__ if plain else str(annotation).replace("typing.", "")
    limits = [
        f"{limit} {getattr(constraint, limit)}"
        for constraint in constraints
        for limit in ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length")
        if getattr(constraint, limit, None) is not None
    ]
    return ", ".join([name, *limits])


def show_forecast(cells: Sequence[CellForecast]) -> None:
    """Print what a run would take: the parts first (shared ones once), then the scoring of each method."""
    todo = [cell for cell in cells if not cell.record_exists]
    parts = {part.key: part for cell in todo for part in cell.parts}
    columns = ("part", "kind", "status", "steps", "parameters", "FLOPs", "memory", "time")
    table = grid(*columns, left=3, title="Parts")
    for part in parts.values():
        sizes = [formats.si(part.parameters), formats.si(part.flops), formats.mebibytes(part.memory_bytes)]
        table.add_row(part.key, part.kind, part.status, str(part.steps), *sizes, formats.duration(part.estimated_s))
    if parts:
        out().print(table)
    scoring = ("method", "dataset", "network passes", "FLOPs / 100", "time", "memory", "record")
    table = grid(*scoring, left=2, title="To score")
    for cell in cells:
        table.add_row(
            cell.method,
            cell.dataset,
            formats.counts(cell.passes),
            formats.si(cell.flops_per_100),
            formats.duration(cell.estimated_score_s),
            formats.mebibytes(cell.estimated_memory_bytes),
            "exists" if cell.record_exists else "new",
        )
    out().print(table)
    times = [part.estimated_s for part in parts.values()] + [cell.estimated_score_s for cell in todo]
    several = cells[0].devices[1:]
    where = f"{' and '.join(cells[0].devices)}, which share the scoring" if several else "this device"
    disk = [part.disk_bytes for part in parts.values()] + [cell.estimated_disk_bytes for cell in todo]
    say(f"estimated time on {where}: {formats.duration(sum(time or 0.0 for time in times))}")
    say(f"estimated disk for parts and score maps: {formats.mebibytes(sum(size or 0 for size in disk))}")
    for cell in cells:
        say(f"{cell.method} on {cell.dataset}: {cell.record}")


def show_findings(name: str, findings: Findings, shown: int) -> None:
    """Print up to `shown` of the problems, then what was found in the data folder and the problems by what is wrong."""
    problems = sorted(findings.problems, key=lambda problem: (problem.skipped, problem.file))
    if problems:
        rows = [(problem.file, problem.what, _fate(problem.skipped)) for problem in problems[:shown]]
        show_rows(("file", "problem", ""), rows, 3, counted(len(problems), "problem"))
    if len(problems) > shown:
        say(f"and {len(problems) - shown} more: --all shows them")
    facts = [(key, str(value)) for key, value in {"dataset": name, **findings.facts}.items()]
    alike = [(f"{counted(each.files, 'file')} {_fate(each.skipped)}", each.what) for each in findings.alike()]
    show_facts([*facts, *alike])


def _fate(skipped: bool) -> str:
    return "skipped" if skipped else "to mend"


def show_prepared(name: str, trained_on: str | None, splits: Splits) -> None:
    """Print the sizes of the splits of a run, and where their images are kept."""
    table, files = grid("images", "number", "subjects", "size", "bytes", "kept in", title=name), []
    for role, split in splits.items():
        images = split.images
        owner = f"{role} of {trained_on}" if trained_on and role != "test" else role
        sizes = [str(len(split)), str(len(set(split.subjects))), f"{images.shape[2]} x {images.shape[3]}"]
        file = _file_of(images)
        table.add_row(owner, *sizes, f"{formats.si(images.nbytes)}B", "a file" if file else "memory")
        files += [f"{owner}: {file}"] if file else []
    out().print(table)
    for line in files:
        say(line)
    say(f"fingerprint {splits.fingerprint}")


def _file_of(array: Any) -> str:
    """The file that an array (or what it is a view of) is mapped from, or ""."""
    while array is not None and not getattr(array, "filename", None):
        array = getattr(array, "base", None)
    return str(array.filename) if array is not None else ""
