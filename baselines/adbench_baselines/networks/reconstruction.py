"""What the reconstruction methods share: one network that turns an image into a healthy one, and the residual to it.

    score = |x - x_hat|                                        (before a method's own post-processing)

Training goes through the artifact store. Batch-norm statistics are taken anew with the averaged weights, and a network
whose reconstructions do not depend on the image (posterior collapse, a dead decoder) is an error and no part.

| code     | papers                             |
|----------|------------------------------------|
| `images` | x                                  |
| `x_hat`  | reconstruction, healthy by training |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from adbench.contracts.detector import Images
from adbench.contracts.plan import Plan
from adbench.errors import ConfigError, TrainingError
from adbench.training.config import TrainingConfig
from adbench.training.curve import TRIVIAL_STEPS
from adbench.training.detector import TrainedDetector
from adbench.training.part import Draw, Part, Size, Source, TrainedPart
from adbench_baselines.images.augmentation import augmented

BATCH_NORM_BATCHES = 8
"""Batches of 256 training images that the final batch-norm statistics are taken over, at most."""
COLLAPSE = 0.01
"""Least spread of reconstructions over images, as a fraction of the spread of the images themselves."""


class ReconstructionConfig(TrainingConfig):
    """How the network is trained."""

    batch_size: int = Field(64, ge=2)
    augmentation: float = Field(0.5, ge=0, le=1, description="probability of a small affine change an image")


class ReconstructionNet(nn.Module, ABC):
    """x -> x_hat, both (B, 1, H, W); `forward` is free of noise and dropout, in training mode too."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return x_hat float32."""

    @abstractmethod
    def losses(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the scalar loss of a batch, all noise drawn from `generator`."""


ConfigT = TypeVar("ConfigT", bound=ReconstructionConfig)


class Reconstruction(TrainedDetector[ConfigT]):
    """Base of detectors that score the residual to the reconstruction by one network."""

    kind: ClassVar[str]
    """Name of the trained part and of its streams of random numbers."""
    part_version: ClassVar[int] = 1
    """Raise it when the same configuration would train another network."""
    inference_only: ClassVar[frozenset[str]] = frozenset()
    """Fields that do not change the trained network."""

    @abstractmethod
    def network(self, size: Size) -> ReconstructionNet:
        """Return the network for images of a size, with fresh weights."""

    @property
    @abstractmethod
    def factor(self) -> int:
        """Image side over the side of the smallest feature map."""

    def prepare(self, net: Any, healthy: Images) -> None:
        """Set what the network takes from the training images before it is trained; by default nothing."""

    def post(self, images: Tensor, x_hat: Tensor) -> Tensor:
        """Return the score map (B, 1, H, W) of images and their reconstructions."""
        return (images - x_hat).abs()

    def parts(self) -> Mapping[str, Part]:
        part = TrainedPart(
            kind=self.kind,
            version=self.part_version,
            config=self.config,
            exclude=self.inference_only,
            network=self.network,
            loss=lambda net, images, generator: net.losses(images, generator),
            batches=self._batches,
            finish=self._finish,
            check=self._check_size,
        )
        return {self.kind: part}

    @property
    def net(self) -> Any:
        """The trained network."""
        return self.trained[self.kind]

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return the residual's map, (B, 1, H, W) float32."""
        with self.stage("reconstruct", passes=1):
            x_hat = self.net(images)
        with self.stage("post"):
            return self.post(images, x_hat)

    def plan(self, healthy: Images, validation: Images) -> Plan:
        shared = super().plan(healthy, validation)
        (part,) = self.parts().values()

        def forward(batch_size: int) -> Any:
            net = part.fresh(self.size, self.runtime).eval().requires_grad_(False)
            batch = torch.rand(batch_size, 1, *self.size, device=self.runtime.device)
            return lambda: net(batch)

        return replace(shared, passes={"reconstruct": 1}, image_passes=1, forward=forward)

    def _check_size(self, size: Size) -> None:
        height, width = size
        unit = self.factor
        if height % unit or width % unit or min(height, width) < 2 * unit:
            raise ConfigError(
                f"{type(self).__name__} needs images whose sides are multiples of {unit}, from {2 * unit} on, got "
                f"{height} x {width}. Choose another image size, or give channels fewer levels."
            )

    def _batches(self, net: ReconstructionNet, source: Source) -> Draw:
        self.prepare(net, source.healthy)
        return augmented(self.config)(net, source)

    def _finish(self, net: ReconstructionNet, source: Source) -> None:
        """Take batch-norm statistics of the averaged weights; raise TrainingError where the network collapsed."""
        config, device = self.config, source.runtime.device
        with torch.no_grad():
            update_bn((images.to(device) for images in islice(source.healthy.batches(256), BATCH_NORM_BATCHES)), net)
        net.eval()
        if config.steps >= TRIVIAL_STEPS:
            check_depends_on_image(net, source.healthy[:64].to(device), self.kind, config.learning_rate)


@torch.no_grad()
def check_depends_on_image(net: Callable[[Tensor], Tensor], images: Tensor, kind: str, learning_rate: float) -> None:
    """Raise TrainingError where reconstructions of different images (B, 1, H, W) are all but the same."""
    between, kept = (float(stack.std(0, correction=0).mean()) for stack in (images, net(images)))
    if kept < COLLAPSE * between:
        raise TrainingError(
            f"The {kind} collapsed: its reconstructions do not depend on the image (their spread over images is "
            f"{kept:.2g}, that of the images {between:.2g}). Train longer, change learning_rate={learning_rate}, or "
            "lower the weight of a KL term."
        )


def keep(shape: torch.Size, rate: float, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return dropout's factors for `shape`: 0 with probability `rate`, else 1 / (1 - rate), drawn from `generator`."""
    kept = torch.rand(shape, generator=generator) >= rate
    return (kept / (1 - rate)).to(like.device, like.dtype)
