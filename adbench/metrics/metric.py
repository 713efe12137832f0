"""A metric as one object: all that the record, the tables, the CSV file and the glossary need to know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from adbench.metrics.estimate import Estimate
from adbench.metrics.evidence import Evidence
from adbench.metrics.student import FEWEST, Scale


@dataclass(frozen=True)
class Metric:
    """One number that is measured. `adbench.metrics.catalogue` lists them all."""

    key: str
    """Its name in records, in the CSV file and in published values of datasets."""
    title: str
    """Its name above a column."""
    glossary: str
    """What it says, in a sentence or two of Markdown for a reader of the pages."""
    counts: Literal["pixels", "lesions", "subjects", "images"]
    """What is counted: pixels or lesions of all subjects pooled, subjects one by one, or whole images."""
    resampled: str
    """What is drawn with replacement for its interval."""
    estimate: Callable[[Evidence], Estimate]
    """The value with its interval; `Estimate(value=None)` where it is undefined, never NaN."""
    higher_is_better: bool = True
    unit: str = ""
    """Empty for a fraction."""
    point: str = ""
    """Key of the operating point that it is read at; empty where it needs no threshold."""
    by_subject: str = ""
    """Column of the files of subjects that it is the mean of; empty where it is not one over subjects."""
    fewest: int = FEWEST
    """Subjects with lesions below which its interval is not shown: simulated, it holds the truth too seldom there."""

    @property
    def heading(self) -> str:
        """Title and unit, as a table shows them."""
        return f"{self.title} {self.unit}".strip()

    @property
    def scale(self) -> Scale:
        """What the number can be: a fraction, or, where it has a unit, a count."""
        return "count" if self.unit else "fraction"
