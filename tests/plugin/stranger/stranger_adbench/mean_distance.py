"""|x - mean| of healthy images, in units of their spread, at every pixel."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from adbench.contracts.detector import Detector, DetectorConfig, DetectorInfo, Images
from adbench.contracts.plan import PartPlan, Plan
from adbench.storage.saved import Checkpoint
from adbench.storage.spec import PartSpec


class MeanDistanceConfig(DetectorConfig):
    floor: float = Field(0.05, gt=0, description="smallest spread, so that a constant background does not explode")


class MeanDistance(Detector[MeanDistanceConfig]):
    """Distance to the mean of healthy images; the mean and the spread are one part of the artifact store."""

    Config = MeanDistanceConfig
    info = DetectorInfo("distance to the healthy mean", "control", "1")
    family = "control"
    presets = {"smoke": {"floor": 0.1}}

    def _spec(self, healthy: Images) -> PartSpec:
        return PartSpec("stranger-moments", 1, {}, healthy.fingerprint, self.runtime.seed)

    def fit(self, healthy: Images, validation: Images) -> None:
        """Average the healthy images, or fetch what an earlier run averaged."""

        def make(checkpoint: Checkpoint) -> dict[str, Tensor]:
            images = healthy[:]
            return {"mean": images.mean(0), "std": images.std(0)}

        self._key = self._spec(healthy).key
        self.load_state(self.runtime.store.get(self._spec(healthy), make))

    def score(self, images: Tensor) -> Tensor:
        with self.stage("post"):
            return (images - self.mean).abs() / self.std.clamp_min(self.config.floor)

    def plan(self, healthy: Images, validation: Images) -> Plan:
        return Plan([PartPlan(self._spec(healthy), steps=0, computed=True)])

    def artifacts(self) -> Mapping[str, str]:
        return {"moments": self._key}

    def parameters(self) -> int:
        return self.mean.numel() + self.std.numel()

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "std": self.std}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        device: torch.device = self.runtime.device
        self.mean, self.std = (state[name].to(device) for name in ("mean", "std"))
