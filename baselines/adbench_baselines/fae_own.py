"""Feature autoencoder on features of our own encoder (FAE; Meissen, Paetzold, Kaissis and Rueckert 2022, 2208.10992).

    phi(x)  features of every level of a network, brought to one resolution, one over another
    L       = - mean of SSIM(phi(x), g(phi(x)))           over channels and places, in windows of 5 with sigma 1.5
    score   = 1 - mean over channels of SSIM(phi(x), g(phi(x))), made bilinear to the image's size

g is an autoencoder: 5 x 5 convolutions of stride 2 down, one of stride 1, 6 x 6 transposed ones up, a 1 x 1 last. It
must restore what a lesion changes in texture and not how bright it is. Read off the authors' code
(github.com/FeliMe/feature-autoencoder, `models.py`, `feature_extractor.py`, `pytorch_ssim.py`, `base_config.py`): the
layers and their widths, levels at a quarter of the image's side, dropout of whole channels, SSIM, the map.

Differs from the paper: the features are those of the VQ-VAE's encoder, trained on the healthy images, and not of a
ResNet trained on ImageNet, which is not at hand without a download (hence "own"): each channel is divided by its spread
over healthy images, since SSIM's constants suit values of that size; the coarsest level gives the resolution; at 64 px
one level fewer, so that the bottleneck is 2 x 2 as in the paper; group norm and no batch norm; borders are reflected;
images are not equalised; training images are slightly moved; weights are averaged; 1 is added to the map.

| code        | paper          |
|-------------|----------------|
| `phi`       | phi(x)         |
| `net`       | g              |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from adbench.contracts.detector import DetectorConfig, DetectorInfo, Images
from adbench.contracts.plan import Plan
from adbench.contracts.search import Real, SearchSpace
from adbench.errors import ConfigError
from adbench.training.detector import TrainedDetector
from adbench.training.part import Draw, Part, Size, Source, TrainedPart
from adbench_baselines.images.augmentation import augmented
from adbench_baselines.networks import vqvae
from adbench_baselines.networks.feature_ae import SSIM_SIDE, FeatureAE, FeatureAEConfig, similarity
from adbench_baselines.networks.features import feature_channels, latent_features
from adbench_baselines.networks.vqvae import VQVAE_SEARCH, VQVAE_SIZES, VQVAEConfig

SOURCE = "Meissen et al. 2022, Unsupervised Anomaly Localization with Structural Feature-Autoencoders"
VERSION = 1
"""Raise it when the same configuration would train another network."""
SPREAD_IMAGES = 512
"""Training images that the spread of the features is taken over, at most."""
LEAST_SPREAD = 0.1
"""Of a channel, over the mean spread of all: one that is nearly constant would else be nothing but noise."""

AE_SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"channels": (16, 32), "steps": 30, "learning_rate": 2e-3, "ema_decay": 0.9},
    "demo": {"channels": (50, 75, 100), "steps": 400, "learning_rate": 2e-3, "ema_decay": 0.99},
    "small": {"channels": (100, 150, 200), "steps": 4000, "learning_rate": 1e-3},
    "standard": {"channels": (100, 150, 200), "steps": 8000, "learning_rate": 1e-3},
    "paper": {},
}


class FAEConfig(DetectorConfig):
    vqvae: VQVAEConfig = VQVAEConfig()
    autoencoder: FeatureAEConfig = FeatureAEConfig()


def autoencoder_part(config: FAEConfig, compressor: TrainedPart) -> TrainedPart:
    own, channels = config.autoencoder, feature_channels(config.vqvae)

    def batches(net: FeatureAE, source: Source) -> Draw:
        encoder, device = source.parents["vqvae"], source.runtime.device
        std = latent_features(encoder, source.healthy[:SPREAD_IMAGES].to(device)).std((0, 2, 3), keepdim=True)
        net.spread.copy_(std.clamp(min=LEAST_SPREAD * float(std.mean())))
        draw = augmented(own)(net, source)
        return lambda generator: latent_features(encoder, draw(generator)) / net.spread

    def example(source: Source) -> Tensor:
        height, width = source.size
        shape = (own.batch_size, channels, height // config.vqvae.factor, width // config.vqvae.factor)
        return torch.rand(shape, device=source.runtime.device)

    return TrainedPart(
        kind="fae-own",
        version=VERSION,
        config=own,
        network=lambda size: FeatureAE(own, channels),
        loss=lambda net, batch, generator: net.losses(batch, generator),
        parents={"vqvae": compressor},
        batches=batches,
        example=example,
        check=lambda size: check_size(config, size),
    )


def check_size(config: FAEConfig, size: Size) -> None:
    """Raise ConfigError where the features' sides are no multiples of 2^levels, or too small for SSIM's windows."""
    unit = config.vqvae.factor * 2 ** len(config.autoencoder.channels)
    least = config.vqvae.factor * SSIM_SIDE
    if size[0] % unit or size[1] % unit or min(size) < least:
        raise ConfigError(
            f"fae-own needs images whose sides are multiples of {unit}, from {least} on, got {size[0]} x {size[1]}. "
            "Choose another image size, or give autoencoder.channels fewer levels."
        )


class FAEOwn(TrainedDetector[FAEConfig]):
    """Structural dissimilarity of an encoder's features to their reconstruction by an autoencoder."""

    Config = FAEConfig
    info = DetectorInfo("FAE: features of our own encoder against their reconstruction, by SSIM", SOURCE, "1")
    family = "feature"
    presets = {name: {"vqvae": size, "autoencoder": AE_SIZES[name]} for name, size in VQVAE_SIZES.items()}
    search_space: ClassVar[SearchSpace] = SearchSpace(
        training={
            **VQVAE_SEARCH,
            "autoencoder.learning_rate": Real(1e-4, 5e-3, log=True),
            "autoencoder.dropout": Real(0.0, 0.4),
        }
    )

    def parts(self) -> Mapping[str, Part]:
        compressor = vqvae.part(self.config.vqvae)
        return {"vqvae": compressor, "autoencoder": autoencoder_part(self.config, compressor)}

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return 1 - SSIM, (B, 1, H, W) float32."""
        net: FeatureAE = self.trained["autoencoder"]
        with self.stage("encode"):
            phi = latent_features(self.trained["vqvae"], images) / net.spread
        with self.stage("reconstruct", passes=1):
            restored = net(phi)
        with self.stage("post"):
            scores = 1 - similarity(phi, restored).mean(1, keepdim=True)
            return F.interpolate(scores, images.shape[-2:], mode="bilinear")

    def plan(self, healthy: Images, validation: Images) -> Plan:
        shared = super().plan(healthy, validation)
        part = autoencoder_part(self.config, vqvae.part(self.config.vqvae))
        height, width = (side // self.config.vqvae.factor for side in self.size)

        def forward(batch_size: int) -> Any:
            net = part.fresh(self.size, self.runtime).eval()
            phi = torch.rand(batch_size, feature_channels(self.config.vqvae), height, width, device=self.runtime.device)
            return torch.no_grad()(lambda: net(phi))

        return replace(shared, passes={"reconstruct": 1}, image_passes=1, forward=forward)
