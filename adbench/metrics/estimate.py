"""A metric's value with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from adbench.metrics.student import Interval, Scale, t_interval


class Estimate(BaseModel):
    """A value with its 95 % interval over subjects; all None where it is undefined."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float | None, interval: Interval | None) -> Estimate:
        low, high = interval or (None, None)
        return cls(value=value, low=low, high=high)

    def among(self, subjects: int, fewest: int) -> Estimate:
        """Without its interval where there are fewer subjects than it needs."""
        return self if subjects >= fewest else Estimate(value=self.value)

    @classmethod
    def of_mean(cls, values: Sequence[float], scale: Scale = "fraction") -> Estimate:
        """The mean of one number a subject, with its interval over subjects; one alone has none."""
        if not values:
            return cls(value=None)
        mean, n = float(np.mean(values)), len(values)
        return cls.of(mean, t_interval(mean, float(np.std(values, ddof=1)) / n**0.5, n, scale) if n > 1 else None)
