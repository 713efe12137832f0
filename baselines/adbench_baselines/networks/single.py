"""What the detectors of one network share: its part, its plan, the images that it is trained on, the sizes it takes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any, ClassVar, Self, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from adbench.contracts.detector import Images
from adbench.contracts.plan import Plan
from adbench.errors import ConfigError
from adbench.training.config import TrainingConfig
from adbench.training.detector import TrainedDetector
from adbench.training.part import Draw, Part, Size, Source, TrainedPart
from adbench_baselines.images.augmentation import augmented


class NetworkConfig(TrainingConfig):
    """How the network is trained."""

    batch_size: int = Field(64, ge=2)
    augmentation: float = Field(0.5, ge=0, le=1, description="probability of a small affine change an image")


ConfigT = TypeVar("ConfigT", bound=NetworkConfig)


class SingleNetwork(TrainedDetector[ConfigT]):
    """Base of detectors that train one network on healthy images. The network has `losses(images, generator)`."""

    kind: ClassVar[str]
    """Name of the trained part and of its streams of random numbers."""
    part_version: ClassVar[int] = 1
    """Raise it when the same configuration would train another network."""
    inference_only: ClassVar[frozenset[str]] = frozenset()
    """Fields that do not change the trained network."""

    @abstractmethod
    def network(self, size: Size) -> nn.Module:
        """Return the network for images of a size, with fresh weights."""

    @property
    @abstractmethod
    def factor(self) -> int:
        """Image side over the side of the smallest feature map."""

    @property
    @abstractmethod
    def passes(self) -> Mapping[str, int]:
        """Stage of `score` -> network passes that it takes of a batch."""

    def prepare(self, net: Any, healthy: Images) -> None:
        """Set what the network takes from the training images before it is trained; by default nothing."""

    def finish(self, net: Any, source: Source) -> None:
        """Complete the network after the last step; by default nothing. Raises TrainingError."""

    def one_pass(self, net: Any, images: Tensor) -> Tensor:
        """One pass of the network, for the estimate of a plan."""
        out: Tensor = net(images)
        return out

    def parts(self) -> Mapping[str, Part]:
        part = TrainedPart(
            kind=self.kind,
            version=self.part_version,
            config=self.config,
            exclude=self.inference_only,
            network=self.network,
            loss=lambda net, images, generator: net.losses(images, generator),
            batches=self._batches,
            finish=self.finish,
            check=self._check_size,
        )
        return {self.kind: part}

    @property
    def net(self) -> Any:
        """The trained network."""
        return self.trained[self.kind]

    def plan(self, healthy: Images, validation: Images) -> Plan:
        shared = super().plan(healthy, validation)
        (part,) = self.parts().values()

        def forward(batch_size: int) -> Any:
            net = part.fresh(self.size, self.runtime).eval().requires_grad_(False)
            batch = torch.rand(batch_size, 1, *self.size, device=self.runtime.device)
            return lambda: self.one_pass(net, batch)

        passes = dict(self.passes)
        return replace(shared, passes=passes, image_passes=sum(passes.values()), forward=forward)

    def with_settings(self, **settings: object) -> Self:
        """This fitted detector with other settings, which are not checked."""
        other = copy(self)
        other.config = self.config.model_copy(update=settings)
        return other

    def _check_size(self, size: Size) -> None:
        height, width = size
        unit = self.factor
        if height % unit or width % unit or min(height, width) < 2 * unit:
            raise ConfigError(
                f"{type(self).__name__} needs images whose sides are multiples of {unit}, from {2 * unit} on, got "
                f"{height} x {width}. Choose another image size, or give channels fewer levels."
            )

    def _batches(self, net: nn.Module, source: Source) -> Draw:
        self.prepare(net, source.healthy)
        return augmented(self.config)(net, source)
