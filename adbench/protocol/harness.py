"""The protocol, top to bottom: fit on healthy images, score, measure, time, record.

A cell that has a record is not run again; one that was cut off goes on with the parts, checkpoints and scored batches
that it left. What is wrong with the user's input raises before anything is written; what goes wrong in a detector
becomes a record with status "failed" and the reason, and the other cells go on.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adbench.config.options import Reporter, RunOptions
from adbench.contracts.detector import Detector
from adbench.devices.clock import clocked
from adbench.devices.environment import environment
from adbench.devices.timing import TimingProtocol
from adbench.devices.timing import measure as measure_time
from adbench.errors import AdbenchError, RecordError, ScoreError, TrainingError
from adbench.protocol.cell import Cell, build_cells
from adbench.protocol.data import check_same_images
from adbench.protocol.folders import check_writable, only_one
from adbench.protocol.measure import measure, prevalence
from adbench.protocol.scoring import Scorer
from adbench.results.record import (
    DatasetRecord,
    DetectorRecord,
    EnvironmentRecord,
    MetricsRecord,
    Record,
    TimingRecord,
    TrainedOnRecord,
    read_record,
    write_text,
)
from adbench.results.record import write_record as write_record_file
from adbench.storage.spec import PartSpec


def run(methods: Sequence[str], datasets: str | Sequence[str], options: RunOptions, reporter: Reporter) -> list[Record]:
    """Run the cells one after another and return their records: dataset by dataset, in the order of `methods`.

    Raises:
        AdbenchError: a name, setting, device, data root or output folder is wrong.
    """
    cells = build_cells(methods, datasets, options, reporter)
    if options.tuning:
        _check_tuned(options.tuning, cells)
    check_writable(options)
    groups = groupby(cells, key=lambda cell: (cell.data.name, cell.method))
    return [record for _, regions in groups for record in evaluate(list(regions), reporter)]


def _check_tuned(tuning: Mapping[str, Any], cells: Sequence[Cell]) -> None:
    """Raise TuningError where a cell trains on other images than those that its settings were tuned on."""
    for cell in cells:
        check_same_images(tuning, cell.data.splits.train, cell.data.splits.validation)


@dataclass
class Shared:
    """What cells share that are scored alike."""

    scores: list[PartSpec] = field(default_factory=list)
    """Scored batches that the store keeps until all their records are written."""
    timing: TimingRecord | None = None
    failure: str | None = None


def evaluate(cells: Sequence[Cell], reporter: Reporter) -> list[Record]:
    """Return the records of cells that differ only in what is measured, those that exist or those of a run.

    All are measured on the same scores and share one timing.
    """
    shared = Shared()
    with cells[0].computing():
        records = [_evaluate(cell, shared, reporter) for cell in cells]
    for spec in shared.scores:  # the records hold what they were for; what failed is mended before it runs again
        cells[0].store(reporter).remove(spec)
    return records


def _evaluate(cell: Cell, shared: Shared, reporter: Reporter) -> Record:
    with only_one(cell, reporter):
        if not cell.options.force and (existing := _existing(cell, reporter)) is not None:
            return existing
        record = _run_or_fail(cell, shared, reporter)
        write_manifest(cell)
        write_record_file(record, cell.options.out)
        return record


def _existing(cell: Cell, reporter: Reporter) -> Record | None:
    """The record of this cell if it succeeded; a damaged or misplaced one is said and made again."""
    if not cell.record_path.is_file():
        return None
    try:
        record = read_record(cell.record_path)
    except RecordError as error:
        reporter.message(f"{cell.method}: the record is damaged and made again ({error})")
        return None
    if cell.options.out / record.path != cell.record_path:
        reporter.message(f"{cell.method}: {cell.record_path} is the record of another run ({record.path}): made again")
        return None
    if record.status != "ok":
        return None
    reporter.message(f"{cell.method}: {cell.record_path} exists; --force runs it again")
    return record


def _run_or_fail(cell: Cell, shared: Shared, reporter: Reporter) -> Record:
    """Run the cell. A fault of the detector gives a failed record; a fault of the user's input raises."""
    if shared.failure:
        return _record(cell, None, reason=shared.failure)
    try:
        return _run(cell, shared, reporter)
    except (ScoreError, TrainingError) as error:
        reason = str(error)
    except AdbenchError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        batch = f"protocol.batch_size={cell.protocol.batch_size}"
        reason = f"out of memory on {cell.device} ({error}): lower {batch}, or the method's own batch size"
    except (Exception, SystemExit) as error:
        reporter.message(traceback.format_exc())
        reason = f"{type(error).__name__}: {error}"
    shared.failure = " ".join(reason.split())
    return _record(cell, None, reason=shared.failure)


def _run(cell: Cell, shared: Shared, reporter: Reporter) -> Record:
    store = cell.store(reporter)
    detector = cell.detector(store, reporter)
    healthy, validation = cell.data.healthy()
    of = f" of {cell.data.train_on.source.name}" if cell.data.train_on else ""
    reporter.message(f"{cell.method} on {cell.data.name}: fitting on {len(healthy)} images{of}")
    start = time.perf_counter()
    detector.fit(healthy, validation)
    fit_s = time.perf_counter() - start
    scorer = Scorer(cell, detector, store, reporter, shared.scores)
    metrics = measure(scorer, cell.data.splits.validation, cell.data.splits.test, cell.protocol)
    shared.timing = shared.timing or _time(cell, detector, fit_s, reporter)
    return _record(cell, detector, metrics=metrics, timing=shared.timing)


def _time(cell: Cell, detector: Detector[Any], fit_s: float, reporter: Reporter) -> TimingRecord:
    """Time scoring on test images, repeated in order where there are fewer than the protocol's slices."""
    p = cell.protocol
    reporter.message(f"{cell.method}: timing {p.timing_slices} slices in one minibatch")
    test = cell.data.splits.test.images
    chosen = np.resize(np.arange(len(test)), p.timing_slices)
    images = torch.from_numpy(np.array(test[chosen])).to(cell.device)
    protocol = TimingProtocol(repeats=p.timing_repeats, budget_s=p.timing_budget_s)
    timing = measure_time(detector.score, images, detector.runtime.clock, protocol)
    batches = images.split(timing.batch_size)  # that fits into memory
    image_scores_s = clocked(lambda: [detector.image_scores(batch) for batch in batches], cell.device)
    return TimingRecord(
        **asdict(timing), fit_s=fit_s, image_scores_s=image_scores_s, core_minutes=_core_minutes(detector)
    )


def _record(
    cell: Cell,
    detector: Detector[Any] | None,
    metrics: MetricsRecord | None = None,
    timing: TimingRecord | None = None,
    reason: str | None = None,
) -> Record:
    """Assemble the record; without a detector it is a failed one."""
    entry, info = cell.plugin.entry, cell.data.dataset.info
    reported = dict(info.reported.get(cell.method, {}))
    return Record(
        status="ok" if reason is None else "failed",
        reason=reason,
        config_hash=cell.config_hash,
        seed=cell.options.seed,
        detector=DetectorRecord(
            name=cell.method,
            distribution=entry.distribution,
            version=entry.version,
            code_version=cell.plugin.cls.info.version,
            preset=cell.options.preset,
            config=cell.config.model_dump(mode="json"),
            parameters=detector.parameters() if detector else 0,
            artifacts=dict(detector.artifacts()) if detector else {},
            part_versions=cell.part_versions,
        ),
        dataset=_dataset_record(cell),
        protocol=cell.protocol.model_dump(mode="json"),
        metrics=metrics,
        timing=timing,
        tuning=dict(cell.options.tuning) if cell.options.tuning else None,
        reported=reported or None,
        reported_source=info.reported_source if reported else None,
        environment=EnvironmentRecord(**environment(cell.device)),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _core_minutes(detector: Detector[Any]) -> float | None:
    """Processor minutes of all parts that the detector uses; None where those of one are not known."""
    seconds = [detector.runtime.store.core_s(key) for key in detector.artifacts().values()]
    return None if None in seconds else sum(s for s in seconds if s is not None) / 60


def _dataset_record(cell: Cell) -> DatasetRecord:
    data, splits = cell.data, cell.data.splits
    return DatasetRecord(
        name=data.name,
        distribution=data.plugin.entry.distribution,
        version=data.dataset.info.version,
        config=data.dataset.config.model_dump(mode="json"),
        fingerprint=splits.fingerprint,
        split_sizes={name: len(split) for name, split in splits.items()},
        subjects={name: len(set(split.subjects)) for name, split in splits.items()},
        image_size=(splits.test.images.shape[2], splits.test.images.shape[3]),
        region=cell.protocol.region,
        prevalence=prevalence(splits.test, cell.protocol),
        manifest=manifest_path(cell).as_posix(),
        train_on=_trained_on_record(cell),
    )


def _trained_on_record(cell: Cell) -> TrainedOnRecord | None:
    if cell.data.train_on is None:
        return None
    source = cell.data.train_on.source
    return TrainedOnRecord(
        name=source.name,
        distribution=source.plugin.entry.distribution,
        version=source.dataset.info.version,
        config=source.config,
        fingerprint=cell.data.train_on.fingerprint,
    )


def manifest_path(cell: Cell) -> Path:
    """Where the list of all images with their hashes belongs, below the output folder."""
    return Path("records") / cell.data.name / f"manifest-{cell.data.splits.fingerprint}.json"


def write_manifest(cell: Cell) -> None:
    """Write the manifest beside the records, where it is not there yet or damaged."""
    path = cell.options.out / manifest_path(cell)
    text = json.dumps(cell.data.splits.manifest(), indent=0, sort_keys=True) + "\n"
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)
