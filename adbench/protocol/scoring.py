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

from adbench.config.options import Reporter
from adbench.contracts.detector import Detector
from adbench.contracts.splits import Split
from adbench.errors import ScoreError
from adbench.metrics.histogram import check_scores
from adbench.protocol.cell import Cell
from adbench.protocol.protocol import MeasurementProtocol
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


def measured_pixels(
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
    for (subject, lesion, valid), pixels in zip(measured_pixels(split, protocol), scores, strict=True):
        yield subject, pixels, lesion, valid
