"""Control: the VQ-VAE's own residual |x - G(E(x))|. It shows what the codebook alone cannot express."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from adbench.contracts.detector import Detector, DetectorConfig, DetectorInfo, Images
from adbench.contracts.plan import Plan
from adbench.contracts.search import SearchSpace
from adbench.storage.spec import PartSpec
from adbench_baselines import vqvae
from adbench_baselines.diffusion_config import SIZES, VQVAE_SEARCH
from adbench_baselines.vqvae import VQVAE, VQVAEConfig


class VQVAEResidualConfig(DetectorConfig):
    vqvae: VQVAEConfig = VQVAEConfig()


class VQVAEResidual(Detector[VQVAEResidualConfig]):
    """Residual to the reconstruction by the VQ-VAE that the diffusion methods use."""

    Config = VQVAEResidualConfig
    info = DetectorInfo("residual of the VQ-VAE alone", "control; van den Oord et al. 2017", "2")
    search_space = SearchSpace(training=VQVAE_SEARCH)
    presets = {name: {k: v for k, v in size.items() if k == "vqvae"} for name, size in SIZES.items()}
    model: VQVAE
    _spec: PartSpec | None = None  # stays None in a detector that was loaded

    def fit(self, healthy: Images, validation: Images) -> None:
        """Fetch or train the VQ-VAE."""
        self.model, self._spec = vqvae.fetch(self.config.vqvae, healthy, self.runtime)

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        with self.stage("encode"):
            z = self.model.encode(images)
        with self.stage("decode"):
            x_hat = self.model.decode(z)
        with self.stage("post"):
            return (images - x_hat).abs()

    def plan(self, healthy: Images, validation: Images) -> Plan:
        vqvae.check_size(self.config.vqvae, healthy.shape)
        return Plan([vqvae.part_plan(self.config.vqvae, healthy, self.runtime)])

    def artifacts(self) -> Mapping[str, str]:
        return {"vqvae": self._spec.key} if self._spec else {}

    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def state(self) -> dict[str, Tensor]:
        return dict(self.model.state_dict())

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.model = VQVAE(self.config.vqvae)
        self.model.load_state_dict(dict(state))
        self.model.to(self.runtime.device).eval().requires_grad_(False)
