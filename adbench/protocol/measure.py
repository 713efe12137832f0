"""From the scores of a fitted detector to metrics with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from adbench.contracts.splits import Split
from adbench.metrics.catalogue import METRICS
from adbench.metrics.catalogue.at_points import at_resampled_threshold
from adbench.metrics.catalogue.subject_auprc import auprc_by_subject, subject_auprc
from adbench.metrics.estimate import Estimate
from adbench.metrics.evidence import Evidence
from adbench.metrics.flagged import Counts, FlaggedCounts
from adbench.metrics.intervals import Bounded
from adbench.metrics.points import FROC_RATES, POINTS, OperatingPoint
from adbench.metrics.resampled_thresholds import RESAMPLED
from adbench.metrics.strata import strata
from adbench.protocol.halves import evenly
from adbench.protocol.pictured import picture
from adbench.protocol.protocol import MeasurementProtocol
from adbench.protocol.scoring import Scorer, measured_pixels, scored_pixels
from adbench.protocol.subjects import subject_rows
from adbench.protocol.volumes import judged_scans
from adbench.results.pictures import Picture
from adbench.results.record import FrocPoint, MeasurementRecord, PointRecord, ScansRecord


class Measured(NamedTuple):
    """What a record says of a cell's quality."""

    metrics: dict[str, Estimate]
    """By key, in the order of `METRICS`."""
    measurement: MeasurementRecord
    evidence: Evidence
    subjects: pd.DataFrame
    """One row a subject (`adbench.protocol.subjects`)."""
    picture: Picture | None
    """Of a few test slices; None where no lesion counts."""


def prevalence(test: Split, protocol: MeasurementProtocol) -> float | None:
    """Lesion pixels as a fraction of all pixels that count; None where none counts."""
    positives = total = 0
    for _, lesion, valid in measured_pixels(test.pixel_level(), protocol):
        positives += int(np.count_nonzero(lesion if valid is None else lesion & valid))
        total += lesion.size if valid is None else int(np.count_nonzero(valid))
    return positives / total if total else None


def measure(scorer: Scorer, reference: Split, test: Split, protocol: MeasurementProtocol) -> Measured:
    """Score healthy reference images and test images and return all metrics with intervals, and what they stand on."""
    reference = evenly(reference, protocol.reference_images)
    healthy, scores = scorer.maps(reference, "healthy reference"), scorer.maps(test, "test")
    assert test.lesions is not None  # Splits.check
    only_images = test.image_level_only
    clean = np.array([not lesion.any() for lesion in test.lesions])
    seen = [lesion if valid is None else lesion & valid for _, lesion, valid in measured_pixels(test, protocol)]
    lesion_px = np.array([np.count_nonzero(lesion) for lesion in seen])
    anomalous = lesion_px > 0
    evidence = Evidence(
        images=lambda: scored_pixels(test, scores, protocol),
        pixel_level=np.ones(len(test), bool) if only_images is None else ~only_images,
        healthy=lambda: scored_pixels(reference, healthy, protocol),
        image_scores=scorer.images(test, "test"),
        anomalous=anomalous,
        image_level=anomalous | clean,
        subjects=list(test.subjects),
        resamples=protocol.resamples,
    )
    metrics = {metric.key: metric.estimate(evidence) for metric in METRICS.values()}
    judged = judged_scans(scorer, (reference, healthy), (test, scores), protocol)
    scans = None if judged is None else judged.record
    subjects = subject_rows(evidence, None if judged is None else judged.subjects)
    measurement = _measurement(evidence, reference, protocol, scans)
    counted_px = np.where(evidence.pixel_level, lesion_px, 0)
    shown = picture(test, scores, counted_px, auprc_by_subject(evidence)[0], protocol)
    return Measured(metrics, measurement, evidence, subjects, shown)


def _measurement(
    of: Evidence, reference: Split, protocol: MeasurementProtocol, scans: ScansRecord | None
) -> MeasurementRecord:
    return MeasurementRecord(
        best_threshold=of.pixels.best_threshold,
        error_bound={
            "auprc": of.pixels.auprc_error_bound or 0.0,
            "auroc": of.pixels.auroc_error_bound or 0.0,
            "subject_auprc": auprc_by_subject(of)[1],
        },
        interval_error_bound={key: bounded.error_bound for key, bounded in _bounded(of).items()},
        images_left_out=int(np.count_nonzero(~of.image_level)),
        reference_images=len(reference),
        reference_subjects=len(set(reference.subjects)),
        points=[_point(of, point) for point in POINTS],
        froc=[_froc(of, rate) for rate in FROC_RATES],
        bootstrap_resamples=protocol.resamples,
        strata=strata(of),
        scans=scans,
    )


def _bounded(of: Evidence) -> dict[str, Bounded]:
    """Intervals of all that is read from binned scores."""
    bounded = {**of.pixel_intervals, "subject_auprc": subject_auprc(of.histogram)[1]}
    for point in POINTS:
        if not point.missing(of.thresholds[point.rate]):
            bounded |= {f"{key}_{point.key}": at_resampled_threshold(of, key, point.rate)[1] for key in RESAMPLED}
    return bounded


def _point(of: Evidence, point: OperatingPoint) -> PointRecord:
    threshold, k = of.thresholds[point.rate], of.index(point.rate)
    rates = {name: _rate([at[k] for at in counts.values()]) for name, counts in _by_kind_of_slice(of.flagged).items()}
    return PointRecord(
        key=point.key,
        rate=point.rate,
        threshold=threshold.threshold,
        missing=point.missing(threshold),
        rate_met_on_reference=threshold.rate_met,
        reference_pixels_above=threshold.pixels_above,
        **rates,
    )


def _by_kind_of_slice(flagged: FlaggedCounts) -> dict[str, Mapping[str, Counts]]:
    patients = flagged.outside.keys()
    free = {subject: at for subject, at in flagged.clean.items() if subject not in patients}
    of_patients = {subject: at for subject, at in flagged.clean.items() if subject in patients}
    return {
        "rate_in_subjects_without_lesion": free,
        "rate_in_clean_slices_of_patients": of_patients,
        "rate_outside_lesions": flagged.outside,
    }


def _rate(counts: Sequence[Counts]) -> float | None:
    flagged, pixels = sum(counts, np.zeros(2, np.int64))
    return float(flagged / pixels) if pixels else None


def _froc(of: Evidence, rate: float) -> FrocPoint:
    k = of.index(rate)
    lesions, found = sum((at[k, :, :2].sum(0) for at in of.flagged.lesions.values()), np.zeros(2, np.int64))
    _, false, slices = sum((at[k] for at in of.flagged.components.values()), np.zeros(3, np.int64))
    return FrocPoint(
        rate=rate,
        threshold=of.thresholds[rate].threshold,
        lesion_recall=float(found / lesions) if lesions else None,
        false_components=float(false / slices),
    )
