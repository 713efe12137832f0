"""Controls that need no training: they show what a score means."""

from __future__ import annotations

import torch
from torch import Tensor

from adbench.detector import Detector, DetectorConfig, DetectorInfo, Images


class Intensity(Detector[DetectorConfig]):
    """The image itself: bright is anomalous (Meissen et al. 2021 show how strong this is on FLAIR)."""

    info = DetectorInfo("raw intensity", "control; Meissen et al. 2021", "1")

    def fit(self, healthy: Images, validation: Images) -> None:
        """Nothing to train."""

    def score(self, images: Tensor) -> Tensor:
        with self.stage("post"):
            return images.clone()


class Random(Detector[DetectorConfig]):
    """One map of uniform noise, the same for every image: its AUPRC is the prevalence."""

    info = DetectorInfo("uniform noise", "control", "1")

    def fit(self, healthy: Images, validation: Images) -> None:
        """Nothing to train."""

    def score(self, images: Tensor) -> Tensor:
        with self.stage("post"):
            generator = torch.Generator().manual_seed(self.runtime.seed)
            noise = torch.rand(1, *images.shape[1:], generator=generator).to(images.device)
            return noise.expand_as(images).clone()

    def image_scores(self, images: Tensor) -> Tensor:
        """Return one draw an image; it depends on the image's pixels, so that the batch does not matter."""
        keys = (images.double().flatten(1).sum(1) * 1e6).long().remainder(1 << 31).tolist()
        draws = [torch.rand(1, generator=torch.Generator().manual_seed(self.runtime.seed + k)) for k in keys]
        return torch.cat(draws).to(images.device)
