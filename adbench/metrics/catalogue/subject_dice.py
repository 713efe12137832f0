"""Mean over subjects of their Dice at the threshold of ⌈DICE⌉."""

import numpy as np

from adbench.metrics.estimate import Estimate
from adbench.metrics.evidence import Evidence
from adbench.metrics.metric import Metric


def _estimate(of: Evidence) -> Estimate:
    """Of the subjects with lesions, which are resampled too; one alone has no interval."""
    values = np.array(list(of.dice_best.by_subject.values()))
    if len(values) < 2:
        return Estimate(value=float(values[0]) if len(values) else None)
    drawn = np.random.default_rng(0).choice(values, (of.resamples, len(values))).mean(1)
    return Estimate.of(float(values.mean()), (float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))))


SUBJECT_DICE = Metric(
    key="subject_dice",
    title="subject Dice",
    glossary="mean over the subjects with lesions of the Dice at the threshold of ⌈DICE⌉.",
    counts="subjects",
    resampled="subjects with lesions",
    estimate=_estimate,
    headline=False,
)
