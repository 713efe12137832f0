"""A metric's value with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

Interval = tuple[float, float]


class Estimate(BaseModel):
    """A value with its 95 % bootstrap interval over subjects; all None where it is undefined."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float | None, interval: Interval | None) -> Estimate:
        low, high = interval or (None, None)
        return cls(value=value, low=low, high=high)

    @classmethod
    def of_mean(cls, values: Sequence[float], resamples: int) -> Estimate:
        """The mean of one value a subject, with its interval over subjects; one alone has none."""
        if len(values) < 2:
            return cls(value=float(values[0]) if values else None)
        drawn = np.random.default_rng(0).choice(np.array(values), (resamples, len(values))).mean(axis=1)
        low, high = np.percentile(drawn, [2.5, 97.5])
        return cls(value=float(np.mean(values)), low=float(low), high=float(high))
