"""The detector contract: a frozen config and two verbs, `fit` and `score`.

A detector is a plugin (entry-point group `adbench.detectors`). It sees image tensors only: masks, labels and the name
of the dataset stay with the harness. Variants that differ in a few fields are small subclasses that set `overrides`.
Values are resolved in this order, later wins: field defaults, `overrides`, preset, `--set key=value`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from adbench.config.options import Progress, Silent
from adbench.contracts.family import Family, Knowledge
from adbench.contracts.plan import Plan
from adbench.contracts.search import SearchSpace
from adbench.devices.clock import StageClock
from adbench.devices.device import precision
from adbench.storage.store import ArtifactStore


class DetectorConfig(BaseModel):
    """Base of every detector's configuration: frozen, unknown keys forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class DetectorInfo:
    """What a user must know before using a detector."""

    summary: str
    source: str
    """The publication, or "control" for a method that only shows what a score means."""
    version: str
    """Version of the scoring code: raise it when the same parts would give other scores."""


class Images:
    """A read-only stack of healthy images, (N, 1, H, W) float32 in [0, 1], with a fingerprint of its content."""

    def __init__(self, array: NDArray[np.float32], fingerprint: str) -> None:
        self._array = array
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self._array)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, 1, H, W)."""
        return tuple(self._array.shape)

    def __getitem__(self, index: slice | NDArray[np.intp]) -> Tensor:
        """Return a fresh (B, 1, H, W) float32 CPU tensor."""
        return torch.from_numpy(np.array(self._array[index], dtype=np.float32))

    def batches(self, size: int) -> Sequence[Tensor]:
        """All images in order, `size` at a time, each batch read when asked for."""
        return _Batches(self, size)


class _Batches(Sequence[Tensor]):
    def __init__(self, images: Images, size: int) -> None:
        self._images, self._size = images, size

    def __len__(self) -> int:
        return -(-len(self._images) // self._size)

    def __getitem__(self, i: Any) -> Any:
        if not 0 <= i < len(self):
            raise IndexError(i)
        return self._images[i * self._size : (i + 1) * self._size]


@dataclass
class Runtime:
    """Where a detector runs and keeps its trained parts; the harness fills it, tests may use the defaults."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    seed: int = 0
    store: ArtifactStore = field(default_factory=ArtifactStore.temporary)
    progress: Progress = Silent().progress
    clock: StageClock = field(default_factory=StageClock)

    def __post_init__(self) -> None:
        device = self.device  # and not self, which the store would then keep alive
        self.store = self.store.computing(lambda: (device.type, precision(device)))


ConfigT = TypeVar("ConfigT", bound=DetectorConfig)


class Detector(ABC, Generic[ConfigT]):
    """An unsupervised anomaly detector."""

    Config: ClassVar[type[DetectorConfig]] = DetectorConfig
    info: ClassVar[DetectorInfo]
    family: ClassVar[Family | None] = None
    """What anomalies are found by; results are grouped by it. None where a plugin does not say."""
    knowledge: ClassVar[Knowledge] = "nothing"
    """What it knows beyond healthy images; marked wherever results are shown."""
    overrides: ClassVar[Mapping[str, Any]] = {}
    """Fields in which this variant differs from its class's defaults; dotted keys reach nested configs."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Preset name (smoke, demo, small, paper) -> config values; a preset not named here leaves the defaults."""
    search_space: ClassVar[SearchSpace] = SearchSpace()
    """The fields that tuning may change; empty where none is worth it."""
    batch_independent: ClassVar[bool] = True
    """False where scores of an image depend on the batch it comes in; the docstring says why."""

    def __init__(self, config: ConfigT, runtime: Runtime | None = None) -> None:
        self.config = config
        self.runtime = runtime or Runtime()

    @abstractmethod
    def fit(self, healthy: Images, validation: Images) -> None:
        """Train, or fetch from the artifact store, whatever `score` needs. Both stacks are healthy."""

    @abstractmethod
    def score(self, images: Tensor) -> Tensor:
        """Return score maps (B, 1, H, W) float32 for images of that shape: finite, higher is more anomalous."""

    def image_scores(self, images: Tensor) -> Tensor:
        """Return one score an image, (B,) float32, higher is more anomalous; by default the mean of its map."""
        return self.score(images).mean(dim=(1, 2, 3))

    def shortened(self, passes: int) -> Self | None:
        """Return this fitted detector with chains of at most `passes` network passes a stage, for timing alone.

        Its scores mean nothing. None where it has no chains, or their passes do not all cost the same.
        """
        return None

    def plan(self, healthy: Images, validation: Images) -> Plan:
        """Say what `fit` and `score` will do, without doing it; asked of a detector of its own, before a run begins.

        Raises ConfigError where the images do not suit; anything else that it raises ends the run too.
        """
        return Plan()

    def artifacts(self) -> Mapping[str, str]:
        """Part name -> key in the artifact store, of the parts that this fitted detector uses."""
        return {}

    def state(self) -> dict[str, Tensor]:
        """All tensors that a fitted detector needs to score; empty where it needs none."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Make this detector score as the one that `state` came from."""

    def parameters(self) -> int:
        """Number of trained parameters in use."""
        return 0

    def stage(self, name: str, passes: int = 0) -> AbstractContextManager[None]:
        """Time a part of `score` under `name` (`with self.stage("decode"): ...`), counting its network passes."""
        return self.runtime.clock.stage(name, self.runtime.device, passes)
