"""All that the report is made from: records, times, and the files beside the records, read when they are needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from adbench.errors import RecordError
from adbench.metrics.histogram import ScoreHistogram
from adbench.results.counts import counts_path, read_counts
from adbench.results.frame import frame
from adbench.results.method_card import read_method_cards
from adbench.results.record import Record, read_records
from adbench.results.report.speed import times
from adbench.results.standing import Values
from adbench.results.subjects import read_subjects, subjects_path, values_below
from adbench.results.timing import TimingFile, read_timings


@dataclass(frozen=True)
class Sources:
    """A folder of results."""

    out: Path
    records: Mapping[str, Record]
    """By path below the folder."""
    timings: list[TimingFile]

    @classmethod
    def read(cls, out: Path) -> Sources:
        """Raises RecordError where a file cannot be read, or there is no record."""
        records = {record.path.as_posix(): record for record in read_records(out)}
        if not records:
            raise RecordError(
                f"A report needs records, but {out / 'records'} has none: run 'adbench run --out {out}' first, or name "
                "the folder of a run with --out."
            )
        return cls(out, records, read_timings(out))

    @cached_property
    def frame(self) -> pd.DataFrame:
        return frame(self.records.values(), self.timings, read_method_cards(self.out))

    @cached_property
    def times(self) -> pd.DataFrame:
        """As `adbench.results.report.speed.times`."""
        return times(self.frame)

    @cached_property
    def _timings(self) -> dict[str, list[TimingFile]]:
        by_record: dict[str, list[TimingFile]] = {}
        for timing in self.timings:
            by_record.setdefault(timing.record, []).append(timing)
        return by_record

    def timings_of(self, records: Iterable[str]) -> list[TimingFile]:
        return [timing for record in records for timing in self._timings.get(record, [])]

    def subjects(self, record: str) -> pd.DataFrame | None:
        """The rows by subject; None where the file is missing."""
        path = subjects_path(self.out / record)
        return read_subjects(path) if path.is_file() else None

    def values(self, records: Iterable[str]) -> Values:
        """By which methods are compared."""
        return values_below(self.out, records)

    def counts(self, record: str) -> ScoreHistogram | None:
        """The counts of scores; None where the file is missing."""
        path = counts_path(self.out / record)
        return read_counts(path) if path.is_file() else None
