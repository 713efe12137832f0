"""The pages as files: written, or checked against what the records give."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adbench.errors import RecordError
from adbench.metrics.catalogue import METRICS
from adbench.results.card import read_cards
from adbench.results.collection import uncollected
from adbench.results.columns import rows_of
from adbench.results.figures import FOLDER, figure_of, key_of
from adbench.results.frame import frame, strata
from adbench.results.method_card import read_method_cards
from adbench.results.pages.published import read_published
from adbench.results.pages.render import MARKER, Extras, render
from adbench.results.pictures import Picture, picture_path, read_picture
from adbench.results.record import read_records, write_bytes, write_text
from adbench.results.speed import speed_of
from adbench.results.standing import PRIMARY, best_first
from adbench.results.subjects import read_subjects, subjects_path, values_below
from adbench.results.timing import read_timings
from adbench.results.variants import variants


class Drawing(Protocol):
    """A picture made from records, as a file that says what it is made from."""

    @property
    def key(self) -> str: ...

    def png(self) -> bytes: ...


def write_pages(out: Path, rank_by: str = PRIMARY) -> list[Path]:
    """Write the pages of the records below `out` and their figures, remove those that have none, and return all.

    Raises:
        RecordError: a record cannot be read, or `out` cannot be written.
    """
    pages, drawn = _expected(out, rank_by)
    for path, text in pages.items():
        if _text(path) != text:
            write_text(path, text)
    for path, figure in drawn.items():
        if key_of(path) != figure.key:
            write_bytes(path, figure.png())
    for path in _generated(out) - pages.keys() - drawn.keys():
        path.unlink(missing_ok=True)
    return sorted([*pages, *drawn])


def check_pages(out: Path, rank_by: str = PRIMARY) -> list[Path]:
    """Return the pages and figures below `out` that are stale, missing, or generated from records that are gone.

    Raises:
        RecordError: a record or a note cannot be read.
    """
    pages, drawn = _expected(out, rank_by)
    stale = {path for path, text in pages.items() if _text(path) != text}
    stale |= {path for path, figure in drawn.items() if key_of(path) != figure.key}
    return sorted(stale | (_generated(out) - pages.keys() - drawn.keys()))


@uncollected()
def _expected(out: Path, rank_by: str) -> tuple[dict[Path, str], dict[Path, Drawing]]:
    """The pages and the figures that the records below `out` give."""
    known = [key for key, metric in METRICS.items() if metric.by_subject]
    if rank_by not in known:
        raise RecordError(
            f"Methods are ranked by a metric over subjects, got {rank_by!r}: choose one of {', '.join(known)}."
        )
    records, timings = list(read_records(out)), read_timings(out)
    methods = read_method_cards(out)
    results = frame(records, timings, methods)
    drawn = _drawings(results, out)
    values = values_below(out, results["record"].unique(), rank_by)
    notes = {path.stem: _noted(path) for path in sorted((out / "notes").glob("*.md"))}
    extras = Extras(notes, drawn, values, _sizes(results, out), read_cards(out), methods, _published(out))
    pages = render(results, strata(records), extras, rank_by)
    return (
        {out / path: text for path, text in pages.items()},
        {out / FOLDER / name: drawing for name, drawing in drawn.items()},
    )


def _sizes(results: pd.DataFrame, out: Path) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Fingerprint and region of each set -> lesion pixels that count, a number a subject."""
    measured = results[results["status"] == "ok"].drop_duplicates(["fingerprint", "region"])
    paths = {(row["fingerprint"], row["region"]): subjects_path(out / row["record"]) for row in rows_of(measured)}
    subjects = {of: read_subjects(path) for of, path in paths.items() if path.is_file()}
    return {of: rows["lesion_pixels"].to_numpy(np.int64) for of, rows in subjects.items() if "lesion_pixels" in rows}


def _published(out: Path) -> dict[str, pd.DataFrame]:
    paths = sorted((out / "notes").glob("*.csv"))
    return {path.stem: read_published(_noted(path), str(path)) for path in paths}


def _noted(path: Path) -> str:
    text = _text(path)
    if text is None:
        raise RecordError(f"Notes must be readable UTF-8 text, but {path} is not. Save it as UTF-8.")
    return text


def _drawings(results: pd.DataFrame, out: Path) -> dict[str, Drawing]:
    """Name of the file -> the figure of slices, and of quality by time, of the first table of each dataset."""

    def picture_of(record: str) -> Picture | None:
        path = picture_path(out / record)
        return read_picture(path).shared if path.is_file() else None

    drawn: dict[str, Drawing] = {}
    for name, rows in results.groupby("dataset"):
        for variant in variants(rows)[:1]:
            best = best_first(variant.runs)
            if figure := figure_of(list(best["method"]), list(best["record"]), picture_of):
                drawn[f"{name}.png"] = figure
            if speed := speed_of(variant.rows):
                drawn[f"{name}-speed.png"] = speed
    return drawn


def _text(path: Path) -> str | None:
    """A file's text, or None where there is none that could be read."""
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return None


def _generated(out: Path) -> set[Path]:
    """Pages and figures that adbench wrote: others in the folders are somebody's own."""
    pages = {path for path in out.glob("*.md") if (_text(path) or "").startswith(f"<!-- {MARKER}")}
    return pages | {path for path in (out / FOLDER).glob("*.png") if key_of(path)}
