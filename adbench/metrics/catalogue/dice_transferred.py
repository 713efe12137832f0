"""Dice at a threshold that healthy validation images alone decide."""

from adbench.metrics.estimate import Estimate
from adbench.metrics.evidence import Evidence
from adbench.metrics.metric import Metric


def _estimate(of: Evidence) -> Estimate:
    return Estimate.of(of.dice_transferred.pooled, of.dice_transferred.interval(of.resamples))


DICE_TRANSFERRED = Metric(
    key="dice_transferred",
    title="Dice transferred",
    glossary="Dice at a threshold that was fixed beforehand, as a quantile of the scores of healthy validation images. "
    "No label is used; this is what a user would get.",
    counts="pixels",
    resampled="subjects",
    estimate=_estimate,
)
