"""Transformer detector (Pinaya et al. 2021, arXiv 2102.11650), alone and as an ensemble of eight token orders.

A transformer learns the VQ-VAE tokens of healthy images. Tokens that it finds unlikely, p(s_i | s_<i) < threshold, are
healed: drawn anew in order. The residual to the decoded, healed image, weighted by the upsampled and smoothed mask of
those tokens, is the score; the ensemble averages it over its members, each of which reads the tokens in an order of its
own.

| code         | paper                                                                    |
|--------------|--------------------------------------------------------------------------|
| `tokens`     | s, codebook indices, in raster order (B, h, w) or in a member's (B, N)   |
| `mask`       | resampling mask, p(s_i | s_<i) < threshold                               |
| `x_hat`      | decoded, healed image                                                    |
| `soften`     | resampling mask upsampled and smoothed                                   |
| image score  | -sum_i ln p(s_i | s_<i) in nats, averaged over the members               |

Encoding, likelihood and healing are computed in float32: in bfloat16 a token could turn into another one by a rounding
that depends on the batch. Members are scored one after the other into a running mean; all stay on the device, which
at the paper's size takes 70 MB each.

Differs from the paper: healing has a key-value cache (`cache=false` runs the whole prefix again for each token, as
MONAI's sampling does: the same scores, for the timing table). `threshold_kind=quantile` takes a quantile of healthy
likelihoods in place of a probability. With `healings` above 1 the residuals to the healed versions are averaged, as
those of the ensemble are. The VQ-VAE is the one of the diffusion methods, so that all see the same latents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from adbench.contracts.detector import DetectorConfig, DetectorInfo, Images
from adbench.contracts.plan import Plan, Run
from adbench.contracts.search import Choice, Integer, Real, SearchSpace
from adbench.errors import ConfigError, DataError
from adbench.storage.spec import PartSpec
from adbench.training.detector import TrainedDetector
from adbench.training.part import Part
from adbench.training.rows import Rows
from adbench_baselines.images.filters import gaussian
from adbench_baselines.networks import vqvae
from adbench_baselines.networks.vqvae import VQVAE, VQVAE_SIZES, VQVAEConfig, latent_shape
from adbench_baselines.tokens import model as token_model
from adbench_baselines.tokens.healing import heal, span
from adbench_baselines.tokens.model import Decoding, TokenModel, TokenModelConfig
from adbench_baselines.tokens.orderings import COUNT, arrange, ordering, restore

SOURCE = "Pinaya et al. 2021, Unsupervised Brain Anomaly Detection and Segmentation with Transformers"
LIKELIHOODS_VERSION = 1
"""Raise it when the same networks would give other validation likelihoods."""

TRANSFORMER_SIZES: dict[str, dict[str, Any]] = {
    "smoke": {
        "dim": 32, "layers": 2, "heads": 4, "steps": 30, "batch_size": 32, "learning_rate": 2e-3, "augmented_copies": 0,
    },
    "demo": {
        "dim": 64, "layers": 3, "heads": 4, "steps": 400, "batch_size": 32, "learning_rate": 2e-3,
        "augmented_copies": 2,
    },
    "small": {
        "dim": 128, "layers": 4, "heads": 4, "steps": 3000, "batch_size": 32, "learning_rate": 1e-3,
        "final_learning_rate": 0.02, "augmented_copies": 3,
    },
    "standard": {
        "dim": 128, "layers": 4, "heads": 4, "steps": 1500, "batch_size": 32, "learning_rate": 1e-3,
        "final_learning_rate": 0.02, "augmented_copies": 3,
    },
    "paper": {},
}  # fmt: skip
"""The transformer of each preset, the same for every member; all but "paper" are for CPUs."""

SHORT_TRAINING: dict[str, Any] = {"threshold": 0.2, "mask_sigma_px": 8.0}
"""Fields that suit transformers trained for minutes, which find many healthy tokens unlikely and few of a lesion's.

Chosen on `headct-sprites` with `data.development=true`, with one member: p < 0.005 to 0.8, 2 to 8 pixels.
"""


def preset_values(sequences: int = 1) -> dict[str, dict[str, Any]]:
    """VQ-VAE and transformer of every preset; batches of those for CPUs have `sequences` times as many sequences."""
    presets: dict[str, dict[str, Any]] = {}
    for name, size in TRANSFORMER_SIZES.items():
        scaled = {**size, "batch_size": sequences * size["batch_size"]} if "batch_size" in size else size
        short = {} if name == "paper" else SHORT_TRAINING
        presets[name] = {"vqvae": VQVAE_SIZES[name], "transformer": scaled, **short}
    return presets


class TransformerConfig(DetectorConfig):
    vqvae: VQVAEConfig = VQVAEConfig()
    transformer: TokenModelConfig = TokenModelConfig()
    orderings: int = Field(1, ge=1, le=COUNT, description="members, each with an order of its own; 1 is plain raster")
    threshold_kind: Literal["probability", "quantile"] = Field(
        "probability", description="tokens are unlikely below a probability, or below a quantile of healthy ones"
    )
    threshold: float = Field(0.005, gt=0, lt=1, description="probability below which a token is unlikely")
    quantile: float = Field(
        0.01, gt=0, lt=1, description="share of the tokens of healthy validation images that count as unlikely"
    )
    healings: int = Field(1, ge=1, description="healed versions an image and member; their residual is averaged")
    mask_sigma_px: float | None = Field(
        None, ge=0, le=100, description="smoothing of the upsampled mask; null: f / 2 pixels"
    )
    cache: bool = Field(True, description="keep keys and values while healing; false is slow, with the same result")


class Transformer(TrainedDetector[TransformerConfig]):
    """Find unlikely tokens in raster order, draw them anew, and score the residual."""

    Config = TransformerConfig
    info = DetectorInfo("autoregressive transformer on VQ-VAE tokens, key-value cache", SOURCE, "1")
    family = "likelihood"
    presets = preset_values()
    search_space = SearchSpace(
        inference={
            "threshold_kind": Choice(("probability", "quantile")),
            "threshold": Real(1e-4, 0.5, log=True),
            "quantile": Real(1e-3, 0.1, log=True),
            "mask_sigma_px": Real(0.0, 8.0),
        },
        training={
            "transformer.dim": Choice((32, 64, 128, 256)),
            "transformer.layers": Integer(2, 24),
            "transformer.learning_rate": Real(1e-4, 3e-3, log=True),
            "transformer.dropout": Real(0.0, 0.3),
        },
    )
    limits: Tensor
    """ln p below which a token is unlikely, (members,)."""

    def parts(self) -> Mapping[str, Part]:
        c, compressor = self.config, vqvae.part(self.config.vqvae)
        members = token_model.parts(c.transformer, compressor, c.orderings)
        return {"vqvae": compressor} | {f"transformer-{i}": member for i, member in enumerate(members)}

    @property
    def vqvae(self) -> VQVAE:
        network: VQVAE = self.trained["vqvae"]
        return network

    @property
    def members(self) -> list[TokenModel]:
        return [self.trained[f"transformer-{i}"] for i in range(self.config.orderings)]

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the token grids that the members were trained on."""
        return latent_shape(self.config.vqvae, self.size)[1:]

    def fit(self, healthy: Images, validation: Images) -> None:
        """Fetch or train the VQ-VAE and every member, and find the thresholds."""
        self._check_validation_size(validation)
        super().fit(healthy, validation)
        self.limits = self._thresholds(validation)

    def order(self, i: int) -> Tensor:
        """Return the order of member i, (N,)."""
        return ordering(i, *self.grid)

    def _thresholds(self, validation: Images) -> Tensor:
        c, device = self.config, self.runtime.device
        if c.threshold_kind == "probability":
            return torch.full((c.orderings,), c.threshold, device=device).log()
        limits = []
        for i in range(c.orderings):
            rows = self._likelihoods(validation, self.artifacts()[f"transformer-{i}"])
            ordered = rows.fetch(validation, partial(self._likelihood, i), self.runtime).flatten().sort().values
            limits.append(ordered[int(c.quantile * len(ordered))])  # torch.quantile takes 16 million at most
        return torch.stack(limits).to(device)

    def _likelihood(self, i: int, images: Tensor) -> Tensor:
        """Return ln p of the tokens of images by member i, (B, tokens)."""
        return self.members[i].log_likelihood(arrange(self.encode(images), self.order(i)))

    def _likelihoods(self, validation: Images, member: str) -> Rows:
        """ln p of the tokens of every validation image by the member of that key, (N, tokens)."""
        parents, seed = {"transformer": member}, self.runtime.seed
        spec = PartSpec("token-likelihoods", LIKELIHOODS_VERSION, {}, validation.fingerprint, seed, parents)
        return Rows(spec, "log_likelihood", "validation likelihoods", (math.prod(self.grid),))

    def _check_validation_size(self, validation: Images) -> None:
        height, width = validation.shape[-2:]
        tokens = len(validation) * math.prod(latent_shape(self.config.vqvae, (height, width))[1:])
        if self.config.threshold_kind == "quantile" and self.config.quantile * tokens < 1:
            raise ConfigError(
                f"quantile={self.config.quantile} needs at least {1 / self.config.quantile:.0f} tokens of healthy "
                f"validation images, got {tokens}. Add images, or raise it."
            )

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return tokens (B, h, w) int64 of images (B, 1, H, W), without autocast (TF32 on CUDA if PyTorch allows it).

        Raises DataError where the images have another size than those that the members were trained on.
        """
        tokens = self.vqvae.quantiser.indices(self.vqvae.encoder(images))
        if tuple(tokens.shape[1:]) != self.grid:
            height, width = (side * self.config.vqvae.factor for side in self.grid)
            raise DataError(
                f"The transformer was trained on images of {height} x {width}, got {images.shape[-2]} x "
                f"{images.shape[-1]}. Score images of that size, or train on this one."
            )
        return tokens

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        with self.stage("encode"):
            tokens = self.encode(images)
        scores = torch.zeros_like(images)
        for i in range(len(self.members)):
            scores += self.member_score(i, images, tokens) / len(self.members)
        return scores

    def member_score(self, i: int, images: Tensor, tokens: Tensor) -> Tensor:
        """Return the masked residual of member i, (B, 1, H, W), for raster tokens (B, h, w)."""
        c, member = self.config, self.members[i]
        with self.stage("likelihood", passes=1):
            sequences = arrange(tokens, self.order(i))
            mask = member.log_likelihood(sequences) < self.limits[i]
        residual = torch.zeros_like(images)
        for draw in range(c.healings):
            with self.stage("heal", passes=len(span(mask))):
                healed = heal(member, sequences, mask, self.runtime.seed, draw, c.cache)
            with self.stage("decode"):
                x_hat = self.vqvae.decode(self.vqvae.quantiser.embed(restore(healed, self.order(i), *self.grid)))
            residual += (images - x_hat).abs() / c.healings
        with self.stage("post"):
            return self.soften(restore(mask, self.order(i), *self.grid), images.shape[-2:]) * residual

    def soften(self, mask: Tensor, size: Sequence[int]) -> Tensor:
        """Return the mask (B, h, w) upsampled to `size` and smoothed, (B, 1, H, W) in [0, 1]."""
        sigma = self.config.mask_sigma_px
        sigma = self.config.vqvae.factor / 2 if sigma is None else sigma
        return gaussian(F.interpolate(mask[:, None].float(), tuple(size), mode="nearest"), sigma)

    @torch.no_grad()
    def image_scores(self, images: Tensor) -> Tensor:
        """Return -ln p of the image's tokens in nats, averaged over the members, (B,)."""
        tokens = self.encode(images)
        likelihoods = [m.log_likelihood(arrange(tokens, self.order(i))).sum(1) for i, m in enumerate(self.members)]
        return -torch.stack(likelihoods).mean(0)

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "limits": self.limits}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self.limits = state["limits"].to(self.runtime.device)

    def plan(self, healthy: Images, validation: Images) -> Plan:
        """The parts, and at most this many network calls: healing ends at the last masked token of the batch."""
        c = self.config
        self._check_validation_size(validation)
        shared = super().plan(healthy, validation)
        length = math.prod(self.grid)
        tokens = self._tokens_a_call(length)
        parts = [shared.parts[0]]
        for member in shared.parts[1:]:
            parts.append(member)
            if c.threshold_kind == "quantile":
                parts.append(self._likelihoods(validation, member.spec.key).plan(validation, length // tokens))
        passes = {"likelihood": c.orderings, "heal": c.orderings * c.healings * length}
        return Plan(parts, passes, c.orderings * length // tokens, lambda batch: self._mean_call(batch, length))

    def _tokens_a_call(self, length: int) -> int:
        """Tokens of an image that a network call evaluates in the mean, so that calls times this make the whole cost.

        Of N + 1 calls likelihood takes N tokens, and healing one each with the cache, about N / 2 each without.
        """
        return 2 if self.config.cache else max(1, length // 2)

    def _mean_call(self, batch: int, length: int) -> Run:
        """Return a function that evaluates that many tokens with fresh weights, at the middle of the sequence."""
        c, device = self.config, self.runtime.device
        model = TokenModel(c.transformer, c.vqvae.codes, length).to(device).eval()
        tokens = torch.randint(c.vqvae.codes, (batch, self._tokens_a_call(length)), device=device)
        if not c.cache:
            return lambda: model.log_likelihood(tokens)
        decoding = Decoding(model, batch, length)

        def run() -> None:
            decoding.done = length // 2 - 1
            for i in range(tokens.shape[1]):
                decoding.step(tokens[:, i])

        return run


class TransformerEnsemble(Transformer):
    """Eight transformers, each with an order of its own: the mean of their masked residuals."""

    info = DetectorInfo("ensemble of eight transformers on VQ-VAE tokens, key-value cache", SOURCE, "1")
    overrides: ClassVar[Mapping[str, Any]] = {"orderings": COUNT}


class TransformerF8(Transformer):
    """The transformer at f = 8, whose sequences are a quarter as long."""

    presets = preset_values(4)
    overrides = {"vqvae.factor": 8}


class TransformerEnsembleF8(TransformerEnsemble):
    """The ensemble at f = 8, whose sequences are a quarter as long."""

    presets = preset_values(4)
    overrides = {**TransformerEnsemble.overrides, "vqvae.factor": 8}
