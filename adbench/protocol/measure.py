"""From the scores of a fitted detector to metrics with intervals."""

from __future__ import annotations

import numpy as np

from adbench.contracts.splits import Split
from adbench.metrics.dice import DiceAt
from adbench.metrics.estimate import Estimate
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.images import image_metrics
from adbench.metrics.intervals import bootstrap
from adbench.metrics.lesions import LesionsBySize
from adbench.metrics.pixels import pixel_metrics, quantile
from adbench.protocol.protocol import MeasurementProtocol
from adbench.protocol.scoring import Floats, ScoreMaps, Scorer, measured_pixels, scored_pixels
from adbench.results.record import MetricsRecord, StratumRecord


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


def measure(scorer: Scorer, validation: Split, test: Split, protocol: MeasurementProtocol) -> MetricsRecord:
    """Score validation and test images and return all metrics with intervals."""
    threshold, n_validation = transferred_threshold(scorer, validation, protocol)
    measured = test.pixel_level()
    scores = scorer.maps(measured, "test")
    image_scores = scorer.images(test, "test")
    histogram = ScoreHistogram()
    transferred = DiceAt(threshold)
    for subject, pixels, lesion, valid in scored_pixels(measured, scores, protocol):
        histogram.add(subject, pixels, lesion, valid)
        transferred.add(subject, pixels, lesion, valid)
    pixel = pixel_metrics(histogram, lambda: scored_pixels(measured, scores, protocol))
    intervals = bootstrap(histogram, protocol.resamples, point=pixel)
    subject_dice, strata = _at_best_threshold(measured, scores, pixel.best_threshold, threshold, protocol)
    return MetricsRecord(
        best_dice=_estimate(pixel.best_dice, intervals["best_dice"]),
        best_threshold=pixel.best_threshold,
        auprc=_estimate(pixel.auprc, intervals["auprc"]),
        auroc=_estimate(pixel.auroc, intervals["auroc"]),
        dice_transferred=_estimate(transferred.pooled, transferred.interval(protocol.resamples)),
        transferred_threshold=threshold,
        transferred_quantile=protocol.transferred_quantile,
        transferred_images=n_validation,
        subject_dice=subject_dice,
        **_image_level(test, image_scores, protocol),
        binning_error_bound={"auprc": pixel.auprc_error_bound or 0.0, "auroc": pixel.auroc_error_bound or 0.0},
        bootstrap_resamples=protocol.resamples,
        strata=strata,
    )


def _image_level(test: Split, scores: Floats, protocol: MeasurementProtocol) -> dict[str, Estimate]:
    """An image is anomalous where it has a lesion pixel; undefined where all are, or none is."""
    assert test.lesions is not None  # Splits.check
    anomalous = np.array([bool(lesion.any()) for lesion in test.lesions])
    found = image_metrics(scores, anomalous, protocol.resamples, subjects=list(test.subjects))
    return {
        "image_auroc": _estimate(found.image_auroc, found.image_auroc_interval),
        "image_auprc": _estimate(found.image_auprc, found.image_auprc_interval),
    }


def _at_best_threshold(
    test: Split, scores: ScoreMaps, best: float | None, transferred: float, protocol: MeasurementProtocol
) -> tuple[Estimate, list[StratumRecord]]:
    """What is counted at the threshold of ⌈DICE⌉: Dice by subject, and lesions by size; nothing without a lesion."""
    if best is None:
        return Estimate(value=None), []
    dice, by_size = DiceAt(best), LesionsBySize((best, transferred))
    for sample in scored_pixels(test, scores, protocol):
        dice.add(*sample)
        by_size.add(*sample)
    return _subject_mean(dice, protocol.resamples), [
        StratumRecord(**vars(each)) for each in by_size.strata(protocol.resamples)
    ]


def _subject_mean(dice: DiceAt, resamples: int) -> Estimate:
    """Mean over subjects with lesions of their Dice, resampled over those subjects."""
    values = np.array(list(dice.by_subject.values()))
    if len(values) < 2:
        return Estimate(value=float(values[0]) if len(values) else None)
    drawn = np.random.default_rng(0).choice(values, (resamples, len(values))).mean(1)
    return _estimate(float(values.mean()), (float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))))


def _estimate(value: float | None, interval: tuple[float, float] | None) -> Estimate:
    low, high = interval or (None, None)
    return Estimate(value=value, low=low, high=high)
