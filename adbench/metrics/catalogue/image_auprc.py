"""AUPRC of the image-level scores, exact."""

from adbench.metrics.estimate import Estimate
from adbench.metrics.metric import Metric

IMAGE_AUPRC = Metric(
    key="image_auprc",
    title="image AUPRC",
    glossary="average precision of finding the images with a lesion, by the score that the "
    "method gives each. By chance it equals their share.",
    counts="images",
    resampled="subjects",
    estimate=lambda of: Estimate.of(of.images_by_own_rule.image_auprc, of.images_by_own_rule.image_auprc_interval),
)
