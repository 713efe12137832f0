"""The protocol: what is measured, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from adbench.devices.times import LEAST
from adbench.results.record import PROTOCOL_VERSION
from adbench.storage.spec import changed_fields


class DecidesScores:
    """Marks a field on which score maps depend: another value scores anew, where that of any other field measures anew.

    Which images are scored is no such field: kept scores are those of a batch's own images.
    """


class DecidesTimes:
    """Marks a field that changes times alone: the record is the same, and its time is measured anew."""


class MeasurementProtocol(BaseModel):
    """What is measured and how; part of every record's config hash."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    version: Literal[2] = Field(
        PROTOCOL_VERSION, description="of the rules; raised when a default changes what is measured"
    )
    batch_size: Annotated[int, DecidesScores()] = Field(100, ge=1, le=4096, description="test images scored together")
    region: Literal["image", "brain"] = Field("image", description="pixels that count")
    postprocess: Literal["none", "median"] = Field("none", description="of every score map, the same for all methods")
    median_px: int = Field(5, ge=3, le=63, description="edge of the window of that median, odd; edges are replicated")
    reference_images: int = Field(
        100, ge=1, description="healthy images scored for thresholds, of validation subjects that no method sees"
    )
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

    @field_validator("median_px")
    @classmethod
    def _is_odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"a window with a middle has an odd edge, got {value}: try {value + 1}")
        return value

    def deciding_scores(self) -> dict[str, Any]:
        """The fields on which score maps depend."""
        return self.model_dump(include=self._marked(DecidesScores))

    def of_quality(self) -> dict[str, Any]:
        """All fields but those that decide how times are taken: records hold them."""
        return self.model_dump(mode="json", exclude=self._marked(DecidesTimes))

    def identity(self) -> dict[str, Any]:
        """What decides quality: the version, and what differs from its defaults."""
        return {"version": self.version, **changed_fields(self, self._marked(DecidesTimes))}

    def _marked(self, mark: type) -> set[str]:
        fields = type(self).model_fields.items()
        return {name for name, field in fields if any(isinstance(each, mark) for each in field.metadata)}


PROTOCOL_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"reference_images": 32, "resamples": 200, "timing_slices": 10, "timing_budget_s": 2.0},
    "demo": {"batch_size": 64, "reference_images": 32, "timing_slices": 2, "timing_budget_s": 1.0},
}
