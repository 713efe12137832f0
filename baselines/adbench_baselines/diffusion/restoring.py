"""Base of the methods that restore the latents of the shared VQ-VAE with a network of their own.

Latents are those before quantisation. Networks that learn to find what was changed must not be trained on codes: what
is no code is known for changed at once, and an anomaly, whose latents are codes as well, for unchanged.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from adbench.contracts.detector import DetectorConfig, Images
from adbench.contracts.plan import Plan
from adbench.training.detector import TrainedDetector
from adbench.training.part import Part, TrainedPart
from adbench_baselines.diffusion.latent_net import LatentNet
from adbench_baselines.networks import vqvae
from adbench_baselines.networks.vqvae import VQVAE, VQVAEConfig, latent_shape


class RestoringConfig(DetectorConfig):
    vqvae: VQVAEConfig = VQVAEConfig()


ConfigT = TypeVar("ConfigT", bound=RestoringConfig)


class LatentRestoration(TrainedDetector[ConfigT]):
    """Base of detectors that turn latents into healthy ones, step by step; the last of their parts does it."""

    stage_name: ClassVar[str]
    """Stage of `score` that the network runs in."""

    @abstractmethod
    def network_parts(self, compressor: TrainedPart) -> Mapping[str, TrainedPart]:
        """Name -> part of each network on the latents of `compressor`."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Network passes of `score`."""

    def parts(self) -> Mapping[str, Part]:
        compressor = vqvae.part(self.config.vqvae)
        return {"vqvae": compressor, **self.network_parts(compressor)}

    @property
    def vqvae(self) -> VQVAE:
        network: VQVAE = self.trained["vqvae"]
        return network

    @property
    def net(self) -> Any:
        """The network that restores."""
        return list(self.trained.values())[-1]

    def encode(self, images: Tensor) -> Tensor:
        """Return standardised latents (B, n_z, h, w) float32, not quantised."""
        z: Tensor = self.net.standardise(self.vqvae.encode_unquantised(images).float())
        return z

    def decode(self, z: Tensor) -> Tensor:
        """Return images (B, 1, H, W) of standardised latents, which are not quantised."""
        return self.vqvae.decode(self.net.restore(z))

    def plan(self, healthy: Images, validation: Images) -> Plan:
        shared = super().plan(healthy, validation)
        *_, part = self.network_parts(vqvae.part(self.config.vqvae)).values()
        shape = latent_shape(self.config.vqvae, self.size)

        def forward(batch_size: int) -> Any:
            net: LatentNet = part.fresh(self.size, self.runtime).eval()
            x_t = torch.randn(batch_size, *shape, device=self.runtime.device)
            t = torch.ones(batch_size, dtype=net.times, device=self.runtime.device)
            return torch.no_grad()(lambda: net(x_t, t))

        return replace(shared, passes={self.stage_name: self.steps}, image_passes=self.steps, forward=forward)
