"""From the scores of a fitted detector to metrics with intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from adbench.contracts.splits import Split
from adbench.metrics.catalogue import METRICS
from adbench.metrics.estimate import Estimate
from adbench.metrics.evidence import Evidence
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.pixels import quantile
from adbench.protocol.protocol import MeasurementProtocol
from adbench.protocol.scoring import Scorer, measured_pixels, scored_pixels
from adbench.protocol.volumes import judged_scans
from adbench.results.record import MeasurementRecord


class Measured(NamedTuple):
    """What a record says of a cell's quality."""

    metrics: dict[str, Estimate]
    """By key, in the order of `METRICS`."""
    measurement: MeasurementRecord
    subjects: pd.DataFrame | None
    """One row a subject, of scan sets (`adbench.protocol.volumes.judge`)."""


def prevalence(test: Split, protocol: MeasurementProtocol) -> float | None:
    """Lesion pixels as a fraction of all pixels that count; None where none counts."""
    positives = total = 0
    for _, lesion, valid in measured_pixels(test.pixel_level(), protocol):
        positives += int(np.count_nonzero(lesion if valid is None else lesion & valid))
        total += lesion.size if valid is None else int(np.count_nonzero(valid))
    return positives / total if total else None


def transferred_threshold(scorer: Scorer, validation: Split, protocol: MeasurementProtocol) -> tuple[float, int]:
    """The quantile of healthy validation pixel scores, and how many images were scored for it."""
    chosen = validation.take(slice(protocol.transferred_images))
    scores = scorer.maps(chosen, "validation")
    histogram = ScoreHistogram()
    for subject, pixels, lesion, valid in scored_pixels(chosen, scores, protocol):
        histogram.add(subject, pixels, lesion, valid)
    return quantile(histogram, protocol.transferred_quantile), len(chosen)


def measure(scorer: Scorer, validation: Split, test: Split, protocol: MeasurementProtocol) -> Measured:
    """Score validation and test images and return all metrics with intervals, and what they stand on."""
    threshold, n_validation = transferred_threshold(scorer, validation, protocol)
    measured = test.pixel_level()
    scores = scorer.maps(measured, "test")
    assert test.lesions is not None  # Splits.check
    evidence = Evidence(
        maps=lambda: scored_pixels(measured, scores, protocol),
        transferred_threshold=threshold,
        image_scores=scorer.images(test, "test"),
        anomalous=np.array([bool(lesion.any()) for lesion in test.lesions]),
        image_subjects=list(test.subjects),
        resamples=protocol.resamples,
    )
    metrics = {metric.key: metric.estimate(evidence) for metric in METRICS.values()}
    pixels = evidence.pixels
    judged = judged_scans(scorer, validation.take(slice(protocol.transferred_images)), measured, protocol)
    measurement = MeasurementRecord(
        best_threshold=pixels.best_threshold,
        transferred_threshold=threshold,
        transferred_quantile=protocol.transferred_quantile,
        transferred_images=n_validation,
        binning_error_bound={"auprc": pixels.auprc_error_bound or 0.0, "auroc": pixels.auroc_error_bound or 0.0},
        bootstrap_resamples=protocol.resamples,
        strata=evidence.strata,
        volumes=judged.volumes if judged else [],
        perfect_dice=judged.perfect_dice if judged else None,
    )
    return Measured(metrics, measurement, judged.subjects if judged else None)
