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
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from adbench.contracts.detector import Detector, DetectorConfig, Images
from adbench.contracts.plan import PartPlan, Plan
from adbench.errors import ConfigError, TrainingError
from adbench.storage.store import Checkpoint, PartSpec, changed_fields
from adbench.training.curve import TRIVIAL_STEPS
from adbench.training.loop import loop_options, train
from adbench_baselines.vqvae import augment

BATCH_NORM_BATCHES = 8
"""Batches of 256 training images that the final batch-norm statistics are taken over, at most."""
COLLAPSE = 0.01
"""Least spread of reconstructions over images, as a fraction of the spread of the images themselves."""


class ReconstructionConfig(DetectorConfig):
    """How the network is trained."""

    steps: int = Field(60_000, ge=1, description="optimiser steps")
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(1e-4, gt=0)
    final_learning_rate: float = Field(0.1, ge=0, le=1, description="fraction kept at the end of a half cosine")
    weight_decay: float = Field(0.0, ge=0)
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the weights' moving average; 0 for none")
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


class Reconstruction(Detector[ConfigT]):
    """Base of detectors that score the residual to the reconstruction by one network."""

    kind: ClassVar[str]
    """Name of the trained part and of its streams of random numbers."""
    part_version: ClassVar[int] = 1
    """Raise it when the same configuration would train another network."""
    inference_only: ClassVar[frozenset[str]] = frozenset()
    """Fields that do not change the trained network."""
    net: ReconstructionNet
    _size: tuple[int, int]
    _spec: PartSpec | None = None  # stays None in a detector that was loaded

    @abstractmethod
    def network(self) -> ReconstructionNet:
        """Return the network for images of `self._size`, with fresh weights."""

    @property
    @abstractmethod
    def factor(self) -> int:
        """Image side over the side of the smallest feature map."""

    def prepare(self, net: Any, healthy: Images) -> None:
        """Set what the network takes from the training images before it is trained; by default nothing."""

    def post(self, images: Tensor, x_hat: Tensor) -> Tensor:
        """Return the score map (B, 1, H, W) of images and their reconstructions."""
        return (images - x_hat).abs()

    def fit(self, healthy: Images, validation: Images) -> None:
        """Fetch or train the network. Raises ConfigError, TrainingError."""
        self._take_size(healthy)
        self._spec = self._part_spec(healthy)
        net = self._fresh()
        tensors = self.runtime.store.get(self._spec, lambda checkpoint: self._train(net, healthy, checkpoint))
        self._use(net, tensors)

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return the residual's map, (B, 1, H, W) float32."""
        with self.stage("reconstruct", passes=1):
            x_hat = self.net(images)
        with self.stage("post"):
            return self.post(images, x_hat)

    def plan(self, healthy: Images, validation: Images) -> Plan:
        self._take_size(healthy)

        def build() -> tuple[nn.Module, Any]:
            net, batch = self._fresh().train(), self._example(self.config.batch_size)
            return net, lambda: net.losses(batch, torch.Generator().manual_seed(0)).backward()

        def forward(batch_size: int) -> Any:
            net, batch = self._fresh().eval().requires_grad_(False), self._example(batch_size)
            return lambda: net(batch)

        part = PartPlan(self._part_spec(healthy), self.config.steps, build)
        return Plan([part], {"reconstruct": 1}, 1, forward)

    def artifacts(self) -> Mapping[str, str]:
        return {self.kind: self._spec.key} if self._spec else {}

    def parameters(self) -> int:
        return sum(p.numel() for p in self.net.parameters())

    def state(self) -> dict[str, Tensor]:
        return {**self.net.state_dict(), "size": torch.tensor(self._size)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        tensors = dict(state)
        height, width = tensors.pop("size").tolist()
        self._size = (height, width)
        self._use(self._fresh(), tensors)

    def _take_size(self, healthy: Images) -> None:
        height, width = healthy.shape[-2:]
        unit = self.factor
        if height % unit or width % unit or min(height, width) < 2 * unit:
            raise ConfigError(
                f"{type(self).__name__} needs images whose sides are multiples of {unit}, from {2 * unit} on, got "
                f"{height} x {width}. Choose another image size, or give channels fewer levels."
            )
        self._size = (height, width)

    def _part_spec(self, healthy: Images) -> PartSpec:
        config = changed_fields(self.config, exclude=self.inference_only)
        return PartSpec(self.kind, self.part_version, config, healthy.fingerprint, self.runtime.seed)

    def _fresh(self) -> ReconstructionNet:
        torch.manual_seed(self.runtime.seed)
        return self.network().to(self.runtime.device)

    def _example(self, batch_size: int) -> Tensor:
        return torch.rand(batch_size, 1, *self._size, device=self.runtime.device)

    def _use(self, net: ReconstructionNet, tensors: Mapping[str, Tensor]) -> None:
        net.load_state_dict(dict(tensors))
        self.net = net.eval().requires_grad_(False)

    def _train(self, net: ReconstructionNet, healthy: Images, checkpoint: Checkpoint) -> dict[str, Tensor]:
        config, device = self.config, self.runtime.device
        self.prepare(net, healthy)

        def loss_of(step: int, generator: torch.Generator) -> Tensor:
            chosen = torch.randint(len(healthy), (config.batch_size,), generator=generator)
            images = augment(healthy[chosen.numpy()].to(device), config.augmentation, generator)
            return net.losses(images, generator)

        options = loop_options(self.kind, config, self.runtime.seed)
        train(net, loss_of, options, checkpoint, self.runtime.progress)
        with torch.no_grad():
            update_bn((images.to(device) for images in islice(healthy.batches(256), BATCH_NORM_BATCHES)), net)
        net.eval()
        if config.steps >= TRIVIAL_STEPS:
            check_depends_on_image(net, healthy[:64].to(device), self.kind, config.learning_rate)
        return {name: value.cpu() for name, value in net.state_dict().items()}


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
