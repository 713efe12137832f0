"""From a fitted detector to scores, batch by batch.

Every scored batch goes to the artifact store, so that a run that is cut off goes on at its next batch, and what is
measured in several ways, or in another way later, is scored once. Batches are read back whenever they are needed, one
at a time: memory does not grow with the number of images. `adbench cache prune` removes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from torch import Tensor

from adbench.config.options import Reporter
from adbench.contracts.detector import Detector
from adbench.contracts.splits import Split
from adbench.errors import ScoreError
from adbench.metrics.maps import check_scores
from adbench.protocol.cell import Cell
from adbench.protocol.halves import evenly
from adbench.protocol.protocol import MeasurementProtocol
from adbench.storage.spec import PartSpec
from adbench.storage.store import SCORES, ArtifactStore

Floats = NDArray[np.float32]
Score = Callable[[Tensor], Floats]
Make = Callable[[object], dict[str, Tensor]]


@dataclass(frozen=True)
class Batch:
    """Images that are scored together."""

    where: slice
    """In their split."""
    spec: PartSpec
    read: Callable[[], Floats]
    """Returns their scores, from the store where it has them."""


@dataclass(frozen=True)
class ScoreMaps:
    """The score maps of a split, one batch in memory at a time."""

    batches: Sequence[Batch]

    def __iter__(self) -> Iterator[Floats]:
        """Yield (1, H, W) scores of each image in order, from the store."""
        for batch in self.batches:
            yield from batch.read()

    def at(self, places: Sequence[int]) -> Floats:
        """The maps (n, 1, H, W) of these images alone, whose places ascend."""
        inside = [[i - b.where.start for i in places if b.where.start <= i < b.where.stop] for b in self.batches]
        return np.concatenate([batch.read()[own] for batch, own in zip(self.batches, inside, strict=True) if own])


@dataclass
class Scorer:
    """Scores splits batch by batch through the artifact store."""

    cell: Cell
    detector: Detector[object]  # type: ignore[type-var]  # any config
    store: ArtifactStore
    reporter: Reporter
    wait: Callable[[PartSpec], object] = lambda spec: None
    """Called before a batch is read: returns when nobody else is to score it."""

    def batches(self) -> list[Batch]:
        """All that the cell measures, in the order in which it does."""
        data, protocol = self.cell.data, self.cell.protocol
        reference, test = evenly(data.reference, protocol.reference_images), data.splits.test
        return [*self._of_maps(reference), *self._of_maps(test), *self._of_images(test)]

    def maps(self, split: Split, name: str) -> ScoreMaps:
        """Score all images of a split. Raises ScoreError where a map has the wrong shape, NaN or infinity."""
        batches = self._of_maps(split)
        for _ in self._scored(batches, f"{name} maps"):
            pass
        if self.cell.protocol.postprocess == "median":
            batches = [self._median(split, batch) for batch in batches]
        return ScoreMaps(batches)

    def _median(self, split: Split, batch: Batch) -> Batch:
        """A batch whose maps are replaced by their medians, which are kept like the maps themselves."""
        size = self.cell.protocol.median_px
        config = {"what": "median", "px": size, "of": batch.spec.key}
        spec = PartSpec(SCORES, 2, config, batch.spec.data, self.cell.options.seed, {})

        def make(checkpoint: object) -> dict[str, Tensor]:
            return {"scores": torch.from_numpy(median_of(batch.read(), size))}

        return self._kept(batch.where, spec, make, split.images[batch.where].shape)

    def images(self, split: Split, name: str) -> Floats:
        """Image-level scores (N,) of a split. Raises ScoreError as `maps` does."""
        scores = np.empty(len(split), np.float32)  # filled in place: kept results of batches would fragment the heap
        batches = self._of_images(split)
        for batch, values in zip(batches, self._scored(batches, f"{name} image scores"), strict=True):
            scores[batch.where] = values
        return scores

    def _of_maps(self, split: Split) -> list[Batch]:
        return self._batches(split, "maps", partial(map_scores, self.detector, method=self.cell.method), 4)

    def _of_images(self, split: Split) -> list[Batch]:
        return self._batches(split, "image scores", partial(image_scores, self.detector, method=self.cell.method), 1)

    def _batches(self, split: Split, what: str, score: Score, dimensions: int) -> list[Batch]:
        """Cut a split; scores have as many of the dimensions of images."""
        size, n = self.cell.protocol.batch_size, len(split)
        places = [slice(start, min(start + size, n)) for start in range(0, n, size)]
        return [self._batch(split, place, what, score, dimensions) for place in places]

    def _batch(self, split: Split, where: slice, what: str, score: Score, dimensions: int) -> Batch:
        """A batch is known by its images and by what decides their scores, wherever in a split it stands."""
        config = {"cell": self.cell.scores_hash, "what": what}
        parents, data = dict(self.detector.artifacts()), split.take(where).image_fingerprint
        spec = PartSpec(SCORES, 2, config, data, self.cell.options.seed, parents)

        def make(checkpoint: object) -> dict[str, Tensor]:
            images = torch.from_numpy(np.array(split.images[where])).to(self.cell.device)
            return {"scores": torch.from_numpy(score(images))}

        return self._kept(where, spec, make, split.images[where].shape[:dimensions])

    def _kept(self, where: slice, spec: PartSpec, make: Make, shape: Sequence[int]) -> Batch:
        """A batch whose scores are in the store, or made when they are read; of this shape they must be."""
        self.store.hold(spec)
        return Batch(where, spec, lambda: self.store.get(spec, make, {"scores": shape})["scores"].numpy())

    def _scored(self, batches: Sequence[Batch], what: str) -> Iterator[Floats]:
        """Yield the scores of each batch, and say how far it is."""
        self.reporter.progress(f"{self.cell.method}: {what}", 0, len(batches))
        for i, batch in enumerate(batches):
            self.wait(batch.spec)
            yield batch.read()
            self.reporter.progress(f"{self.cell.method}: {what}", i + 1, len(batches))


def image_scores(detector: Detector[object], images: Tensor, method: str) -> Floats:  # type: ignore[type-var]
    """The method's own score (B,) of images that are scored together, on its device. Raises ScoreError."""
    scores, expected = _as_array(detector.image_scores(images), method), tuple(images.shape[:1])
    if scores.shape != expected:
        raise ScoreError(f"Image scores must have the shape {expected}, one an image, got {scores.shape}.")
    return check_scores(scores, expected)


def map_scores(detector: Detector[object], images: Tensor, method: str) -> Floats:  # type: ignore[type-var]
    """Score maps (B, 1, H, W) of images that are scored together, on the detector's device. Raises ScoreError."""
    return check_scores(_as_array(detector.score(images), method), tuple(images.shape))


def median_of(maps: Floats, size: int) -> Floats:
    """Each of the maps (B, 1, H, W) replaced by its medians in a window of `size` pixels, edges replicated."""
    return np.asarray(median_filter(maps, (1, 1, size, size), mode="nearest"))


def _as_array(scores: object, method: str) -> Floats:
    if not isinstance(scores, Tensor):
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
