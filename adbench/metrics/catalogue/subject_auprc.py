"""Mean over subjects of their own AUPRC."""

import numpy as np

from adbench.metrics.estimate import Estimate
from adbench.metrics.evidence import Evidence
from adbench.metrics.intervals import resampled
from adbench.metrics.metric import Metric


def auprc_by_subject(of: Evidence) -> tuple[dict[str, float], float]:
    """Of each subject with a lesion, in the coarse bins, and how far these can move their mean."""
    subjects = of.histogram.subjects
    values, least, most = resampled(of.histogram, np.eye(len(subjects), dtype=np.int64))["auprc"]
    known = ~np.isnan(values)
    bound = max((values - least)[known].mean(), (most - values)[known].mean()) if known.any() else 0.0
    return {subject: float(value) for subject, value in zip(subjects, values, strict=True) if value == value}, float(
        bound
    )


SUBJECT_AUPRC = Metric(
    key="subject_auprc",
    title="subject AUPRC",
    glossary="mean over the subjects with lesions of their own average precision.",
    counts="subjects",
    resampled="subjects with lesions",
    estimate=lambda of: Estimate.of_mean(list(auprc_by_subject(of)[0].values())),
    by_subject="auprc",
)
