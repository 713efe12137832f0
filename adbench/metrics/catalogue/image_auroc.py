"""AUROC of the image-level scores, exact."""

from adbench.metrics.estimate import Estimate
from adbench.metrics.metric import Metric

IMAGE_AUROC = Metric(
    key="image_auroc",
    title="image AUROC",
    glossary="chance that an image with a lesion scores above one without, by the score that the method gives each.",
    counts="images",
    resampled="subjects",
    estimate=lambda of: Estimate.of(of.images_by_own_rule.image_auroc, of.images_by_own_rule.image_auroc_interval),
)
