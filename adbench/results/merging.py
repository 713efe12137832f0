"""Records of several machines in one folder.

Where the records of a cell agree in all that was measured, it has one record and the times of every machine; where they
do not, that is a conflict. All is compared before anything is written, and nothing that is there is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adbench.errors import RecordError
from adbench.results.card import card_path
from adbench.results.counts import counts_path, same_counts
from adbench.results.method_card import method_card_path
from adbench.results.pictures import picture_path
from adbench.results.record import Record, read_record, read_records, write_bytes
from adbench.results.subjects import subjects_path
from adbench.results.timing import read_timings

OF_A_RUN = {"created", "environment", "core_minutes", "scored_by"}
"""Fields of a record in which two runs of a cell may differ."""
_SHOWN = 3
"""Differences that a conflict names."""

Files = dict[Path, Path]
"""Path below a folder of results -> the folder that the file is taken from."""


@dataclass
class Merged:
    """What a merge found: each file once, from the first folder that has it."""

    beside: Files = field(default_factory=dict)
    """Manifests, cards of datasets and methods, counts, subjects and pictures."""
    records: Files = field(default_factory=dict)
    times: Files = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    """A sentence for each file that was not taken, because the first one stays."""
    conflicts: list[str] = field(default_factory=list)

    def keep(self, files: Files, path: Path, other: Path, why: str) -> None:
        self.kept.append(f"{files[path] / path} is kept, not {other / path}: {why}")

    def conflict(self, files: Files, path: Path, other: Path, what: str) -> None:
        self.conflicts.append(f"{files[path] / path} and {other / path} differ in {what}")


def merge(folders: Sequence[Path], out: Path) -> Merged:
    """Bring the records below `folders`, and what belongs to them, to `out`, and return what was found.

    Of records of a cell that agree, and of times on devices of one name, the first stays: that of `out`, then those of
    the folders in their order. The same merge can be repeated, after an error too.

    Raises:
        RecordError: a folder has no records, a file cannot be read, or two are in conflict, and nothing is written; or
            `out` cannot be.
    """
    for folder in folders:
        if not (folder / "records").is_dir():
            raise RecordError(f"A folder to merge must hold records, but {folder / 'records'} is no folder.")
    merged = Merged()
    for folder in [out, *(each for each in folders if each.resolve() != out.resolve())]:
        _take(folder, merged)
    if merged.conflicts:
        raise RecordError(
            "Files of one cell must agree, so nothing is merged. Remove the wrong one of each two, or run its cell "
            "again:\n" + "\n".join(merged.conflicts)
        )
    for files in (merged.beside, merged.records, merged.times):  # a record never stands without its counts
        for path, folder in files.items():
            if folder != out:
                write_bytes(out / path, (folder / path).read_bytes())
    return merged


def _take(folder: Path, merged: Merged) -> None:
    """Add what a folder has, and compare what is there already."""
    manifests, cards = set(), set()
    for record in read_records(folder):
        _take_record(record, folder, merged)
        cards |= {card := card_path(record.dataset.name), method_card_path(record.detector.name)}
        manifests.add(card.with_name(Path(record.dataset.manifest).name))
    for path in sorted(manifests):
        if _is_another(path, folder, merged.beside):
            merged.conflict(merged.beside, path, folder, "their images")
    for path in sorted(cards):
        if _is_another(path, folder, merged.beside):
            merged.keep(merged.beside, path, folder, "the plugins say different things")
    for path in (timing.path for timing in read_timings(folder) if Path(timing.record) in merged.records):
        if _is_another(path, folder, merged.times):
            merged.keep(merged.times, path, folder, "times on devices of one name")


def _take_record(record: Record, folder: Path, merged: Merged) -> None:
    path = record.path
    another = _is_another(path, folder, merged.records)
    if another and (different := _differences(read_record(merged.records[path] / path), record)):
        merged.conflict(merged.records, path, folder, different)
        return
    if another:
        merged.keep(merged.records, path, folder, "the same result")
    for beside, same in ((counts_path(path), same_counts), (subjects_path(path), _same_bytes)):
        if _is_another(beside, folder, merged.beside, same):
            merged.conflict(merged.beside, beside, folder, "their numbers, though the records agree")
    if merged.records[path] == folder:
        _is_another(picture_path(path), folder, merged.beside)


def _same_bytes(a: Path, b: Path) -> bool:
    return a.read_bytes() == b.read_bytes()


def _is_another(path: Path, folder: Path, files: Files, same: Callable[[Path, Path], bool] = _same_bytes) -> bool:
    """Take a file from the first folder that has it; whether this is a later one, where it is not the same."""
    if not (folder / path).is_file():
        return False
    first = files.setdefault(path, folder)
    return first != folder and not same(first / path, folder / path)


def _differences(a: Record, b: Record) -> str:
    """The fields in which what was measured differs: `metrics.auprc.value (0.5, 0.6)`; empty where it does not."""
    first, second = (record.model_dump(mode="json", exclude=OF_A_RUN) for record in (a, b))
    fields = list(_fields(first, second))
    more = [f"{len(fields) - _SHOWN} more"] if len(fields) > _SHOWN else []
    return ", ".join([*fields[:_SHOWN], *more])


def _fields(a: Any, b: Any, where: str = "") -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys([*a, *b]):
            yield from _fields(a.get(key), b.get(key), f"{where}.{key}" if where else key)
    elif a != b:
        yield where if isinstance(a, list) else f"{where} ({a}, {b})"
