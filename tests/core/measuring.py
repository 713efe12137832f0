"""Toy methods fitted and measured on toy images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import toys

from adbench.contracts.splits import Split
from adbench.protocol.measure import Measured, measure
from adbench.protocol.scoring import Scorer
from adbench.storage.store import ArtifactStore

H = W = 8


def scorer(tmp_path, method: str = "toy-brightness", *given: str, dataset: str = "toy", **splits: Split) -> Scorer:
    """A fitted method on the toy data, or on other splits."""
    cell = toys.cell(tmp_path, method, *given, dataset=dataset)
    if splits:
        cell = replace(cell, data=replace(cell.data, splits=replace(cell.data.splits, **splits)))
    store = ArtifactStore(tmp_path / "store")
    diary = toys.Diary()
    detector = cell.detector(store, diary)
    detector.fit(*cell.data.healthy())
    return Scorer(cell, detector, store, diary)


def measured(work: Scorer) -> Measured:
    return measure(work, work.cell.data.reference, work.cell.data.splits.test, work.cell.protocol)


def checkerboard() -> tuple[np.ndarray, np.ndarray]:
    """Four dark images of which the lower half is bright; the lesion is its left quarter."""
    images = np.full((4, 1, H, W), 0.25, np.float32)
    images[:, :, H // 2 :] = 0.75
    images += np.arange(4, dtype=np.float32)[:, None, None, None] / 100  # no two alike
    lesions = np.zeros(images.shape, bool)
    lesions[:, :, H // 2 :, : W // 2] = True
    return images, lesions
