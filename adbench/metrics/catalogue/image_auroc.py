"""AUROC of the image-level scores, exact."""

from adbench.metrics.estimate import Estimate
from adbench.metrics.metric import Metric

IMAGE_AUROC = Metric(
    key="image_auroc",
    title="image AUROC",
    glossary="chance that an image with a lesion scores above one without, by one score an image.",
    counts="images",
    resampled="subjects",
    estimate=lambda of: Estimate.of(of.images.image_auroc, of.images.image_auroc_interval),
)
