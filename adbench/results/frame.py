"""Records and their times as one pandas frame, from which all tables are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adbench.metrics.strata import STRATUM_FRACTIONS
from adbench.results.collection import uncollected
from adbench.results.columns import RUN, TIME, Column, metric_columns
from adbench.results.record import Record, read_records
from adbench.results.timing import TimingFile, read_timings


@uncollected()
def read_frame(out: str | Path) -> pd.DataFrame:
    """The frame of all records and times below `out`. Raises RecordError where a file cannot be read."""
    return frame(read_records(Path(out)), read_timings(Path(out)))


def frame(records: Iterable[Record], timings: Iterable[TimingFile] = ()) -> pd.DataFrame:
    """One row for each record and each device that it was timed on; records without a time have one row too.

    Columns are those of `adbench.results.columns`: `RUN`, then `metric_columns()`, then `TIME`, with their dtypes. Rows
    come in the order of `records`. Times without a record are left out.
    """
    runs = _frame({**RUN, **metric_columns()}, list(records))
    timings = list(timings)
    times = _frame(TIME, timings)
    times.insert(0, "record", pd.array([timing.record for timing in timings], dtype="string"))
    return runs.merge(times, on="record", how="left", validate="one_to_many")


def _frame(columns: Mapping[str, Column[Any]], sources: Sequence[Any]) -> pd.DataFrame:
    return pd.DataFrame({c.key: _array([c.of(source) for source in sources], c.dtype) for c in columns.values()})


def _array(values: list[Any], dtype: str) -> Any:
    if dtype == "float64":
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return pd.array(values, dtype=dtype)


def strata(records: Iterable[Record]) -> pd.DataFrame:
    """Lesions by size: one row for each record, operating point and range of sizes.

    Columns: record, point (its key), from_fraction and to_fraction (share of the image's pixels; the largest range has
    no end), lesions and pixels (numbers), and the fractions lesion_recall and sensitivity, each with _low and _high.
    """
    rows = [
        {
            "record": path,
            "point": point,
            **stratum.model_dump(include={"from_fraction", "to_fraction", "lesions", "pixels"}),
            **{
                name + ending: getattr(getattr(stratum, name)[point], field)
                for name in STRATUM_FRACTIONS
                for ending, field in (("", "value"), ("_low", "low"), ("_high", "high"))
            },
        }
        for record in records
        for path in [record.path.as_posix()]
        for stratum in (record.measurement.strata if record.measurement else [])
        for point in stratum.lesion_recall
    ]
    fractions = [name + ending for name in STRATUM_FRACTIONS for ending in ("", "_low", "_high")]
    columns = ["record", "point", "from_fraction", "to_fraction", "lesions", "pixels", *fractions]
    return pd.DataFrame(rows, columns=columns)


def to_csv(results: pd.DataFrame) -> str:
    """The frame as CSV with a header; numbers in full, undefined ones empty."""
    return results.to_csv(index=False, lineterminator="\n")
