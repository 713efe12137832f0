"""The list of all metrics, in the order of the columns. A metric is a file below and an entry here."""

from __future__ import annotations

from adbench.metrics.catalogue.at_points import MEASURES
from adbench.metrics.catalogue.auprc import AUPRC
from adbench.metrics.catalogue.auroc import AUROC
from adbench.metrics.catalogue.best_dice import BEST_DICE
from adbench.metrics.catalogue.image_auprc import IMAGE_AUPRC
from adbench.metrics.catalogue.image_auroc import IMAGE_AUROC
from adbench.metrics.catalogue.image_quantile import IMAGE_AUPRC_P99, IMAGE_AUROC_P99
from adbench.metrics.catalogue.subject_auprc import SUBJECT_AUPRC
from adbench.metrics.metric import Metric
from adbench.metrics.points import POINTS

_WITHOUT_THRESHOLD = (
    *(BEST_DICE, AUPRC, SUBJECT_AUPRC, AUROC),
    *(IMAGE_AUROC, IMAGE_AUPRC, IMAGE_AUROC_P99, IMAGE_AUPRC_P99),
)
METRICS: dict[str, Metric] = {
    metric.key: metric for metric in (*_WITHOUT_THRESHOLD, *(each.at(point) for point in POINTS for each in MEASURES))
}
