"""Mean over subjects of their own AUPRC."""

import numpy as np

from adbench.metrics.estimate import Estimate
from adbench.metrics.evidence import Evidence
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.intervals import Bounded, resampled
from adbench.metrics.metric import Metric
from adbench.metrics.student import error_bound


def auprc_by_subject(of: Evidence) -> tuple[dict[str, float], float]:
    """Of each subject with a lesion, in the coarse bins, and how far these can move their mean."""
    subjects, values, away = _each(of.histogram)
    return dict(zip(subjects, values.tolist(), strict=True)), float(abs(away.mean(axis=1)).max()) if subjects else 0.0


def subject_auprc(hist: ScoreHistogram) -> tuple[Estimate, Bounded]:
    """The mean over subjects, and its interval with how far the bins can move either end."""
    _, values, away = _each(hist)
    mean, n = Estimate.of_mean(values.tolist()), values.size
    if mean.value is None or mean.low is None or mean.high is None:
        return mean, Bounded(None)
    error = float(values.std(ddof=1)) / n**0.5
    of_error = float(np.sqrt((away**2).max(axis=0).sum() / (n - 1) / n))  # a standard deviation moves no further
    of_value = float(abs(away.mean(axis=1)).max())
    bound = error_bound(mean.value, error, n, "fraction", of_value, of_error)
    return mean, Bounded((mean.low, mean.high), bound)


def _each(hist: ScoreHistogram) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Subjects with a lesion, the AUPRC of each, and (2, subjects) how far below and above it could be."""
    values, least, most = resampled(hist, np.eye(len(hist.subjects), dtype=np.int64))["auprc"]
    known = ~np.isnan(values)
    subjects = [subject for subject, has in zip(hist.subjects, known, strict=True) if has]
    return subjects, values[known], np.stack([least - values, most - values])[:, known]


SUBJECT_AUPRC = Metric(
    key="subject_auprc",
    title="subject AUPRC",
    glossary="mean over the subjects with lesions of their own average precision.",
    counts="subjects",
    resampled="subjects with lesions",
    estimate=lambda of: subject_auprc(of.histogram)[0],
    by_subject="auprc",
)
