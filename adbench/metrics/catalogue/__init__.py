"""The list of all metrics, in the order of the columns. A metric is a file below and an entry here."""

from __future__ import annotations

from adbench.metrics.catalogue.auprc import AUPRC
from adbench.metrics.catalogue.auroc import AUROC
from adbench.metrics.catalogue.best_dice import BEST_DICE
from adbench.metrics.catalogue.dice_transferred import DICE_TRANSFERRED
from adbench.metrics.catalogue.image_auprc import IMAGE_AUPRC
from adbench.metrics.catalogue.image_auroc import IMAGE_AUROC
from adbench.metrics.catalogue.subject_dice import SUBJECT_DICE
from adbench.metrics.metric import Metric

METRICS: dict[str, Metric] = {
    metric.key: metric for metric in (BEST_DICE, DICE_TRANSFERRED, SUBJECT_DICE, AUPRC, AUROC, IMAGE_AUROC, IMAGE_AUPRC)
}
