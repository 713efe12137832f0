"""The protocol, top to bottom: fit on healthy images, score, measure, record, time.

A cell that has a record is not run again, only timed where this device has no time of it yet; one that was cut off goes
on with the parts, checkpoints and scored batches that it left. What is wrong with the user's input raises before
anything is written; what goes wrong in a detector becomes a record with status "failed" and the reason, and the other
cells go on. A record is written before its cell is timed: a fault while timing is said and costs the time alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from adbench.config.options import Reporter, RunOptions, Silent
from adbench.devices.device import computing, pick_devices
from adbench.devices.environment import environment
from adbench.devices.precision import decide
from adbench.errors import RecordError, TrainingError, counted
from adbench.protocol.cell import Cell, build_cells
from adbench.protocol.data import check_same_images
from adbench.protocol.faults import DetectorError, faults
from adbench.protocol.fitting import Fitted, fit, missing_part
from adbench.protocol.folders import check_writable, only_one
from adbench.protocol.grid import GridReporter, estimated_s
from adbench.protocol.measure import Measured, measure
from adbench.protocol.recording import (
    failed_record,
    measured_record,
    method_card,
    timing_file,
    timing_file_path,
    write_manifest,
)
from adbench.protocol.scoring import Scorer
from adbench.protocol.timing import time_scoring
from adbench.protocol.workers import over_devices
from adbench.results import formats
from adbench.results.card import card_path, write_card
from adbench.results.counts import counts_path, write_counts
from adbench.results.method_card import method_card_path, write_method_card
from adbench.results.pictures import picture_path, write_picture
from adbench.results.record import EnvironmentRecord, Record, read_record, write_record
from adbench.results.subjects import subjects_path, write_subjects
from adbench.results.timing import TimingFile, read_timing, timing_path, write_timing


def run(methods: Sequence[str], datasets: str | Sequence[str], options: RunOptions, reporter: Reporter) -> list[Record]:
    """Run the cells one after another and return their records: dataset by dataset, in the order of `methods`.

    Raises:
        AdbenchError: a name, setting, device, data root or output folder is wrong.
    """
    cells = build_cells(methods, datasets, options, reporter)
    if options.tuning:
        for cell in cells:
            check_same_images(options.tuning, cell.data.splits.train, cell.data.splits.validation)
    check_writable(options)
    for cell in cells:
        for part in cell.plan.parts:
            cell.store().hold(part.spec)  # nobody prunes it until this process ends
    groups = [list(regions) for _, regions in groupby(cells, key=lambda cell: (cell.data.name, cell.method))]
    new = [any(options.force or not cell.record_path.is_file() for cell in regions) for regions in groups]
    seconds = estimated_s([regions[0] for regions, is_new in zip(groups, new, strict=True) if is_new])
    if seconds:
        reporter.message(f"{counted(len(seconds), 'cell')}: about {formats.duration(sum(seconds))}")
    grid, records = GridReporter(reporter, sum(new), seconds), []
    for regions, is_new in zip(groups, new, strict=True):
        grid.method, grid.dataset = regions[0].method, regions[0].data.name
        records += evaluate(regions, grid if is_new else reporter)
        if is_new:
            grid.end_cell()
    return records


def times_here(records: Sequence[Record], options: RunOptions) -> list[TimingFile]:
    """The times of records on the device of a run, of those that have one that can be read and is theirs."""
    device = pick_devices(options.device)[0]
    with computing(device, decide(device, options.precision, options.cache, Silent().message)):
        here = EnvironmentRecord(**environment(device))
    paths = (options.out / timing_path(record.path, here) for record in records)
    return [timing for path in paths if (timing := _time_at(path, options.out)) is not None]


def _time_at(path: Path, out: Path) -> TimingFile | None:
    with suppress(RecordError):
        timing = read_timing(path)
        return timing if out / timing.path == path else None
    return None


@dataclass
class Shared:
    """What cells share that are scored alike."""

    fitted: Fitted | None = None
    failure: str | None = None
    scored_by: list[str] = field(default_factory=list)
    """Devices that scored side by side."""
    untimed: list[Cell] = field(default_factory=list)
    """Cells with a record that are to be timed."""


def evaluate(cells: Sequence[Cell], reporter: Reporter) -> list[Record]:
    """Return the records of cells that differ only in what is measured, those that exist or those of a run.

    All are measured on the same scores and share one timing.
    """
    shared = Shared()
    with cells[0].computing(), ExitStack() as locks:
        for cell in sorted(cells, key=lambda cell: cell.config_hash):  # in one order everywhere: none waits for another
            locks.enter_context(only_one(cell, reporter))
        records = [_evaluate(cell, shared, reporter) for cell in cells]
        if shared.untimed:
            _time_or_say(shared, reporter)
    return records


def _evaluate(cell: Cell, shared: Shared, reporter: Reporter) -> Record:
    write_method_card(method_card(cell.plugin.cls), cell.options.out / method_card_path(cell.method))
    if (record := _record_there(cell, shared, reporter)) is not None:
        return record
    record, measured = _run_or_fail(cell, shared, reporter)
    with only_one(cell, reporter, writes=True):
        if (first := _record_there(cell, shared, reporter)) is not None:
            return first  # this run was held up, and another took it for gone
        return _published(record, measured, cell, shared)


def _record_there(cell: Cell, shared: Shared, reporter: Reporter) -> Record | None:
    """The record that a cell has, and that is to be timed where it has no time on this device."""
    if cell.options.force or (record := _existing(cell, reporter)) is None:
        return None
    if not _is_timed(cell, reporter):
        shared.untimed.append(cell)
    return record


def _published(record: Record, measured: Measured | None, cell: Cell, shared: Shared) -> Record:
    """A record that was written after all that stands beside it."""
    if measured:
        _write_beside(measured, cell.record_path)
    write_manifest(cell)
    write_card(cell.data.dataset.info, cell.options.out / card_path(cell.data.name))
    write_record(record, cell.options.out)
    if record.status == "ok":
        shared.untimed.append(cell)
    return record


def _existing(cell: Cell, reporter: Reporter) -> Record | None:
    """The record of this cell if it succeeded; a damaged or misplaced one is said and made again."""
    if not cell.record_path.is_file():
        return None
    try:
        record = read_record(cell.record_path)
    except RecordError as error:
        reporter.message(f"{cell.method}: the record cannot be read and is made again ({error})")
        return None
    if cell.options.out / record.path != cell.record_path:
        reporter.message(f"{cell.method}: {cell.record_path} is the record of another run ({record.path}): made again")
        return None
    if record.status != "ok":
        return None
    reporter.message(f"{cell.method}: {cell.record_path} exists; --force runs it again")
    return record


def _is_timed(cell: Cell, reporter: Reporter) -> bool:
    """Whether the cell has a time on this device; a damaged one is said and made again."""
    path = timing_file_path(cell)
    if not path.is_file():
        return False
    try:
        return cell.options.out / read_timing(path).path == path
    except RecordError as error:
        reporter.message(f"{cell.method}: the time cannot be read and is made again ({error})")
        return False


def _run_or_fail(cell: Cell, shared: Shared, reporter: Reporter) -> tuple[Record, Measured | None]:
    """Fit and measure; where the detector fails, a failed record and nothing measured."""
    if shared.failure is None:
        try:
            with faults(cell, reporter):
                shared.fitted = shared.fitted or fit(cell, reporter)
                scorer = Scorer(cell, shared.fitted.detector, cell.store(reporter), reporter)
                with over_devices(scorer) as names:
                    shared.scored_by += names
                    measured = measure(scorer, cell.data.reference, cell.data.splits.test, cell.protocol)
                return measured_record(cell, shared.fitted.detector, measured, shared.scored_by), measured
        except DetectorError as error:
            shared.failure = str(error)
    return failed_record(cell, shared.failure), None


def _write_beside(measured: Measured, record: Path) -> None:
    """What stands beside a record: counts, subjects and, where there are lesions, a picture."""
    write_counts(measured.evidence.histogram, counts_path(record))
    write_subjects(measured.subjects, subjects_path(record))
    if measured.picture:
        write_picture(measured.picture, picture_path(record))


def _time_or_say(shared: Shared, reporter: Reporter) -> None:
    """Time the cells that have no time on this device, and write it; say it where that cannot be.

    A record from elsewhere is timed where its trained parts are at hand: hours of training for a time alone are not
    what was asked for.
    """
    cell = shared.untimed[0]
    try:
        with faults(cell, reporter):
            if not shared.fitted and (missing := missing_part(cell)):
                raise TrainingError(f"{missing} is not in the cache, and --force would train it")
            timing = time_scoring(cell, shared.fitted or fit(cell, reporter), reporter)
    except DetectorError as error:
        reporter.message(f"{cell.method}: the record has no time on this device ({error})")
        return
    for each in shared.untimed:
        write_timing(timing_file(each, timing), each.options.out)
