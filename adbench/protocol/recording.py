"""What is written of a cell: its record, its time on this device, and the manifest of its images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adbench.contracts.detector import Detector
from adbench.devices.environment import environment
from adbench.devices.times import Timing
from adbench.metrics.catalogue import METRICS
from adbench.protocol.cell import Cell
from adbench.protocol.data import ConfiguredDataset
from adbench.protocol.measure import Measured, prevalence
from adbench.results.method_card import MethodCard
from adbench.results.record import (
    DatasetRecord,
    DetectorRecord,
    EnvironmentRecord,
    Record,
    TrainedOnRecord,
    write_changed,
)
from adbench.results.timing import TimingFile, timing_path


def measured_record(cell: Cell, detector: Detector[Any], measured: Measured, scored_by: Sequence[str] = ()) -> Record:
    """The record of a cell that was measured; `scored_by` are devices that scored side by side."""
    return Record(
        status="ok",
        **_what_was_run(cell, detector),
        metrics=measured.metrics,
        measurement=measured.measurement,
        core_minutes=_core_minutes(detector),
        scored_by=list(scored_by),
    )


def failed_record(cell: Cell, reason: str) -> Record:
    """The record of a cell that failed, with the reason in one line."""
    return Record(status="failed", reason=reason, **_what_was_run(cell, None))


def method_card(cls: type[Detector[Any]]) -> MethodCard:
    """What a method says of itself."""
    return MethodCard(summary=cls.info.summary, source=cls.info.source, family=cls.family, knowledge=cls.knowledge)


def timing_file(cell: Cell, timing: Timing) -> TimingFile:
    """The time of a cell on this device."""
    record = cell.record_path.relative_to(cell.options.out).as_posix()
    return TimingFile(record=record, environment=environment_record(cell), timing=timing, created=_now())


def timing_file_path(cell: Cell) -> Path:
    """Where the time of a cell on this device belongs."""
    return timing_path(cell.record_path, environment_record(cell))


def environment_record(cell: Cell) -> EnvironmentRecord:
    return EnvironmentRecord(**environment(cell.device))


def _what_was_run(cell: Cell, detector: Detector[Any] | None) -> dict[str, Any]:
    """The fields of a record that do not depend on what came out."""
    entry, info = cell.plugin.entry, cell.data.dataset.info
    reported = [each for each in info.reported if each.registered == cell.method and each.metric in METRICS]
    return {
        "config_hash": cell.config_hash,
        "seed": cell.options.seed,
        "detector": DetectorRecord(
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
        "dataset": _dataset_record(cell),
        "protocol": cell.protocol.of_quality(),
        "tuning": dict(cell.options.tuning) if cell.options.tuning else None,
        "reported": {each.metric: each.value for each in reported} or None,
        "reported_source": "; ".join(dict.fromkeys(f"{each.source}, {each.place}" for each in reported)) or None,
        "environment": environment_record(cell),
        "created": _now(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _core_minutes(detector: Detector[Any]) -> float | None:
    """Processor minutes of all parts that the detector uses; None where those of one are not known."""
    seconds = [detector.runtime.store.core_s(key) for key in detector.artifacts().values()]
    return None if None in seconds else sum(s for s in seconds if s is not None) / 60


def _dataset_record(cell: Cell) -> DatasetRecord:
    data, splits = cell.data, cell.data.splits
    return DatasetRecord(
        name=data.name,
        registered=_registered(data),
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


def _registered(source: ConfiguredDataset) -> str | None:
    return source.registered if source.registered != source.name else None


def _trained_on_record(cell: Cell) -> TrainedOnRecord | None:
    if cell.data.train_on is None:
        return None
    source = cell.data.train_on.source
    return TrainedOnRecord(
        name=source.name,
        registered=_registered(source),
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
    write_changed(path, json.dumps(cell.data.splits.manifest(), indent=0, sort_keys=True) + "\n")
