"""⌈DICE⌉: the best Dice over all thresholds, exact."""

from adbench.metrics.estimate import Estimate
from adbench.metrics.metric import Metric

BEST_DICE = Metric(
    key="best_dice",
    title="⌈DICE⌉",
    glossary="best Dice over all thresholds. The threshold is chosen with the test labels, so this is an upper bound "
    "and no forecast of use in practice.",
    counts="pixels",
    resampled="subjects",
    estimate=lambda of: Estimate.of(of.pixels.best_dice, of.pixel_intervals["best_dice"].interval),
)
