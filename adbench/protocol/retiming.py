"""Times of existing records, measured anew: nothing is trained or scored for them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby

from adbench.config.options import Reporter, RunOptions
from adbench.errors import ArtifactError, RecordError
from adbench.protocol.cell import Cell
from adbench.protocol.faults import DetectorError, faults
from adbench.protocol.fitting import fit, missing_part
from adbench.protocol.folders import only_one
from adbench.protocol.rebuilding import Rebuilder
from adbench.protocol.recording import timing_file
from adbench.protocol.timing import time_scoring
from adbench.results.record import Record, read_records
from adbench.results.timing import TimingFile, write_timing


def time_records(
    methods: Sequence[str], datasets: Sequence[str], options: RunOptions, reporter: Reporter, slices: int | None = None
) -> tuple[list[TimingFile], list[str]]:
    """Time the records of methods on datasets on the device of `options`, and write their files of times.

    Args:
        methods: names; empty for those of all records. The same for datasets.
        slices: in the minibatch; None: as each record's preset says.

    Returns:
        The times, and of those that could not be measured the reason in one line.

    Raises:
        AdbenchError: a record, a trained part, the data or the device is not here; nothing has been timed then.
    """
    rebuilder = Rebuilder(options, reporter)
    cells = [rebuilder.cell(record) for record in _chosen(methods, datasets, options)]
    if slices is not None:
        cells = [replace(cell, protocol=cell.protocol.model_copy(update={"timing_slices": slices})) for cell in cells]
    for cell in cells:
        with cell.computing():
            missing = missing_part(cell)
        if missing:
            raise ArtifactError(
                f"{cell.method} on {cell.data.name} needs its trained parts, but {missing} is not in "
                f"{cell.options.cache}: name the cache that has it with --cache, or train with 'adbench run --force'."
            )
    times, failures = [], []
    for _, alike in groupby(sorted(cells, key=_scored_alike), key=_scored_alike):
        same = list(alike)
        try:
            times += _time(same, reporter)
        except DetectorError as error:
            failures.append(f"{same[0].method} on {same[0].data.name}: {error}")
    return times, failures


def _chosen(methods: Sequence[str], datasets: Sequence[str], options: RunOptions) -> list[Record]:
    """The successful records of these names. Raises RecordError for a name that has none."""
    records = [record for record in read_records(options.out) if record.status == "ok"]
    where = options.out / "records"
    known = {name for record in records for name in (record.detector.name, record.dataset.name)}
    for name in (*methods, *datasets):
        if name not in known:
            raise RecordError(
                f"Times are measured for records that exist, but {where} has none of {name}: name another folder with "
                "--out, or run it with 'adbench run'."
            )
    chosen = [
        record
        for record in records
        if (not methods or record.detector.name in methods) and (not datasets or record.dataset.name in datasets)
    ]
    if not chosen:
        raise RecordError(f"No record below {where} is of these: make them with 'adbench run'.")
    return chosen


def _scored_alike(cell: Cell) -> tuple[str, str, int]:
    """The same for cells that differ only in what is measured: they share one time."""
    with cell.computing():
        return cell.data.name, cell.scores_hash, cell.options.seed


def _time(cells: Sequence[Cell], reporter: Reporter) -> list[TimingFile]:
    """Time cells that are scored alike, and write it beside the record of each. Raises DetectorError."""
    first = cells[0]
    with first.computing(), ExitStack() as locks:
        for cell in sorted(cells, key=lambda cell: cell.config_hash):
            locks.enter_context(only_one(cell, reporter))
        with faults(first, reporter):
            timing = time_scoring(first, fit(first, reporter), reporter)
        times = [timing_file(cell, timing) for cell in cells]
        for cell, time in zip(cells, times, strict=True):
            write_timing(time, cell.options.out)
    return times
