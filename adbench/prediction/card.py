"""The card of a model file: what it is, what it was trained on, and what must be the same where it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from adbench.config.options import MAX_SEED, Precision
from adbench.metrics.estimate import Estimate
from adbench.metrics.maps import Reread
from adbench.metrics.points import POINTS
from adbench.metrics.thresholds import healthy_thresholds
from adbench.results.record import Frozen
from adbench.storage.spec import canonical_hash

if TYPE_CHECKING:
    import torch

FORMAT: Literal[1] = 1
"""Raised when a card loses or changes a field."""
BINS = 64
"""Of the histogram of healthy images."""
NOTICE = (
    "Not a medical device: for research alone. Scores say what differs from the images trained on, not what is ill; "
    "nothing here may guide diagnosis or treatment."
)


Side = Annotated[int, Field(ge=1, le=2048)]
"""Of an image in pixels."""


class TensorCard(Frozen):
    dtype: str
    """As safetensors calls it, such as F32."""
    shape: tuple[int, ...]
    sha256: str
    """Of its bytes."""


class TrainingSet(Frozen):
    """The dataset that was trained on."""

    name: str
    registered: str
    """The name by which its plugin is found."""
    distribution: str
    version: str
    config: dict[str, Any]
    modality: str
    spacing_mm: float | None
    """Where the set has one."""
    licence: str
    citation: str
    fingerprint: str
    """Of the images that were trained on."""
    validation_fingerprint: str
    """Of the healthy images that were not."""
    images: int
    subjects: int


class PreparationCard(Frozen):
    """How images were made of scans."""

    version: str
    steps: tuple[str, ...]


class PointCard(Frozen):
    """An operating point: pixels whose score is greater than the threshold are flagged."""

    key: Annotated[str, Field(pattern=r"^\d{1,9}pct$")]
    """In the names of files."""
    rate: Annotated[float, Field(gt=0, lt=1)]
    """Fraction of healthy pixels flagged at most, subjects weighted equally."""
    threshold: float
    """Of maps on the grid of a scan."""
    missing: str | None
    """Why the healthy images do not support the point."""
    threshold_at_network_size: float
    """Of maps at the size of the images trained on, as in the record."""


class HealthyCard(Frozen):
    """What healthy images that were not trained on are like."""

    histogram: Annotated[tuple[float, ...], Field(min_length=BINS, max_length=BINS)]
    """Fraction of the brain's pixels below each of so many equal steps from 0 to 1, mean over subjects."""
    distances: Annotated[tuple[float, ...], Field(min_length=1)]
    """Of other healthy subjects to that histogram, ascending: how far a healthy one lies by chance."""
    numbers: dict[str, tuple[float, float]]
    """Trait -> smallest and largest, of scans trained on."""
    words: dict[str, tuple[str, ...]]
    """Trait -> what a quarter of the scans or more have."""


class CalibrationCard(Frozen):
    """The healthy scans of a site that the points come from."""

    scans: int
    held_out: dict[str, Estimate]
    """Key of a point -> the rate in scans left out, with its 95 % interval."""


class ModelCard(Frozen):
    """All that stands in a model file beside the tensors."""

    format: Literal[1] = FORMAT
    notice: str = NOTICE
    method: str
    distribution: str
    code_version: str
    """The detector's own `info.version`."""
    preset: str
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)]
    config: dict[str, Any]
    parameters: int
    parts: dict[str, str]
    """Name -> key of the trained parts, hashes of all that they were made from."""
    made_with: dict[str, dict[str, str]]
    """Key of a part -> type of device and precision that made it."""
    tensors: dict[str, TensorCard]
    trained_on: TrainingSet
    preparation: PreparationCard
    image_size: tuple[Side, Side]
    protocol: dict[str, Any]
    points: Annotated[tuple[PointCard, ...], Field(min_length=1)]
    calibration: CalibrationCard | None = None
    """None where the points come from the training set's own healthy people, as in the record."""
    measured_in: str
    """Type of device and precision of the maps that the thresholds come from."""
    healthy: HealthyCard
    metrics: dict[str, float | None]
    """Of the record of this cell; empty where there is none."""
    config_hash: str | None
    """Of that record."""
    created: str | None
    """When that record was measured: two exports of the same parts are the same file."""
    packages: dict[str, str]

    @field_validator("points")
    @classmethod
    def _each_point_is_one(cls, points: tuple[PointCard, ...]) -> tuple[PointCard, ...]:
        if len({point.key for point in points}) < len(points) or len({point.rate for point in points}) < len(points):
            raise ValueError("each point has a key and a rate of its own")
        return points

    def sealed(self) -> dict[str, Any]:
        """The card as JSON with its own hash, by which a change shows."""
        content = self.model_dump(mode="json")
        return {**content, "sha256": canonical_hash(content)}


def point_cards(on_grid: Reread, at_size: Reread) -> tuple[PointCard, ...]:
    """The operating points of healthy maps, on the grids of scans and at the size of the images trained on."""
    rates = [point.rate for point in POINTS]
    thresholds = zip(POINTS, healthy_thresholds(on_grid, rates), healthy_thresholds(at_size, rates), strict=True)
    return tuple(
        PointCard(
            key=point.key,
            rate=point.rate,
            threshold=grid.threshold,
            missing=point.missing(grid),
            threshold_at_network_size=pixels.threshold,
        )
        for point, grid, pixels in thresholds
    )


def described(device: torch.device, precision: Precision) -> str:
    """Type of device and precision, as cards say them."""
    return f"{device.type} in {precision}"


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Whether a card's content is what was sealed."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    return canonical_hash(rest) == content.get("sha256")
