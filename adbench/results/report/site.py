"""The report: a folder of HTML files that open from disk, without a server and without a network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import vl_convert
from altair.utils.schemapi import debug_mode
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from adbench.errors import RecordError, counted
from adbench.metrics.catalogue import METRICS
from adbench.results.collection import uncollected
from adbench.results.columns import rows_of
from adbench.results.method_card import marks_said
from adbench.results.record import Record, write_bytes, write_text
from adbench.results.report import charts, gallery, provenance, speed
from adbench.results.report.board import BoardRow, board
from adbench.results.report.page import TablePage, table_page
from adbench.results.report.sources import Sources
from adbench.results.report.tables import ReportTable, tables
from adbench.results.scan_metrics import numbers
from adbench.results.standing import PRIMARY

MARKER = "adbench report"
"""By which a folder that holds an earlier report is known."""
HERE = Path(__file__).parent
Notices = Callable[[Record], str | None]
"""Record -> the notice under which pictures of its dataset may be shown; None where they may not be."""


@uncollected()
@debug_mode(False)  # charts are held against Vega-Lite's schema by tests: it takes long
def write_report(out: Path, folder: Path, notices: Notices) -> list[Path]:
    """Write the report of the records below `out` and return its pages, the first one first.

    Raises:
        RecordError: a file cannot be read, there is no record, or `folder` holds something else or cannot be written.
    """
    sources = Sources.read(out)
    _make_room(folder)
    _assets(folder)
    written = []
    for path, text in _pages(sources, notices):
        write_text(folder / path, text)
        written.append(folder / path)
    return written[::-1]


def _make_room(folder: Path) -> None:
    """Remove an earlier report. Raises RecordError where the folder holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    first = folder / "index.html"
    if not first.is_file() or f'content="{MARKER}"' not in first.read_text(errors="replace")[:1000]:
        raise RecordError(
            f"A report needs a folder of its own, but {folder} holds something else: name another with -o."
        )
    for path in [*folder.glob("*.html"), *folder.glob("assets"), *folder.glob("methods")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _assets(folder: Path) -> None:
    for path in sorted((HERE / "assets").iterdir()):
        write_bytes(folder / "assets" / path.name, path.read_bytes())
    write_text(folder / "assets" / "vega.js", _drawing_library())


@cache
def _drawing_library() -> str:
    """Vega, Vega-Lite and what embeds them, as one script; it takes some seconds."""
    return vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub asks for a snippet


def _environment() -> Environment:
    """Names from records are escaped wherever they stand."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.globals.update(marker=MARKER, colours=charts.COLOURS, dashes=charts.DASHES, primary=METRICS[PRIMARY])
    return environment


def _pages(sources: Sources, notices: Notices) -> Iterator[tuple[Path, str]]:
    """Path and text of every page, the index last."""
    environment = _environment()
    of_all = tables(sources.frame)
    device = next(iter(speed.conditions(sources.times)), "")
    cards = []
    for table in of_all:
        notice = notices(sources.records[table.rows["records"].iloc[0][0]])
        page = table_page(table, sources, device, notice)
        others = [other for other in of_all if other.dataset == table.dataset and other is not table]
        if not table.variant:
            cards.append(_card(page, others))
        headings, rows = board([table], sources.times, device)
        text = environment.get_template("table.html.j2").render(
            root="", page=page, headings=headings, rows=rows, others=others, **_of_methods(rows, table.rows)
        )
        yield Path(f"{table.slug}.html"), text
        yield from _method_pages(environment, table, sources)
    yield Path("glossary.html"), environment.get_template("glossary.html.j2").render(root="", glossary=_glossary())
    yield (
        Path("index.html"),
        environment.get_template("index.html.j2").render(root="", **_index(sources, of_all, device), cards=cards),
    )


def _glossary() -> Mapping[str, str]:
    """What each number means; one at several operating points once."""
    return {provenance.name_of(key): number.glossary for key, number in numbers().items()}


def _card(page: TablePage, others: list[ReportTable]) -> dict[str, Any]:
    """What the index says of a dataset: of its first table, with links to the others."""
    return {
        "others": others,
        "title": page.table.title,
        "page": f"{page.table.slug}.html",
        "best": page.best,
        "lead": page.lead,
        "fast": page.fast,
        "stands_on": page.stands_on,
        "peek": gallery.peek(page.pictures[0]) if page.pictures else None,
    }


def _index(sources: Sources, of_all: list[ReportTable], device: str) -> Mapping[str, Any]:
    headings, rows = board(of_all, sources.times, device)
    failed = [
        {"method": r.detector.name, "dataset": r.dataset.name, "seed": r.seed, "status": r.status, "reason": r.reason}
        for r in sources.records.values()
        if r.status != "ok"
    ]
    cut = [table for table in of_all if table.total > len(table.rows)]
    said = ", ".join(f"{len(table.rows)} of {table.total} of {table.title}" for table in cut)
    return {
        "intro": _intro(sources.records.values()),
        "headings": headings,
        "rows": rows,
        "datasets": _names(row.dataset for row in rows),
        "variants": _names(row.variant for row in rows if row.variant),
        "methods": _names(row.method for row in rows),
        **_of_methods(rows, sources.frame),
        "left_out": f" Only the best rows are shown: {said}." if cut else "",
        "failed": failed,
    }


def _of_methods(rows: Iterable[BoardRow], results: pd.DataFrame) -> Mapping[str, Any]:
    """What can be chosen of the methods' families, and what marks after their names mean."""
    return {"families": _names(row.family for row in rows), "marks": " ".join(marks_said(results["knowledge"]))}


def _intro(records: Iterable[Record]) -> str:
    records = list(records)
    methods, sets = ({get(r) for r in records} for get in (lambda r: r.detector.name, lambda r: r.dataset.name))
    return (
        f"{counted(len(records), 'record')} of {counted(len(methods), 'method')} on {counted(len(sets), 'dataset')}. "
        "Each was trained on healthy images alone and measured by one protocol. Methods compare only within one "
        "dataset and its rules."
    )


def _names(values: Iterable[str]) -> list[str]:
    return sorted(set(values))


def _method_pages(environment: Environment, table: ReportTable, sources: Sources) -> Iterator[tuple[Path, str]]:
    template = environment.get_template("method.html.j2")
    for row in rows_of(table.rows):
        sections = provenance.sections(
            [sources.records[path] for path in row["records"]], sources.timings_of(row["records"]), sources.out
        )
        text = template.render(root="../../", row=row, table=table, numbers=provenance.values(row), sections=sections)
        yield Path("methods") / table.slug / f"{row['config_hash']}.html", text
