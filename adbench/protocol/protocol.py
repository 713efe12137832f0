"""The protocol: what is measured, and how."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class MeasurementProtocol(BaseModel):
    """What is measured and how; part of every record's config hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(100, ge=1, description="test images scored together")
    region: Literal["image", "brain"] = Field("image", description="pixels that count")
    transferred_quantile: float = Field(
        0.99, gt=0, lt=1, description="quantile of healthy validation scores that fixes the transferred threshold"
    )
    transferred_images: int = Field(100, ge=1, description="healthy validation images scored for that (or all)")
    resamples: int = Field(1000, ge=1, description="bootstrap resamples of the 95 % intervals")
    timing_slices: int = Field(100, ge=1, description="slices in the timed minibatch")
    timing_repeats: int = Field(10, ge=1, description="timed repeats; fewer where the budget is spent")
    timing_budget_s: float = Field(120.0, gt=0, description="seconds for timing one method")


PROTOCOL_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"transferred_images": 32, "resamples": 200, "timing_slices": 10, "timing_budget_s": 2.0},
    "demo": {"batch_size": 104, "transferred_images": 50, "timing_slices": 20, "timing_budget_s": 8.0},
}
