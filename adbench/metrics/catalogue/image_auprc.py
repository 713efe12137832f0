"""AUPRC of the image-level scores, exact."""

from adbench.metrics.estimate import Estimate
from adbench.metrics.metric import Metric

IMAGE_AUPRC = Metric(
    key="image_auprc",
    title="image AUPRC",
    glossary="average precision of finding the images with a lesion, by one score an image. By chance it equals their "
    "share.",
    counts="images",
    resampled="subjects",
    estimate=lambda of: Estimate.of(of.images.image_auprc, of.images.image_auprc_interval),
    headline=False,
)
