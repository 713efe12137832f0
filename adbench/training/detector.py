"""Base of detectors that train: what they fetch, plan, save and load follows from the parts that they name."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from adbench.contracts.detector import ConfigT, Detector, Images, Runtime
from adbench.contracts.plan import Plan
from adbench.training.part import Part, Size
from adbench.training.state import below


class TrainedDetector(Detector[ConfigT]):
    """A detector whose networks are parts. A subclass gives `parts` and `score`, and may add to the other verbs."""

    size: Size
    """Of the images that it was fitted on."""

    def __init__(self, config: ConfigT, runtime: Runtime | None = None) -> None:
        super().__init__(config, runtime)
        self.trained: dict[str, Any] = {}
        """Name -> network, frozen; empty until it is fitted or loaded."""
        self._keys: dict[str, str] = {}  # stays empty in a detector that was loaded

    @abstractmethod
    def parts(self) -> Mapping[str, Part]:
        """Name -> part, each after those that it is made with."""

    def fit(self, healthy: Images, validation: Images) -> None:
        """Fetch or train all parts. Raises ConfigError, TrainingError."""
        self.fetch_parts(healthy)

    def fetch_parts(self, healthy: Images) -> None:
        """Fetch all parts from the artifact store, making those that are not there."""
        made: dict[str, Any] = {}
        for name, part in self._parts_for(healthy).items():
            key = part.spec(healthy, self.runtime.seed).key
            made[key] = self.trained[name] = self.fetch_part(part, healthy, made)
            self._keys[name] = key

    def fetch_part(self, part: Part, healthy: Images, made: dict[str, Any]) -> Any:
        """Fetch one; `made` holds those before it by key."""
        return part.fetch(healthy, self.runtime, made)

    def plan(self, healthy: Images, validation: Images) -> Plan:
        """The parts alone: a method adds the network passes of its score."""
        return Plan([part.plan(healthy, self.runtime) for part in self._parts_for(healthy).values()])

    def _parts_for(self, healthy: Images) -> Mapping[str, Part]:
        """All parts, which fit the size of these images."""
        height, width = healthy.shape[-2:]
        self.size = (height, width)
        parts = self.parts()
        for part in parts.values():
            part.check(self.size)
        return parts

    def artifacts(self) -> Mapping[str, str]:
        return dict(self._keys)

    def parameters(self) -> int:
        return sum(p.numel() for net in self.trained.values() for p in net.parameters())

    def state(self) -> dict[str, Tensor]:
        networks = self.trained.items()
        tensors = {f"{name}.{k}": v for name, net in networks for k, v in net.state_dict().items()}
        return {**tensors, "size": torch.tensor(self.size)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        height, width = state["size"].tolist()
        self.size = (height, width)
        for name, part in self.parts().items():
            self.trained[name] = part.loaded(self.size, self.runtime, below(name, state))
