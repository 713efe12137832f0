"""Results in other formats: all records as CSV, JSON or Parquet; tables of means as Markdown or LaTeX."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from adbench.errors import RecordError
from adbench.results.columns import metric_columns
from adbench.results.frame import to_csv
from adbench.results.scan_metrics import numbers
from adbench.results.subjects import values_below
from adbench.results.summary import QUALITY, Summary, summary
from adbench.results.variants import trained_on, variants


def chosen(results: pd.DataFrame, names: Mapping[str, Sequence[str]], metrics: Sequence[str]) -> pd.DataFrame:
    """The rows of some datasets or methods, with the columns of some metrics; of all where none is named.

    Raises RecordError for a name of which there is no record, and for a metric that is not measured.
    """
    for column, wanted in names.items():
        if unknown := [name for name in wanted if name not in set(results[column])]:
            there = ", ".join(sorted(results[column].unique())) or "none"
            raise RecordError(f"There is no record of the {column} {unknown[0]!r}: those with records are {there}.")
        results = results[results[column].isin(wanted)] if wanted else results
    if unknown := [key for key in metrics if key not in numbers()]:
        raise RecordError(f"There is no metric {unknown[0]!r}: the metrics are {', '.join(numbers())}.")
    return results


def export(results: pd.DataFrame, form: str, metrics: Sequence[str], out: Path) -> bytes:
    """The file's bytes. `out`: folder of the records, for ranks. Raises RecordError where a library is missing."""
    if form in ("markdown", "latex"):
        return "\n".join(_tables(results, form, metrics, out)).encode()
    kept = [f"{key}{ending}" for key in metrics for ending in ("", "_low", "_high", "_reported")]
    results = results.drop(columns=[key for key in metric_columns() if metrics and key not in kept])
    if form == "csv":
        return to_csv(results).encode()
    if form == "json":
        return (results.to_json(orient="records", indent=1, double_precision=15) + "\n").encode()
    return _parquet(results)


def _parquet(results: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    try:
        results.to_parquet(buffer, engine="pyarrow", index=False)
    except ImportError as error:
        raise RecordError(
            "Parquet needs the library pyarrow: install it with pip install 'brain-adbench[parquet]', or take csv."
        ) from error
    return buffer.getvalue()


def _tables(results: pd.DataFrame, form: str, metrics: Sequence[str], out: Path) -> Iterator[str]:
    """A table for each dataset and variant, with what must be known to read it."""
    values = values_below(out, results["record"].unique())
    for name, rows in results.groupby("dataset"):
        for variant in variants(rows):
            shown = summary(variant, values, metrics=metrics or QUALITY)
            title = ", ".join(filter(None, [f"`{name}`", variant.differs or trained_on(variant.facts)]))
            yield _latex(title, shown) if form == "latex" else _markdown(title, shown)


def _markdown(title: str, shown: Summary) -> str:
    blocks = [title, shown.warning, shown.table.markdown(), " ".join(shown.said)]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _latex(title: str, shown: Summary) -> str:
    """The table, what is said of it as comments."""
    return "".join(f"% {text}\n" for text in filter(None, [title, shown.warning, *shown.said])) + shown.table.latex()
