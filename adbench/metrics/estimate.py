"""Values with their intervals, as records hold them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(_Model):
    """A value with its 95 % bootstrap interval over subjects; all None where it is undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None


class StratumRecord(_Model):
    """The lesions of one range of sizes: connected lesion pixels of a slice, by their share of the image's pixels."""

    from_fraction: float
    to_fraction: float | None
    """The range is from <= share < to; None where it has no upper end."""
    lesions: int
    pixels: int
    recall: Estimate
    """Fraction of their pixels that are flagged at the threshold of ⌈DICE⌉."""
    detected: Estimate
    """Fraction of the lesions of which enough pixels are flagged there (`adbench.metrics.lesions.DETECTED`)."""
    recall_transferred: Estimate
    detected_transferred: Estimate
    """The same at the transferred threshold."""
