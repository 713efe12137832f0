"""Noisy grey images; a test image holds a bright disc."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from adbench.contracts.dataset import Dataset, DatasetConfig, DatasetInfo
from adbench.contracts.splits import Split, Splits, content_hash


class DiscsConfig(DatasetConfig):
    size: int = Field(32, ge=16, description="side in pixels")
    n_train: int = Field(60, ge=1)


class Discs(Dataset[DiscsConfig]):
    """Made on the spot; every image is of its own subject."""

    Config = DiscsConfig
    info = DatasetInfo(
        summary="grey noise with bright discs",
        licence="CC0",
        citation="none",
        modality="synthetic",
        access="none needed",
        version="1",
        spacing_mm=1.0,
    )
    presets = {"smoke": {"n_train": 20}}

    def load(self) -> Splits:
        """Draw the images."""
        return Splits(
            train=self._split("train", self.config.n_train, 1),
            validation=self._split("validation", 12, 2),
            test=self._split("test", 8, 3, sick=True),
        )

    def _split(self, name: str, n: int, seed: int, sick: bool = False) -> Split:
        rng, size = np.random.default_rng(seed), self.config.size
        healthy = rng.uniform(0.3, 0.5, (n, 1, size, size)).astype(np.float32)
        images, lesions = healthy.copy(), np.zeros(healthy.shape, bool)
        rows, columns = np.mgrid[:size, :size]
        for i in range(n if sick else 0):
            y, x = rng.uniform(size / 4, 3 * size / 4, 2)
            lesions[i, 0] = (rows - y) ** 2 + (columns - x) ** 2 < (size / 8) ** 2
            images[i][lesions[i]] = 0.9
        return Split(
            images=images,
            subjects=[f"{name}-{i}" for i in range(n)],
            hashes=[content_hash(image) for image in healthy],
            lesions=lesions if sick else None,
        )
