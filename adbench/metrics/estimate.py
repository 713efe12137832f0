"""A metric's value with its interval."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Estimate(BaseModel):
    """A value with its 95 % bootstrap interval over subjects; all None where it is undefined."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float | None
    low: float | None = None
    high: float | None = None
