"""A metric's value with its interval."""

from __future__ import annotations

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
