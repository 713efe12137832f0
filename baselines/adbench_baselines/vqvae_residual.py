"""Control: the VQ-VAE's own residual |x - G(E(x))|. It shows what the codebook alone cannot express."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from adbench.contracts.detector import DetectorConfig, DetectorInfo
from adbench.contracts.search import SearchSpace
from adbench.training.detector import TrainedDetector
from adbench.training.part import Part
from adbench_baselines.networks import vqvae
from adbench_baselines.networks.vqvae import VQVAE, VQVAE_SEARCH, VQVAE_SIZES, VQVAEConfig


class VQVAEResidualConfig(DetectorConfig):
    vqvae: VQVAEConfig = VQVAEConfig()


class VQVAEResidual(TrainedDetector[VQVAEResidualConfig]):
    """Residual to the reconstruction by the VQ-VAE that the diffusion methods use."""

    Config = VQVAEResidualConfig
    info = DetectorInfo("residual of the VQ-VAE alone", "control; van den Oord et al. 2017", "2")
    family = "control"
    search_space = SearchSpace(training=VQVAE_SEARCH)
    presets = {name: {"vqvae": size} for name, size in VQVAE_SIZES.items()}

    def parts(self) -> Mapping[str, Part]:
        return {"vqvae": vqvae.part(self.config.vqvae)}

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        model: VQVAE = self.trained["vqvae"]
        with self.stage("encode"):
            z = model.encode(images)
        with self.stage("decode"):
            x_hat = model.decode(z)
        with self.stage("post"):
            return (images - x_hat).abs()
