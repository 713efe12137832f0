"""Whether results are what they say: every record against its schema, its hash, its images and all that lies beside it.

What is checked needs neither images nor networks. What these alone would show is said and not claimed (`UNPROVED`).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from adbench.contracts.registry import load_dataset
from adbench.errors import AdbenchError, PluginError, RecordError, UnknownPluginError
from adbench.metrics.catalogue import METRICS
from adbench.metrics.estimate import Estimate
from adbench.protocol.identity import hash_of
from adbench.results.card import NAME as CARD
from adbench.results.card import read_card
from adbench.results.counts import check_counts, counts_path, read_counts
from adbench.results.made import CARDS
from adbench.results.method_card import read_method_card
from adbench.results.pages import check_pages
from adbench.results.pictures import picture_path, read_picture
from adbench.results.record import MeasurementRecord, Record, read_record
from adbench.results.subjects import SEPARATOR, read_subjects, subjects_path
from adbench.results.timing import read_timing

UNPROVED = (
    "times, processor minutes, environments and dates: nobody can tell from files",
    "image-level metrics, lesion F1, false components, FROC, intervals at operating points: their counts are not kept",
    "that settings are those of the preset that is named: any may have been given by hand",
    "config hashes and published values of methods and datasets that are not installed here, or of other versions",
    "that hashes are those of the images, and scores those of the method: run the cell again",
)
"""What no file proves."""
WHERE = ("dataset", "protocol", "seed", "tuning")
"""What tells cells of a method apart."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Finding:
    """A file that is not what it should be."""

    path: Path
    what: str


def verify(out: Path) -> tuple[int, list[Finding]]:
    """Return the number of records below a folder, and all that is wrong with them and the files beside them."""
    records: dict[Path, Record] = {}
    findings = []
    files = [path for path in (out / "records").glob("**/*") if path.is_file()]
    for path in sorted([*files, *(out / CARDS).glob("*.json")]):
        try:
            if record := _read(path, out):
                records[path] = record
        except AdbenchError as error:
            findings.append(Finding(path, str(error)))
    for path, record in records.items():
        findings += [Finding(path, what) for what in _faults(record, path, out)]
    findings += _repeated(records)
    if not findings:  # pages are made from all records
        stale = "is not what the records give: run 'adbench leaderboard'"
        findings = [Finding(path, stale) for path in check_pages(out)]
    return len(records), findings


def _read(path: Path, out: Path) -> Record | None:
    """The record that a file is, or None for what lies beside one. Raises RecordError where it is neither."""
    name, owner = path.name, path.with_name(path.name.split(".")[0] + ".json")
    if name.startswith("manifest-") and name.endswith(".json"):
        return None  # read with the records that name it
    if name == CARD:
        read_card(path)
        return None
    if path.parent == out / CARDS:
        read_method_card(path)
        return None
    if name == owner.name:
        return read_record(path)
    if not owner.is_file():
        raise RecordError("belongs to no record")
    if ".timing-" in name:
        if out / read_timing(path).path != path:
            raise RecordError("is the time of another record or device")
    elif path not in (counts_path(owner), subjects_path(owner), picture_path(owner)):
        raise RecordError("is no file that a run writes")
    return None


def _faults(record: Record, path: Path, out: Path) -> Iterator[str]:
    """What is wrong with a record, in sentences."""
    if out / record.path != path:
        yield f"says that it belongs at {record.path}: a copied or renamed record"
        return
    checks = [partial(_config_hash, record), partial(_reported, record)]
    if missing := [key for key in METRICS if key not in record.metrics and record.status == "ok"]:
        yield f"has no {', '.join(missing)}: a run measures all of them"
    elif record.status == "ok" and record.measurement is not None:
        checks += [
            partial(_counts, record, path),
            partial(_manifest, record, out),
            partial(_subjects, record, path),
            partial(_picture, path),
            partial(_strata, record, record.measurement),
            partial(_image_level, record),
            partial(_thresholds, record.measurement),
        ]
    for check in checks:
        try:
            yield from check()
        except RecordError as error:
            yield str(error)


def _config_hash(record: Record) -> Iterator[str]:
    given = hash_of(record)
    if given is not None and given != record.config_hash:
        yield f"has settings, versions or data of the config hash {given}, not {record.config_hash}"


def _reported(record: Record) -> Iterator[str]:
    """Published values of the method that its dataset does not know; it may know more, or another place, by now."""
    if record.reported is None and record.reported_source is None:
        return
    try:
        published = load_dataset(record.dataset.plugin).cls.info.reported
    except (UnknownPluginError, PluginError):
        return
    known = [each for each in published if each.registered == record.detector.name]
    for key, value in (record.reported or {}).items():
        if not any(each.metric == key and each.value == value for each in known):
            yield f"has a published {key} of {value:g}, which the dataset {record.dataset.name} does not know"
    if not (record.reported_source or "").startswith(tuple(each.source for each in known)):
        yield f"has published values of a source that the dataset {record.dataset.name} does not know"


def _counts(record: Record, path: Path) -> Iterator[str]:
    hist = read_counts(counts_path(path))
    check_counts(record, hist)
    if hist.prevalence != record.dataset.prevalence:
        yield f"has a prevalence of {record.dataset.prevalence}, but its counts give {hist.prevalence}"


def _manifest(record: Record, out: Path) -> Iterator[str]:
    of, path = record.dataset, out / record.dataset.manifest
    if path.name != f"manifest-{of.fingerprint}.json" or not path.is_file():
        yield f"needs the manifest of its images, {path}, which is missing or of another fingerprint"
        return
    try:
        splits = {split: dict(images) for split, images in json.loads(path.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError):
        yield f"{path} is no manifest of images"
        return
    if {split: len(images) for split, images in splits.items()} != of.split_sizes:
        yield f"counts {of.split_sizes} images, but {path.name} others"
    subjects = {split: {re.sub(r"#\d+$", "", key) for key in images} for split, images in splits.items()}
    if {split: len(names) for split, names in subjects.items()} != of.subjects:
        yield f"counts {of.subjects} subjects, but {path.name} others"
    hashes = {split: set(images.values()) for split, images in splits.items()}
    trained = hashes.get("train", set()) | hashes.get("validation", set())
    if trained & hashes.get("test", set()):
        yield f"{path.name} has the same image in test and in training or validation"


def _subjects(record: Record, path: Path) -> Iterator[str]:
    rows = read_subjects(subjects_path(path))
    if len(rows) != record.dataset.subjects["test"]:
        yield f"has {record.dataset.subjects['test']} test subjects, but {subjects_path(path).name} {len(rows)}"
        return
    measured = record.measurement
    columns = {f"subject_dice_{p.key}": f"{p.key}{SEPARATOR}pixel_dice" for p in (measured.points if measured else [])}
    for key, column in {"subject_auprc": "auprc", **columns}.items():
        ours, theirs = Estimate.of_mean(list(rows[column].dropna())), record.metrics[key]
        if key in columns and measured and key in measured.interval_error_bound:
            ours = Estimate(value=ours.value, low=theirs.low, high=theirs.high)  # of resampled healthy subjects too
        if not _same(ours, theirs):
            yield f"has {key} {_shown(theirs)}, but {subjects_path(path).name} gives {_shown(ours)}"


def _picture(path: Path) -> Iterator[str]:
    if picture_path(path).is_file():
        read_picture(picture_path(path))
    yield from ()


def _image_level(record: Record) -> Iterator[str]:
    """Numbers of whole images need some with a lesion and some without: all of them are defined, or none."""
    keys = [key for key, metric in METRICS.items() if metric.counts == "images" and not metric.point]
    missing = [key for key in keys if record.metrics[key].value is None]
    if missing and len(missing) < len(keys):
        given = ", ".join(key for key in keys if key not in missing)
        yield f"has {given}, but no {', '.join(missing)}: images with and without lesions give all of them"


def _strata(record: Record, measured: MeasurementRecord) -> Iterator[str]:
    """Lesion recall and sensitivity at a point are those of all sizes together."""
    for point in measured.points:
        for name, of in (("lesion_recall", "lesions"), ("sensitivity", "pixels")):
            value = record.metrics[f"{name}_{point.key}"].value
            parts = [(getattr(s, name).get(point.key), getattr(s, of)) for s in measured.strata]
            known = [(estimate.value, n) for estimate, n in parts if estimate is not None and n]
            total = sum(n for _, n in known)
            ours = sum(v * n for v, n in known) / total if total else None
            if value is not None and (ours is None or abs(ours - value) > _ROUNDING):
                yield f"has {name}_{point.key} {value:.4f}, but its lesions by size give {ours}"


def _thresholds(measured: MeasurementRecord) -> Iterator[str]:
    """The rarer what is flagged, the higher the threshold, on all curves."""
    curves = {
        "operating points": [(point.rate, point.threshold) for point in measured.points],
        "FROC": [(point.rate, point.threshold) for point in measured.froc],
    }
    for what, curve in curves.items():
        thresholds = [threshold for _, threshold in sorted(curve, key=lambda point: -point[0])]
        if np.any(np.diff(thresholds) < 0):
            yield f"has thresholds of {what} that fall where fewer healthy pixels are flagged"


def _repeated(records: dict[Path, Record]) -> Iterator[Finding]:
    """Records of one cell, and records with the counts of another."""
    cells: dict[object, list[Path]] = defaultdict(list)
    counts: dict[object, list[Path]] = defaultdict(list)
    what_was_run: Any = {"detector": {"name", "code_version", "config"}, **dict.fromkeys(WHERE, True)}
    for path, record in records.items():
        cells[record.model_dump_json(include=what_was_run)].append(path)
        if counts_path(path).is_file():
            counts[counts_path(path).read_bytes()].append(path)
    for what, groups in (("is the same cell as", cells), ("has the same counts as", counts)):
        for first, *others in groups.values():
            yield from (Finding(other, f"{what} {first}") for other in others)


def _same(a: Estimate, b: Estimate) -> bool:
    pairs = ((a.value, b.value), (a.low, b.low), (a.high, b.high))
    return all(x == y if x is None or y is None else abs(x - y) <= _ROUNDING for x, y in pairs)


def _shown(estimate: Estimate) -> str:
    return str(estimate.model_dump())
