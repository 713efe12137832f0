"""PatchCore: distance of patch features to a memory of healthy ones (Roth et al. 2022, CVPR, arXiv 2106.08265).

    P(x)   features of every level of a network, averaged over p x p places, at one resolution    (section 3.1, eq. 1-4)
    M      coreset of all P(x) of healthy x: greedily, each next item is the one farthest from M  (section 3.2, eq. 5)
    map    d(q) = min over m in M of ||q - m||, for each q in P(x), made bilinear to the image's size and smoothed
    image  s = (1 - exp ||q* - m*|| / sum over m in N_b(m*) of exp ||q* - m||) ||q* - m*||                (eq. 6 and 7)

q* is the patch with the largest d, m* its nearest item, and N_b(m*) are the b items nearest to m*, itself among them.

| code            | paper                                                   |
|-----------------|---------------------------------------------------------|
| `neighbourhood` | p                                                       |
| `memory`        | M, or M_C after the coreset                             |
| `projection`    | width of the random projection psi of algorithm 1       |
| `neighbours`    | b                                                       |
| `vectors`       | P(x), centred and scaled, places beside them            |

Differs from the paper: the features are those of the VQ-VAE's encoder, trained on the healthy images, and not of a
network trained on ImageNet, so that nothing is downloaded; the coreset is chosen among `candidates` random patches,
since training sets here are 50 times as large; `standardise=true` gives every channel the same spread.
`position_weight` and `resolution` have the paper's values by default and in the preset "paper", but others in the
presets for CPUs: patches are compared with healthy ones near their own place, since heads are roughly aligned, and at
the resolution of the latents, a quarter of the patches. `neighbours` (b) is our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from adbench.contracts.detector import Detector, DetectorConfig, DetectorInfo, Images, Progress
from adbench.contracts.plan import PartPlan, Plan
from adbench.contracts.search import Choice, Real, SearchSpace
from adbench.devices.device import autocast
from adbench.errors import ConfigError
from adbench.storage.store import PartSpec, changed_fields
from adbench.training.streams import stream
from adbench_baselines import vqvae
from adbench_baselines.diffusion_config import SIZES
from adbench_baselines.smoothing import gaussian
from adbench_baselines.vqvae import VQVAE, VQVAEConfig

SOURCE = "Roth et al. 2022, Towards Total Recall in Industrial Anomaly Detection"
VERSION = 1
"""Raise it when the same configuration would choose another memory."""
BATCH = 100
DISTANCES = 1 << 24
"""Most distances held at once, 64 MiB."""
CPU_FIELDS: dict[str, Any] = {"position_weight": 5.0, "resolution": "coarsest"}
"""Chosen on `headct-sprites` with `data.development=true`."""


class PatchCoreConfig(DetectorConfig):
    vqvae: VQVAEConfig = VQVAEConfig()
    neighbourhood: int = Field(3, ge=1, description="p, side of the square that features are averaged over; odd")
    resolution: Literal["finest", "coarsest"] = Field(
        "finest", description="level of the encoder that all others are brought to the resolution of"
    )
    standardise: bool = Field(False, description="divide by the spread of each channel, not by that of all together")
    position_weight: float = Field(
        0.0,
        ge=0,
        description="weight of a patch's place: at 1, half an image apart counts as one standard deviation in all "
        "channels; 0 compares with patches of any place",
    )
    candidates: int = Field(1_000_000, ge=1, description="random healthy patches that the memory is chosen from")
    memory_size: int = Field(10_000, ge=2, description="patches in the memory")
    projection: int = Field(128, ge=1, description="width of the random projection that distances of the choice are in")
    neighbours: int = Field(9, ge=2, description="b, items that the image score is weighted by")
    smoothing: float = Field(4 / 224, ge=0, description="sigma of the score map's Gaussian, in heights of the image")

    @model_validator(mode="after")
    def _values_fit_together(self) -> PatchCoreConfig:
        if self.neighbourhood % 2 == 0:
            raise ValueError(f"neighbourhood must be odd, got {self.neighbourhood}")
        if not self.neighbours <= self.memory_size <= self.candidates:
            raise ValueError(
                "neighbours <= memory_size <= candidates is needed, "
                f"got {self.neighbours}, {self.memory_size}, {self.candidates}"
            )
        return self


def k_centre(points: Tensor, size: int, first: int, progress: Progress | None = None) -> Tensor:
    """Return (size,) int64: indices of points (N, D), each farthest from all before it; `first` is the first.

    The largest distance of a point to its nearest one chosen is at most twice the least possible (Gonzalez 1985).
    """
    squares = points.square().sum(1)
    nearest = torch.full_like(squares, torch.inf)
    chosen = torch.empty(size, dtype=torch.long, device=points.device)
    centre = torch.tensor([first], device=points.device)  # stays a tensor: reading it would wait for a GPU
    for i in range(size):
        chosen[i : i + 1] = centre
        distances = torch.addmv(squares, points, points[centre][0], alpha=-2) + squares[centre]  # squared
        nearest = torch.minimum(nearest, distances).index_fill(0, centre, -torch.inf)  # none is chosen twice
        centre = nearest.argmax(0, keepdim=True)
        if progress and ((i + 1) % 100 == 0 or i + 1 == size):
            progress("memory of patches", i + 1, size)
    return chosen


def nearest_items(vectors: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Return distances (N,) of vectors (N, D) to their nearest items of a memory (M, D), and those items' indices."""
    chunks = vectors.split(max(1, DISTANCES // len(memory)))
    indices = torch.cat([torch.cdist(chunk, memory).argmin(1) for chunk in chunks])
    return (vectors - memory[indices]).norm(dim=1), indices  # anew, without the rounding of the difference of squares


def image_score(vectors: Tensor, memory: Tensor, neighbours: int) -> Tensor:
    """Return s, (B,), of the patches (B, P, D) of each image (eq. 6 and 7)."""
    distances, items = (found.reshape(vectors.shape[:2]) for found in nearest_items(vectors.flatten(0, 1), memory))
    largest, which = distances.max(1)
    rows = torch.arange(len(vectors), device=vectors.device)
    patch, item = vectors[rows, which], memory[items[rows, which]]
    apart = torch.cdist(item, memory, compute_mode="donot_use_mm_for_euclid_dist")  # exact: an item is its own nearest
    around = memory[apart.topk(neighbours, largest=False).indices]  # (B, b, D)
    to_them = (patch[:, None] - around).norm(dim=2)
    return (1 - (largest - to_them.logsumexp(1)).exp()) * largest


def spread(features: Tensor, by_channel: bool) -> Tensor:
    """Return (C,), what features (N, C) are divided by: one number for all, which changes no neighbour, or its own.

    By channel it is at least a tenth of that number: a channel that is nearly constant in healthy images, as some are
    behind a ReLU, would else outweigh all others wherever it is not.
    """
    variance = features.var(0, correction=0)
    overall = variance.mean().clamp(min=torch.finfo(variance.dtype).tiny)  # an untrained network may give constants
    return variance.clamp(min=overall / 100).sqrt() if by_channel else overall.sqrt().expand_as(variance).clone()


def places(height: int, width: int, device: torch.device) -> Tensor:
    """Return (height, width, 2), row and column of each patch's centre in [-1, 1]."""
    rows, columns = ((torch.arange(n, device=device) + 0.5) / n * 2 - 1 for n in (height, width))
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)


class PatchCore(Detector[PatchCoreConfig]):
    """Distance of each patch's features to the nearest of a memory of healthy patches."""

    Config = PatchCoreConfig
    info = DetectorInfo("distance to a memory of healthy patch features", SOURCE, "1")
    presets = {
        "smoke": {"vqvae": SIZES["smoke"]["vqvae"], "candidates": 5_000, "memory_size": 500, **CPU_FIELDS},
        "demo": {"vqvae": SIZES["demo"]["vqvae"], "candidates": 30_000, "memory_size": 3_000, **CPU_FIELDS},
        "small": {"vqvae": SIZES["small"]["vqvae"], "candidates": 100_000, **CPU_FIELDS},
        "paper": {},
    }
    search_space: ClassVar[SearchSpace] = SearchSpace(
        inference={"smoothing": Real(0.0, 0.05)},  # `neighbours` changes image scores alone, which no trial sees
        training={
            "position_weight": Real(0.0, 10.0),
            "standardise": Choice((False, True)),
            "resolution": Choice(("finest", "coarsest")),
            "neighbourhood": Choice((1, 3, 5)),
        },
    )
    encoder: Any
    """MONAI's encoder, whose blocks are used one by one."""
    memory: Tensor
    """(M, D)"""
    mean: Tensor
    """(C,), of healthy features; `std` likewise."""
    std: Tensor
    _specs: Mapping[str, PartSpec] = {}  # stays empty in a detector that was loaded

    def fit(self, healthy: Images, validation: Images) -> None:
        """Fetch or train the VQ-VAE, and fetch or choose the memory."""
        self._check(healthy)
        model, first = vqvae.fetch(self.config.vqvae, healthy, self.runtime)
        self.encoder = model.encoder
        second = self._memory_spec(healthy, first)
        self._specs = {"vqvae": first, "memory": second}
        self._set(self.runtime.store.get(second, lambda checkpoint: self._choose(healthy)))

    def features(self, images: Tensor) -> Tensor:
        """Return (B, h, w, C) float32, what the encoder's levels end with, averaged over neighbourhoods."""
        c, levels, x = self.config, [], images
        with autocast(images.device):
            for i, block in enumerate(self.encoder.blocks[:-1]):  # the last one makes latents of the last level
                x = block(x)
                if (i + 1) % (1 + c.vqvae.residual_layers) == 0:
                    levels.append(x)
        pooled = [
            F.avg_pool2d(x.float(), c.neighbourhood, 1, c.neighbourhood // 2, count_include_pad=False) for x in levels
        ]
        finest = c.resolution == "finest"
        size, mode = (pooled[0].shape[-2:], "bilinear") if finest else (pooled[-1].shape[-2:], "area")
        return torch.cat([F.interpolate(x, size, mode=mode) for x in pooled], 1).movedim(1, -1)

    def vectors(self, features: Tensor, places: Tensor) -> Tensor:
        """Return (..., D) of features (..., C) at places (..., 2)."""
        standardised = (features - self.mean) / self.std
        weight = self.config.position_weight * len(self.mean) ** 0.5
        return torch.cat([standardised, weight * places], -1) if weight else standardised

    def encode(self, images: Tensor) -> Tensor:
        """Return the vectors of every patch, (B, h, w, D)."""
        features = self.features(images)
        _, h, w, _ = features.shape
        return self.vectors(features, places(h, w, images.device).expand(len(images), h, w, 2))

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        with self.stage("encode"):
            vectors = self.encode(images)
        with self.stage("neighbours"):
            distances, _ = nearest_items(vectors.flatten(0, 2), self.memory)
        with self.stage("post"):
            maps = distances.reshape(vectors.shape[:3])[:, None]
            maps = F.interpolate(maps, images.shape[-2:], mode="bilinear")
            return gaussian(maps, self.config.smoothing * images.shape[-2])

    @torch.no_grad()
    def image_scores(self, images: Tensor) -> Tensor:
        """Return s, (B,): the largest distance, less where the memory is sparse around it."""
        return image_score(self.encode(images).flatten(1, 2), self.memory, self.config.neighbours)

    def _check(self, healthy: Images) -> None:
        vqvae.check_size(self.config.vqvae, healthy.shape)
        factor = 2 if self.config.resolution == "finest" else self.config.vqvae.factor
        patches = len(healthy) * (healthy.shape[-2] // factor) * (healthy.shape[-1] // factor)
        if self.config.memory_size > patches:
            raise ConfigError(
                "The memory is chosen from the patches of the healthy images, but "
                f"memory_size={self.config.memory_size} is more than their {patches} patches. Lower memory_size, "
                "or add images."
            )

    def _memory_spec(self, healthy: Images, first: PartSpec) -> PartSpec:
        config = changed_fields(self.config, exclude={"vqvae", "neighbours", "smoothing"})
        parents = {"vqvae": first.key}
        return PartSpec("patchcore-memory", VERSION, config, healthy.fingerprint, self.runtime.seed, parents)

    @torch.no_grad()
    def _choose(self, healthy: Images) -> dict[str, Tensor]:
        """Return the memory, and mean and spread of the features, from random patches of all images."""
        features, at = self._candidates(healthy)
        self.mean, self.std = features.mean(0), spread(features, self.config.standardise)
        vectors = self.vectors(features, at)
        generator = stream("patchcore coreset", self.runtime.seed)
        first, points = int(torch.randint(len(vectors), (1,), generator=generator)), vectors
        if self.config.projection < vectors.shape[1]:
            psi = torch.randn(vectors.shape[1], self.config.projection, generator=generator)
            points = vectors @ (psi / self.config.projection**0.5).to(vectors.device)
        chosen = k_centre(points, self.config.memory_size, first, self.runtime.progress)
        return {"memory": vectors[chosen], "mean": self.mean, "std": self.std}

    def _candidates(self, healthy: Images) -> tuple[Tensor, Tensor]:
        """Return features (N, C) of random patches, as many of each image, and their places (N, 2)."""
        features, at = [], []
        batches, wanted = healthy.batches(BATCH), -(-self.config.candidates // len(healthy))
        for i, batch in enumerate(batches):
            found = self.features(batch.to(self.runtime.device))
            b, h, w, _ = found.shape
            generator = stream("patchcore patches", self.runtime.seed, i)
            drawn = torch.rand(b, h * w, generator=generator).argsort(1)[:, :wanted].to(found.device)
            features.append(found.flatten(1, 2)[torch.arange(b, device=found.device)[:, None], drawn].flatten(0, 1))
            at.append(places(h, w, found.device).flatten(0, 1)[drawn].flatten(0, 1))
            self.runtime.progress("healthy patches", i + 1, len(batches))
        kept = torch.randperm(sum(map(len, features)), generator=stream("patchcore candidates", self.runtime.seed))
        kept = kept[: self.config.candidates].to(features[0].device)
        return torch.cat(features)[kept], torch.cat(at)[kept]

    def _set(self, tensors: Mapping[str, Tensor]) -> None:
        self.memory, self.mean, self.std = (tensors[name].to(self.runtime.device) for name in ("memory", "mean", "std"))

    def plan(self, healthy: Images, validation: Images) -> Plan:
        self._check(healthy)
        first = vqvae.part_plan(self.config.vqvae, healthy, self.runtime)
        return Plan([first, PartPlan(self._memory_spec(healthy, first.spec), len(healthy.batches(BATCH)))])

    def artifacts(self) -> Mapping[str, str]:
        return {name: spec.key for name, spec in self._specs.items()}

    def parameters(self) -> int:
        return sum(p.numel() for p in self.encoder.parameters())

    def state(self) -> dict[str, Tensor]:
        weights = {f"encoder.{k}": v for k, v in self.encoder.state_dict().items()}
        return weights | {"memory": self.memory, "mean": self.mean, "std": self.std}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.encoder = VQVAE(self.config.vqvae).encoder
        weights = {k.removeprefix("encoder."): v for k, v in state.items() if k.startswith("encoder.")}
        self.encoder.load_state_dict(weights)
        self.encoder.to(self.runtime.device).eval().requires_grad_(False)
        self._set(state)
