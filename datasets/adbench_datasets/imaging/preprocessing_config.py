"""How a scan becomes slices: the fields that all sets of scans share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adbench.contracts.dataset import DatasetConfig


class PreprocessingConfig(DatasetConfig):
    """How a scan becomes slices. Every field is part of the cache's key. Adapters may set other defaults."""

    size: Literal[64, 128, 160, 192, 256] = Field(128, description="side of the square slices in pixels")
    spacing_mm: Annotated[float, Field(ge=0.01, le=100)] | Literal["fit", "keep"] = Field(
        "fit", description='pixel size in mm; "fit": fov_mm / size; "keep": pixels as stored'
    )
    fov_mm: float = Field(
        192,
        ge=1,
        le=10_000,
        description='side of the square in mm where spacing_mm is "fit"; the whole slice if that is unknown',
    )
    slice_step_mm: float | None = Field(None, gt=0, description="take a slice about every so many mm; null: each one")
    lower_percentile: float = Field(1.0, ge=0, lt=50, description="MRI: percentile within the region that becomes 0")
    upper_percentile: float = Field(99.5, gt=50, le=100, description="MRI: percentile that becomes 1; above is clipped")
    window_centre_hu: float = Field(40, description="CT: centre of the window in HU")
    window_width_hu: float = Field(120, gt=0, description="CT: width of the window in HU")
    min_area_fraction: float = Field(
        0.2, ge=0, le=1, description="keep slices whose brain or head has this fraction of the largest slice's area"
    )
    min_lesion_px: int = Field(1, ge=1, description="lesions of fewer pixels in a slice are ignored by all metrics")
    healthy_margin_slices: int = Field(1, ge=0, description="slices this near to a lesion are not trained on")
