"""The operating points: which rates of healthy pixels are flagged, and what must be known to say so."""

from __future__ import annotations

from dataclasses import dataclass

from adbench.metrics.thresholds import HealthyThreshold


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold that flags a rate of healthy pixels."""

    key: str
    """In records, and at the end of the keys of its metrics."""
    rate: float
    """Fraction of healthy pixels flagged at most."""
    least_subjects: int = 1
    """Healthy subjects without which it cannot be estimated."""
    least_pixels: int = 0
    """Healthy pixels above the threshold without which it cannot be."""
    largest_share: float = 1.0
    """Largest part of them in one subject with which it can be."""

    @property
    def title(self) -> str:
        return f"{100 * self.rate:g} % of healthy pixels"

    def missing(self, threshold: HealthyThreshold) -> str | None:
        """Why the healthy images do not support the point, or None where they do."""
        if threshold.subjects < self.least_subjects:
            return f"needs {self.least_subjects} healthy subjects, there are {threshold.subjects}"
        if threshold.pixels_above < self.least_pixels:
            return f"needs {self.least_pixels} healthy pixels above the threshold, there are {threshold.pixels_above}"
        if threshold.largest_share > self.largest_share:
            share = f"{100 * threshold.largest_share:.0f} %"
            return f"one healthy subject holds {share} of the pixels above, over {100 * self.largest_share:g} %"
        return None


POINTS = (
    OperatingPoint("5pct", 0.05),
    OperatingPoint("1pct", 0.01),
    OperatingPoint("01pct", 0.001, least_subjects=20, least_pixels=200, largest_share=0.25),
)
FROC_RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Rates of healthy pixels at whose thresholds the FROC curve is read; those of the points are among them."""
