"""From a fitted detector and a dataset to metrics: score in batches, keep what is scored, measure.

Every scored batch goes to the artifact store, so that a run that is cut off goes on at its next batch. Maps are read
back from there whenever they are needed, a batch at a time: memory does not grow with the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from adbench.contracts.dataset import Split
from adbench.contracts.detector import Detector
from adbench.errors import ScoreError
from adbench.metrics.estimate import Estimate, StratumRecord
from adbench.metrics.histogram import ScoreHistogram, check_scores
from adbench.metrics.images import image_metrics
from adbench.metrics.intervals import bootstrap
from adbench.metrics.lesions import LesionsBySize
from adbench.metrics.pixels import DiceAt, pixel_metrics, quantile
from adbench.protocol.cells import Cell, MeasurementProtocol, Reporter
from adbench.results.record import MetricsRecord
from adbench.storage.store import ArtifactStore, PartSpec

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ScoreMaps:
    """The score maps of a split, one batch in memory at a time."""

    batches: list[slice]
    read: Callable[[slice], Floats]

    def __iter__(self) -> Iterator[Floats]:
        """Yield (1, H, W) scores of each image in order, from the store."""
        for batch in self.batches:
            yield from self.read(batch)


@dataclass
class Scorer:
    """Scores splits batch by batch through the artifact store."""

    cell: Cell
    detector: Detector[object]  # type: ignore[type-var]  # any config
    store: ArtifactStore
    reporter: Reporter
    kept: list[PartSpec] = field(default_factory=list)
    """Filled with the scored batches that the store keeps until the record is written."""

    def maps(self, split: Split, name: str) -> ScoreMaps:
        """Score all images of a split. Raises ScoreError where a map has the wrong shape, NaN or infinity."""
        what = f"{name} maps"
        for _ in self._score(split, what):
            pass
        return ScoreMaps(self._batches(split), lambda batch: self._batch(split, what, batch))

    def images(self, split: Split, name: str) -> Floats:
        """Image-level scores (N,) of a split. Raises ScoreError as `maps` does."""
        scores = np.empty(len(split), np.float32)  # filled in place: kept results of batches would fragment the heap
        for batch, found in zip(self._batches(split), self._score(split, f"{name} image scores"), strict=True):
            scores[batch] = found
        return scores

    def _batches(self, split: Split) -> list[slice]:
        size, n = self.cell.protocol.batch_size, len(split)
        return [slice(start, min(start + size, n)) for start in range(0, n, size)]

    def _score(self, split: Split, what: str) -> Iterator[Floats]:
        """Yield the scores of each batch, and say how far it is."""
        batches = self._batches(split)
        self.reporter.progress(f"{self.cell.method}: {what}", 0, len(batches))
        for i, batch in enumerate(batches):
            self.kept.append(self._spec(split, what, batch))
            yield self._batch(split, what, batch)
            self.reporter.progress(f"{self.cell.method}: {what}", i + 1, len(batches))

    def _spec(self, split: Split, what: str, batch: slice) -> PartSpec:
        config = {"cell": self.cell.scores_hash, "what": what, "start": batch.start, "stop": batch.stop}
        parents = dict(self.detector.artifacts())
        return PartSpec("scores", 1, config, split.image_fingerprint, self.cell.options.seed, parents)

    def _batch(self, split: Split, what: str, batch: slice) -> Floats:
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

        return self.store.get(self._spec(split, what, batch), make)["scores"].numpy()


def _as_array(scores: object, method: str) -> Floats:
    if not isinstance(scores, torch.Tensor):
        raise ScoreError(f"Scores must be a torch tensor, but {method} returned {type(scores).__name__}.")
    return np.asarray(scores.detach().float().cpu().numpy())


def _regions(
    split: Split, protocol: MeasurementProtocol
) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_] | None]]:
    """Yield (subject, lesion, valid) of every image; valid is None where all pixels count."""
    for i in range(len(split)):
        sample = split[i]
        valid = sample.brain if protocol.region == "brain" else None
        if sample.ignore is not None:
            valid = ~sample.ignore if valid is None else valid & ~sample.ignore
        yield sample.subject, sample.lesion, valid


def scored_pixels(
    split: Split, scores: ScoreMaps, protocol: MeasurementProtocol
) -> Iterator[tuple[str, Floats, NDArray[np.bool_], NDArray[np.bool_] | None]]:
    """Yield (subject, scores, lesion, valid) of every image."""
    for (subject, lesion, valid), pixels in zip(_regions(split, protocol), scores, strict=True):
        yield subject, pixels, lesion, valid


def prevalence(test: Split, protocol: MeasurementProtocol) -> float | None:
    """Lesion pixels as a fraction of all pixels that count; None where none counts."""
    positives = total = 0
    for _, lesion, valid in _regions(test.pixel_level(), protocol):
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
    return _subject_mean(dice, protocol.resamples), by_size.strata(protocol.resamples)


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
