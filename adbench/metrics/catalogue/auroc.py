"""AUROC over all pixels, within the bound on its binning error."""

from adbench.metrics.estimate import Estimate
from adbench.metrics.metric import Metric

AUROC = Metric(
    key="auroc",
    title="AUROC",
    glossary="chance that a lesion pixel scores above a healthy one; flattering where lesions are rare.",
    counts="pixels",
    resampled="subjects",
    estimate=lambda of: Estimate.of(of.pixels.auroc, of.pixel_intervals["auroc"].interval),
)
