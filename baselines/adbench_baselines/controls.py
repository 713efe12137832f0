"""Controls that train no network: they show what a score means.

| class                | score                          | symbols                                        |
|----------------------|--------------------------------|------------------------------------------------|
| `Intensity`          | x                              |                                                |
| `IntensityEqualised` | F(x) on the foreground, else 0 | F: share of foreground pixels that are <= x    |
| `HealthyMean`        | |x - mu|                       | mu: mean of the healthy images, pixel by pixel |
| `HealthyZScore`      | |x - mu| / (sigma + floor)     | sigma: their standard deviation                |
| `Random`             | u                              | u: uniform noise                               |

Intensity after histogram equalisation is the baseline of Meissen, Kaissis and Rueckert 2021, Challenging Current
Semi-Supervised Anomaly Segmentation Methods for Brain MRI.
Differs from the paper: the foreground is found in the image, since a detector sees no brain mask; F has a step for
each value and not 256 bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from adbench.contracts.detector import Detector, DetectorConfig, DetectorInfo, Images
from adbench.contracts.search import Real, SearchSpace
from adbench_baselines.images.moments import moments

LEVELS = 256
"""Grey levels that the background's is the most frequent of: those of an 8-bit image."""


class Intensity(Detector[DetectorConfig]):
    """The image itself: bright is anomalous (Meissen et al. 2021 show how strong this is on FLAIR)."""

    info = DetectorInfo("raw intensity", "control; Meissen et al. 2021", "1")
    family = "control"

    def fit(self, healthy: Images, validation: Images) -> None:
        """Nothing to train."""

    def score(self, images: Tensor) -> Tensor:
        with self.stage("post"):
            return images.clone()


class EqualisedConfig(DetectorConfig):
    background_margin: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="foreground is brighter by more than this than the image's most frequent grey level, which is 0 in "
        "MRI and that of air in CT; wide enough for noise and JPEG artefacts",
    )


class IntensityEqualised(Detector[EqualisedConfig]):
    """Intensity after equalising the histogram of each image's foreground: the rank of a pixel in its own image.

    Its image score, the mean of the map, says no more than how large the foreground is.
    """

    Config = EqualisedConfig
    info = DetectorInfo("intensity, histogram-equalised image by image", "control; Meissen et al. 2021", "1")
    family = "control"
    search_space: ClassVar[SearchSpace] = SearchSpace(inference={"background_margin": Real(0.0, 0.2)})

    def fit(self, healthy: Images, validation: Images) -> None:
        """Nothing to train."""

    def score(self, images: Tensor) -> Tensor:
        with self.stage("post"):
            return equalise(images, images > background_level(images) + self.config.background_margin)


def background_level(images: Tensor) -> Tensor:
    """Return (B, 1, 1, 1), the most frequent of 256 grey levels of each image (B, 1, H, W); of several, the lowest."""
    levels = (images.clamp(0, 1) * (LEVELS - 1)).round().long().flatten(1)
    counts = torch.zeros(len(images), LEVELS, dtype=torch.long, device=images.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels))
    return (counts.argmax(1) / (LEVELS - 1))[:, None, None, None]


def equalise(images: Tensor, foreground: Tensor) -> Tensor:
    """Return F(x) = #{foreground pixels of the image <= x} / #{foreground pixels}, and 0 outside the foreground."""
    values = images.masked_fill(~foreground, -torch.inf).flatten(1)
    below = torch.searchsorted(values.sort(dim=1).values, values, right=True)  # equal values get one rank, the highest
    inside = foreground.flatten(1).sum(1, keepdim=True)
    ranks = (below - (values.shape[1] - inside)) / inside.clamp(min=1)  # -inf came first
    return ranks.to(images.dtype).reshape(images.shape)


class HealthyMean(Detector[DetectorConfig]):
    """|x - mu|: the distance to the mean healthy image, pixel by pixel."""

    info = DetectorInfo("distance to the mean healthy image", "control", "1")
    family = "control"
    mean: Tensor

    def fit(self, healthy: Images, validation: Images) -> None:
        """Take the mean over all healthy images."""
        mean, _ = moments(healthy, lambda batch: batch, "healthy mean", self.runtime.progress)
        self.mean = mean.to(self.runtime.device)

    def score(self, images: Tensor) -> Tensor:
        with self.stage("post"):
            return (images - self.mean).abs()

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.mean = state["mean"].to(self.runtime.device)


class ZScoreConfig(DetectorConfig):
    floor: float = Field(
        0.05,
        gt=0,
        description="added to sigma: where healthy images hardly vary, as in the background, noise would score highest",
    )


class HealthyZScore(Detector[ZScoreConfig]):
    """|x - mu| / (sigma + floor): how unusual a pixel's value is at its place."""

    Config = ZScoreConfig
    info = DetectorInfo("z-score to the healthy images, pixel by pixel", "control", "1")
    family = "control"
    search_space: ClassVar[SearchSpace] = SearchSpace(inference={"floor": Real(0.001, 0.5, log=True)})
    mean: Tensor
    std: Tensor

    def fit(self, healthy: Images, validation: Images) -> None:
        """Take mean and standard deviation over all healthy images."""
        mean, std = moments(healthy, lambda batch: batch, "healthy mean", self.runtime.progress)
        self.load_state({"mean": mean, "std": std})

    def score(self, images: Tensor) -> Tensor:
        with self.stage("post"):
            return (images - self.mean).abs() / (self.std + self.config.floor)

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "std": self.std}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.mean, self.std = (state[name].to(self.runtime.device) for name in ("mean", "std"))


class Random(Detector[DetectorConfig]):
    """Uniform noise, other for every image: its AUPRC is the prevalence."""

    info = DetectorInfo("uniform noise", "control", "2")
    family = "control"

    def fit(self, healthy: Images, validation: Images) -> None:
        """Nothing to train."""

    def score(self, images: Tensor) -> Tensor:
        with self.stage("post"):
            return torch.stack(self._draws(images, images.shape[1:])).to(images.device)

    def image_scores(self, images: Tensor) -> Tensor:
        """Return one draw an image."""
        return torch.cat(self._draws(images, (1,))).to(images.device)

    def _draws(self, images: Tensor, shape: Sequence[int]) -> list[Tensor]:
        """Uniform noise of an image each; it depends on the image's pixels, so that the batch does not matter."""
        keys = (images.double().flatten(1).sum(1) * 1e6).long().remainder(1 << 31).tolist()
        return [torch.rand(*shape, generator=torch.Generator().manual_seed(self.runtime.seed + k)) for k in keys]
