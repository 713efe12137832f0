"""The protocol: what is measured, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class DecidesScores:
    """Marks a field on which score maps depend: another value scores anew, where that of any other field measures anew.

    Which images are scored is no such field: kept scores are those of a batch's own images.
    """


class MeasurementProtocol(BaseModel):
    """What is measured and how; part of every record's config hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: Annotated[int, DecidesScores()] = Field(100, ge=1, description="test images scored together")
    region: Literal["image", "brain"] = Field("image", description="pixels that count")
    transferred_quantile: float = Field(
        0.99, gt=0, lt=1, description="quantile of healthy validation scores that fixes the transferred threshold"
    )
    transferred_images: int = Field(100, ge=1, description="healthy validation images scored for that (or all)")
    resamples: int = Field(1000, ge=1, description="bootstrap resamples of the 95 % intervals")
    timing_slices: int = Field(100, ge=1, description="slices in the timed minibatch")
    timing_repeats: int = Field(10, ge=1, description="timed repeats; fewer where the budget is spent")
    timing_budget_s: float = Field(120.0, gt=0, description="seconds for timing one method")

    def deciding_scores(self) -> dict[str, Any]:
        """The fields on which score maps depend."""
        return self.model_dump(include={name for name, field in type(self).model_fields.items() if _decides(field)})


def _decides(field: FieldInfo) -> bool:
    return any(isinstance(mark, DecidesScores) for mark in field.metadata)


PROTOCOL_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"transferred_images": 32, "resamples": 200, "timing_slices": 10, "timing_budget_s": 2.0},
    "demo": {"batch_size": 104, "transferred_images": 50, "timing_slices": 20, "timing_budget_s": 8.0},
}
