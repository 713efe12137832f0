"""How long one cell takes on one device: `<confighash>-seed<k>.timing-<device>-<precision>.json` beside its record.

A time that is measured anew replaces its own file and nothing else; those of several devices stand side by side.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from adbench.devices.times import Timing
from adbench.errors import RecordError
from adbench.results.formats import seconds
from adbench.results.record import SCHEMA_VERSION, EnvironmentRecord, Frozen, read_model, write_text


class TimingFile(Frozen):
    """The time of one record's cell on one device with one precision."""

    schema_version: Literal[2] = SCHEMA_VERSION
    record: str
    """Path of the record, below the output folder."""
    environment: EnvironmentRecord
    """Where it was timed; the record may have been scored elsewhere."""
    timing: Timing
    created: str
    """UTC, ISO 8601 to the second."""

    @property
    def path(self) -> Path:
        """Where the file belongs, below the output folder."""
        return timing_path(Path(self.record), self.environment)

    @property
    def device(self) -> str:
        return device_label(self.environment)

    @property
    def conditions(self) -> str:
        """Device, threads, precision and slices: times are compared only where they are the same."""
        return f"{self.device}, {self.timing.slices} slices"

    def __str__(self) -> str:
        """`12.3 s / 100 slices (12.0 to 12.9, 10 repeats), 24.1 s of processor time, on cpu (...), 100 slices`."""
        t, per_100 = self.timing, 100 / self.timing.slices
        cpu_s = t.cpu_s.get("score", float("nan"))
        median, low, high, cpu = (seconds(per_100 * s) for s in (t.median_s, t.min_s, t.max_s, cpu_s))
        how = "composed, " if t.composed else ""
        busy = "; others used the machine: not compared" if t.busy else ""
        repeats = f"{low} to {high}, {how}{t.repeats} repeats"
        return f"{median} s / 100 slices ({repeats}), {cpu} s of processor time, on {self.conditions}{busy}"


def device_label(environment: EnvironmentRecord) -> str:
    """`cpu (Some CPU, 2 threads), float32`: times with the same label are of one device and may be compared."""
    threads = f", {environment.threads} threads" if environment.device == "cpu" else ""
    return f"{environment.device} ({environment.device_name}{threads}), {environment.precision}"


def timing_path(record: Path, environment: EnvironmentRecord) -> Path:
    """The file of the times of a record on a device."""
    slug = re.sub(r"[^a-z0-9]+", "-", device_label(environment).lower()).strip("-")
    return record.with_name(f"{record.stem}.timing-{slug}.json")


def write_timing(timing: TimingFile, out: Path) -> Path:
    """Write the times of a record below `out` and return their path."""
    path = out / timing.path
    write_text(path, timing.model_dump_json(indent=1) + "\n")
    return path


def read_timing(path: Path) -> TimingFile:
    """Read one file of times. Raises RecordError naming the file and what is wrong with it."""
    return read_model(TimingFile, path, "file of times")


def times_beside(record: Path) -> list[TimingFile]:
    """The times of one record, by the names of their files. Raises RecordError as `read_timing`."""
    return [read_timing(path) for path in sorted(record.parent.glob(f"{record.stem}.timing-*.json"))]


def read_timings(out: Path) -> list[TimingFile]:
    """All times below `out`, in the order of their paths. Raises RecordError as `read_timing`, and for a wrong name."""
    timings = {path: read_timing(path) for path in sorted((out / "records").glob("*/*/*-seed*.timing-*.json"))}
    for path, timing in timings.items():
        if out / timing.path != path:
            raise RecordError(
                f"A file of times must have the name of its record and device, {timing.path}, but {path} has not: "
                "rename or remove it."
            )
    return list(timings.values())
