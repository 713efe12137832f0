"""Paired differences of all methods of a table, subject by subject, and what can be said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from adbench.metrics.chance import PairedTests, compare, enough
from adbench.metrics.estimate import Estimate
from adbench.results.standing import Values, by_subject


@dataclass(frozen=True)
class Paired:
    """Methods on the same subjects, by the metric that ranks go by; best first."""

    names: Sequence[str]
    values: NDArray[np.float64]
    """(methods, subjects), means over seeds."""
    comparison: PairedTests
    enough: bool
    """Whether so many subjects could show any difference."""

    @property
    def subjects(self) -> int:
        return self.values.shape[1]

    @property
    def pairs(self) -> int:
        return len(self.comparison.pairs)

    def difference(self, i: int, j: int) -> Estimate:
        """The mean of i - j with its interval over subjects, of these trainings and this pair alone."""
        return Estimate.of_mean((self.values[i] - self.values[j]).tolist(), "difference")

    def p(self, i: int, j: int) -> float:
        """Corrected over all pairs."""
        return self.comparison.pairs[min(i, j), max(i, j)]

    def differ(self, i: int, j: int) -> bool:
        """Whether two methods differ by more than chance."""
        return self.enough and self.comparison.differ(i, j)

    def alike(self, i: int) -> list[str]:
        """The methods that are not separated from method i."""
        return [name for j, name in enumerate(self.names) if j != i and not self.differ(i, j)]


def paired(rows: pd.DataFrame, values: Values) -> Paired | None:
    """Compare the pooled rows of a table; None for one method, or where subjects are not known of all.

    Methods come best first by their mean over the subjects that all have.
    """
    seeds = by_subject(rows, values)
    if len(rows) < 2 or seeds is None or seeds[0].shape[1] < 2:
        return None
    means = np.stack([of.mean(axis=0) for of in seeds])
    order = np.argsort(-means.mean(axis=1), kind="stable")
    comparison = compare(means[order], [seeds[i].mean(axis=1) for i in order])
    names = [str(rows["label"].iloc[i]) for i in order]
    return Paired(names, means[order], comparison, enough(means.shape[1], len(comparison.pairs)))
