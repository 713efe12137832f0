"""Records and their times as one pandas frame, from which all tables are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from adbench.metrics.catalogue import METRICS
from adbench.metrics.catalogue.at_points import BOTH
from adbench.metrics.estimate import Estimate
from adbench.metrics.strata import STRATUM_FRACTIONS
from adbench.results.collection import uncollected
from adbench.results.columns import METHOD, RUN, TIME, Column, Numbers, metric_columns
from adbench.results.method_card import Cards, read_method_cards
from adbench.results.record import Record, read_records
from adbench.results.timing import TimingFile, read_timings


@uncollected()
def read_frame(out: str | Path) -> pd.DataFrame:
    """The frame of all records and times below `out`. Raises RecordError where a file cannot be read."""
    return frame(read_records(Path(out)), read_timings(Path(out)), read_method_cards(Path(out)))


def frame(
    records: Iterable[Record], timings: Iterable[TimingFile] = (), cards: Cards = MappingProxyType({})
) -> pd.DataFrame:
    """One row for each record and each device that it was timed on; records without a time have one row too.

    Columns are those of `adbench.results.columns`: `RUN`, then `METHOD`, `metric_columns()` and `TIME`, with their
    dtypes. Rows come in the order of `records`. Times without a record are left out.
    """
    records = list(records)
    of_methods = [cards.get(record.detector.name) for record in records]
    columns = ((RUN, records), (METHOD, of_methods), (metric_columns(), [Numbers.of(record) for record in records]))
    runs = pd.concat([_frame(some, sources) for some, sources in columns], axis=1)
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
                name + ending: getattr(estimate, field)
                for name in STRATUM_FRACTIONS
                for estimate in [_shown(getattr(stratum, name)[point], record, f"{name}_{point}")]
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


def _shown(estimate: Estimate, record: Record, key: str) -> Estimate:
    """With its interval where the metric of all sizes has one, and that by test subjects alone as here."""
    if METRICS[key].resampled == BOTH:
        return Estimate(value=estimate.value)
    return estimate.among(record.lesion_subjects, METRICS[key].fewest)


def to_csv(results: pd.DataFrame) -> str:
    """The frame as CSV with a header; numbers in full, undefined ones empty."""
    return results.to_csv(index=False, lineterminator="\n")
