"""A trained detector as a stranger would write it: its config, its network, its loss and its score."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from adbench.contracts.detector import DetectorInfo
from adbench.training.config import TrainingConfig
from adbench.training.detector import TrainedDetector
from adbench.training.part import TrainedPart


class LearnedMeanConfig(TrainingConfig):
    steps: int = Field(100, ge=1)
    learning_rate: float = Field(0.05, gt=0)
    noise: float = Field(0.1, ge=0, description="spread of the noise on training images")


class MeanImage(nn.Module):
    """One image, whatever is given."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.image = nn.Parameter(torch.rand(1, 1, *size))


class LearnedMean(TrainedDetector[LearnedMeanConfig]):
    """Distance to the mean healthy image, which is learned from noisy ones."""

    Config = LearnedMeanConfig
    info = DetectorInfo("distance to a learned mean", "control", "1")
    family = "control"

    def parts(self) -> dict[str, TrainedPart]:
        part = TrainedPart(kind="toy-mean", version=1, config=self.config, network=MeanImage, loss=self.loss)
        return {"mean": part}

    def loss(self, net: MeanImage, images: Tensor, generator: torch.Generator) -> Tensor:
        noise = self.config.noise * torch.randn(images.shape, generator=generator).to(images.device)
        return (images + noise - net.image).square().mean()

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        return (images - self.trained["mean"].image).abs()
