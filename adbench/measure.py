"""From a fitted detector and a dataset to metrics: score in batches, keep what is scored, measure.

Every scored batch goes to the artifact store, so that a run that is cut off goes on at its next batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from adbench.artifacts import ArtifactStore, PartSpec
from adbench.cells import Cell, MeasurementProtocol, Reporter
from adbench.dataset import Split
from adbench.detector import Detector
from adbench.errors import ScoreError
from adbench.metrics import (
    DiceAt,
    ScoreHistogram,
    bootstrap,
    check_scores,
    image_metrics,
    pixel_metrics,
    quantile,
)
from adbench.record import Estimate, MetricsRecord

Floats = NDArray[np.float32]


@dataclass
class Scorer:
    """Scores splits batch by batch through the artifact store."""

    cell: Cell
    detector: Detector[object]  # type: ignore[type-var]  # any config
    store: ArtifactStore
    reporter: Reporter
    kept: list[PartSpec] = field(default_factory=list)
    """Filled with the scored batches that the store keeps until the record is written."""

    def maps(self, split: Split, name: str) -> Floats:
        """Score maps (N, 1, H, W) of a split. Raises ScoreError where one has the wrong shape, NaN or infinity."""
        return self._all(split, f"{name} maps", split.images.shape)

    def images(self, split: Split, name: str) -> Floats:
        """Image-level scores (N,) of a split. Raises ScoreError as `maps` does."""
        return self._all(split, f"{name} image scores", (len(split),))

    def _all(self, split: Split, what: str, shape: tuple[int, ...]) -> Floats:
        size = self.cell.protocol.batch_size
        starts = range(0, len(split), size)
        scores = np.empty(shape, np.float32)
        self.reporter.progress(f"{self.cell.method}: {what}", 0, len(starts))
        for i, start in enumerate(starts):
            batch = slice(start, min(start + size, len(split)))
            scores[batch] = self._batch(split, what, batch)
            self.reporter.progress(f"{self.cell.method}: {what}", i + 1, len(starts))
        return scores

    def _batch(self, split: Split, what: str, batch: slice) -> Floats:
        config = {"cell": self.cell.config_hash, "what": what, "start": batch.start, "stop": batch.stop}
        parents = dict(self.detector.artifacts())
        spec = PartSpec("scores", 1, config, split.image_fingerprint, self.cell.options.seed, parents)
        self.kept.append(spec)

        def make(checkpoint: object) -> dict[str, torch.Tensor]:
            images = torch.from_numpy(np.array(split.images[batch])).to(self.cell.device)
            verb = self.detector.score if what.endswith("maps") else self.detector.image_scores
            expected = images.shape if what.endswith("maps") else images.shape[:1]
            scores = _as_array(verb(images), self.cell.method)
            if what.endswith("image scores") and scores.shape != expected:
                raise ScoreError(
                    f"Image scores must have the shape {tuple(expected)}, one an image, got {scores.shape}."
                )
            return {"scores": torch.from_numpy(check_scores(scores, tuple(expected)))}

        return self.store.get(spec, make)["scores"].numpy()


def _as_array(scores: object, method: str) -> Floats:
    if not isinstance(scores, torch.Tensor):
        raise ScoreError(f"Scores must be a torch tensor, but {method} returned {type(scores).__name__}.")
    return np.asarray(scores.detach().float().cpu().numpy())


def _pixels(
    split: Split, scores: Floats, protocol: MeasurementProtocol
) -> Iterator[tuple[str, Floats, NDArray[np.bool_], NDArray[np.bool_] | None]]:
    """Yield (subject, scores, lesion, valid) of every image."""
    for i in range(len(split)):
        sample = split[i]
        valid = sample.brain if protocol.region == "brain" else None
        if sample.ignore is not None:
            valid = ~sample.ignore if valid is None else valid & ~sample.ignore
        yield sample.subject, scores[i], sample.lesion, valid


def prevalence(test: Split, protocol: MeasurementProtocol) -> float | None:
    """Lesion pixels as a fraction of all pixels that count."""
    histogram = ScoreHistogram()
    measured = test.pixel_level()
    for subject, pixels, lesion, valid in _pixels(measured, np.zeros(measured.images.shape, np.float32), protocol):
        histogram.add(subject, pixels, lesion, valid)
    return histogram.prevalence


def transferred_threshold(scorer: Scorer, validation: Split, protocol: MeasurementProtocol) -> tuple[float, int]:
    """The quantile of healthy validation pixel scores, and how many images were scored for it."""
    chosen = validation.take(slice(protocol.transferred_images))
    scores = scorer.maps(chosen, "validation")
    histogram = ScoreHistogram()
    for subject, pixels, lesion, valid in _pixels(chosen, scores, protocol):
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
    for subject, pixels, lesion, valid in _pixels(measured, scores, protocol):
        histogram.add(subject, pixels, lesion, valid)
        transferred.add(subject, pixels, lesion, valid)
    pixel = pixel_metrics(histogram, lambda: _pixels(measured, scores, protocol))
    intervals = bootstrap(histogram, protocol.resamples, point=pixel)
    return MetricsRecord(
        best_dice=_estimate(pixel.best_dice, intervals["best_dice"]),
        best_threshold=pixel.best_threshold,
        auprc=_estimate(pixel.auprc, intervals["auprc"]),
        auroc=_estimate(pixel.auroc, intervals["auroc"]),
        dice_transferred=_estimate(transferred.pooled, transferred.interval(protocol.resamples)),
        transferred_threshold=threshold,
        transferred_quantile=protocol.transferred_quantile,
        transferred_images=n_validation,
        subject_dice=_subject_dice(measured, scores, pixel.best_threshold, protocol),
        **_image_level(test, image_scores, protocol),
        binning_error_bound={"auprc": pixel.auprc_error_bound or 0.0, "auroc": pixel.auroc_error_bound or 0.0},
        bootstrap_resamples=protocol.resamples,
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


def _subject_dice(test: Split, scores: Floats, threshold: float | None, protocol: MeasurementProtocol) -> Estimate:
    """Mean over subjects with lesions of their Dice at `threshold`, resampled over those subjects."""
    if threshold is None:
        return Estimate(value=None)
    dice = DiceAt(threshold)
    for sample in _pixels(test, scores, protocol):
        dice.add(*sample)
    values = np.array(list(dice.by_subject.values()))
    if not len(values):
        return Estimate(value=None)
    drawn = np.random.default_rng(0).choice(values, (protocol.resamples, len(values))).mean(1)
    return _estimate(float(values.mean()), (float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))))


def _estimate(value: float | None, interval: tuple[float, float] | None) -> Estimate:
    low, high = interval or (None, None)
    return Estimate(value=value, low=low, high=high)
