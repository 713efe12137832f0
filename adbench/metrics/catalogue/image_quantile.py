"""AUROC and AUPRC of images by one rule for all methods: the 99th percentile of the map."""

from adbench.metrics.estimate import Estimate
from adbench.metrics.metric import Metric

_RULE = "by the 99th percentile of its map, the same rule for all methods."

IMAGE_AUROC_P99 = Metric(
    key="image_auroc_p99",
    title="image AUROC, p99",
    glossary=f"chance that an image with a lesion scores above one without, {_RULE}",
    counts="images",
    resampled="subjects",
    estimate=lambda of: Estimate.of(of.images_by_quantile.image_auroc, of.images_by_quantile.image_auroc_interval),
)
IMAGE_AUPRC_P99 = Metric(
    key="image_auprc_p99",
    title="image AUPRC, p99",
    glossary=f"average precision of finding the images with a lesion, {_RULE}",
    counts="images",
    resampled="subjects",
    estimate=lambda of: Estimate.of(of.images_by_quantile.image_auprc, of.images_by_quantile.image_auprc_interval),
)
