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
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from adbench.errors import TrainingError
from adbench.training.curve import TRIVIAL_STEPS
from adbench.training.part import Source
from adbench_baselines.networks.single import NetworkConfig, SingleNetwork

BATCH_NORM_BATCHES = 8
"""Batches of 256 training images that the final batch-norm statistics are taken over, at most."""
COLLAPSE = 0.01
"""Least spread of reconstructions over images, as a fraction of the spread of the images themselves."""


class ReconstructionNet(nn.Module, ABC):
    """x -> x_hat, both (B, 1, H, W); `forward` is free of noise and dropout, in training mode too."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return x_hat float32."""

    @abstractmethod
    def losses(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the scalar loss of a batch, all noise drawn from `generator`."""


ConfigT = TypeVar("ConfigT", bound=NetworkConfig)


class Reconstruction(SingleNetwork[ConfigT]):
    """Base of detectors that score the residual to the reconstruction by one network."""

    @property
    def passes(self) -> Mapping[str, int]:
        return {"reconstruct": 1}

    def post(self, images: Tensor, x_hat: Tensor) -> Tensor:
        """Return the score map (B, 1, H, W) of images and their reconstructions."""
        return (images - x_hat).abs()

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return the residual's map, (B, 1, H, W) float32."""
        with self.stage("reconstruct", passes=1):
            x_hat = self.net(images)
        with self.stage("post"):
            return self.post(images, x_hat)

    def finish(self, net: ReconstructionNet, source: Source) -> None:
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
