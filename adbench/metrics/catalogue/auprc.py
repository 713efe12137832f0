"""AUPRC over all pixels, within the bound on its binning error."""

from adbench.metrics.estimate import Estimate
from adbench.metrics.metric import Metric

AUPRC = Metric(
    key="auprc",
    title="AUPRC",
    glossary="average precision, step-wise. By chance it equals the prevalence of lesion pixels.",
    counts="pixels",
    resampled="subjects",
    estimate=lambda of: Estimate.of(of.pixels.auprc, of.pixel_intervals["auprc"].interval),
)
