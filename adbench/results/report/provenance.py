"""Where a row of the leaderboard comes from: settings, parts, data, machine, commit and hashes of its records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adbench.config.nested import flat
from adbench.metrics.catalogue import METRICS
from adbench.metrics.points import POINTS
from adbench.results import formats
from adbench.results.record import Record
from adbench.results.scan_metrics import SCAN_METRICS, numbers
from adbench.results.timing import TimingFile, device_label

Facts = dict[str, str]


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    facts: Facts
    open: bool = False


def sections(records: Iterable[Record], timings: Iterable[TimingFile], out: Path) -> list[Section]:
    """Of the records of a row, one a seed: what they share, then each on its own. All values are plain text."""
    records = list(records)
    first = records[0]
    shared = [
        Section("Settings of the method", _facts(flat(first.detector.config))),
        Section("Trained parts", _trained(first)),
        Section("Data", _data(first)),
        Section("Rules", _facts(flat(first.protocol))),
    ]
    each = [Section(f"Record of seed {record.seed}", _record(record, out), open=True) for record in records]
    times = [Section(f"Time on {each.device}", {"time": str(each), "measured": each.created}) for each in timings]
    return [section for section in (*each, *times, *shared) if section.facts]


def _facts(values: Mapping[str, Any]) -> Facts:
    return {str(key): _text(value) for key, value in values.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return formats.short(value)


def _record(record: Record, out: Path) -> Facts:
    of = record.environment
    dirty = {True: ", with changes that were not committed", False: "", None: ""}[of.git_dirty]
    return _facts(
        {
            "file": record.path.as_posix(),
            "SHA-256 of the file": hashlib.sha256((out / record.path).read_bytes()).hexdigest(),
            "hash of the settings": record.config_hash,
            "made": record.created,
            "commit": f"{of.git_commit}{dirty}" if of.git_commit else "unknown",
            "device": device_label(of),
            "scored side by side by": record.scored_by or None,
            "Python": f"{of.python} on {of.platform}",
            "packages": formats.settings(of.packages),
            "processor minutes of training": record.core_minutes,
        }
    )


def _trained(record: Record) -> Facts:
    of = record.detector
    versions = {f"version of {kind}": version for kind, version in of.part_versions.items()}
    named = {"method": f"{of.name}, code version {of.code_version} ({of.distribution} {of.version})"}
    return _facts({**named, "preset": of.preset, "weights": formats.si(of.parameters), **of.artifacts, **versions})


def _data(record: Record) -> Facts:
    of = record.dataset
    sizes = ", ".join(f"{split} {n}" for split, n in of.split_sizes.items())
    elsewhere = f"{of.train_on.name} {of.train_on.version}, {of.train_on.fingerprint}" if of.train_on else None
    return _facts(
        {
            "dataset": f"{of.name} {of.version} ({of.distribution})",
            "fingerprint": of.fingerprint,
            "list of all images": of.manifest,
            "images": sizes,
            "image size": f"{of.image_size[0]} x {of.image_size[1]}",
            "trained on": elsewhere,
            **flat(of.config),
        }
    )


def name_of(key: str) -> str:
    """Of a number, whatever its operating point."""
    return f"scans: {SCAN_METRICS[key].heading}" if key in SCAN_METRICS else METRICS[key].heading


def values(row: Mapping[str, Any]) -> list[Section]:
    """All numbers of a pooled row that are defined, by operating point; those that need no threshold first."""
    titles = {"": "Without a threshold", **{point.key: f"At {point.title}" for point in POINTS}}
    return [Section(title, facts, open=not point) for point, title in titles.items() if (facts := _numbers(row, point))]


def _numbers(row: Mapping[str, Any], point: str) -> Facts:
    return {
        name_of(key): formats.interval(row[key], row[f"{key}_low"], row[f"{key}_high"], row[f"{key}_sd"])
        for key, number in numbers().items()
        if number.point == point and not formats.is_missing(row[key])
    }
