"""The protocol: what is measured, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from adbench.devices.times import LEAST


class DecidesScores:
    """Marks a field on which score maps depend: another value scores anew, where that of any other field measures anew.

    Which images are scored is no such field: kept scores are those of a batch's own images.
    """


class DecidesTimes:
    """Marks a field that changes times alone: the record is the same, and its time is measured anew."""


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
    timing_slices: Annotated[int, DecidesTimes()] = Field(100, ge=1, description="slices in the timed minibatch")
    timing_repeats: Annotated[int, DecidesTimes()] = Field(
        10, ge=LEAST, description=f"timed repeats; down to {LEAST} where the budget is spent"
    )
    timing_budget_s: Annotated[float, DecidesTimes()] = Field(
        120.0,
        gt=0,
        description="seconds for the repeats of a call; one that takes longer is composed",
    )

    def deciding_scores(self) -> dict[str, Any]:
        """The fields on which score maps depend."""
        return self.model_dump(include=self._marked(DecidesScores))

    def deciding_times(self) -> set[str]:
        """The names of the fields on which times alone depend."""
        return self._marked(DecidesTimes)

    def _marked(self, mark: type) -> set[str]:
        fields = type(self).model_fields.items()
        return {name for name, field in fields if any(isinstance(each, mark) for each in field.metadata)}


PROTOCOL_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"transferred_images": 32, "resamples": 200, "timing_slices": 10, "timing_budget_s": 2.0},
    "demo": {"batch_size": 104, "transferred_images": 50, "timing_slices": 20, "timing_budget_s": 8.0},
}
