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
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from adbench.contracts.detector import DetectorConfig, DetectorInfo, Images, Progress
from adbench.contracts.plan import Plan
from adbench.contracts.search import Choice, Real, SearchSpace
from adbench.errors import ConfigError
from adbench.storage.saved import Checkpoint
from adbench.training.detector import TrainedDetector
from adbench.training.part import Part, Source, TrainedPart
from adbench.training.streams import stream
from adbench_baselines.images.filters import gaussian
from adbench_baselines.networks import vqvae
from adbench_baselines.networks.features import encoder_levels
from adbench_baselines.networks.vqvae import VQVAE_SIZES, VQVAEConfig

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
    neighbourhood: int = Field(3, ge=1, le=63, description="p, side of the square that features are averaged over; odd")
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
    smoothing: float = Field(
        4 / 224, ge=0, le=1, description="sigma of the score map's Gaussian, in heights of the image"
    )

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
    distances, items = (each.reshape(vectors.shape[:2]) for each in nearest_items(vectors.flatten(0, 1), memory))
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


def features(encoder: Any, images: Tensor, config: PatchCoreConfig) -> Tensor:
    """Return (B, h, w, C) float32, what the encoder's levels end with, averaged over neighbourhoods."""
    side = config.neighbourhood
    levels = encoder_levels(encoder, images, config.vqvae)
    pooled = [F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False) for x in levels]
    finest = config.resolution == "finest"
    size, mode = (pooled[0].shape[-2:], "bilinear") if finest else (pooled[-1].shape[-2:], "area")
    return torch.cat([F.interpolate(x, size, mode=mode) for x in pooled], 1).movedim(1, -1)


class Memory(nn.Module):
    """M, with mean and spread of healthy features; turns features into vectors that compare with it."""

    memory: Tensor
    """(M, D)"""
    mean: Tensor
    """(C,), of healthy features; `std` likewise."""
    std: Tensor

    def __init__(self, config: PatchCoreConfig) -> None:
        super().__init__()
        channels = config.vqvae.channels * (config.vqvae.factor.bit_length() - 1)
        self.weight = config.position_weight * channels**0.5
        width = channels + 2 if self.weight else channels
        self.register_buffer("memory", torch.empty(config.memory_size, width))
        self.register_buffer("mean", torch.empty(channels))
        self.register_buffer("std", torch.empty(channels))

    def forward(self, features: Tensor, places: Tensor) -> Tensor:
        """Return (..., D) of features (..., C) at places (..., 2)."""
        standardised = (features - self.mean) / self.std
        return torch.cat([standardised, self.weight * places], -1) if self.weight else standardised


@dataclass(frozen=True, kw_only=True)
class MemoryPart(Part):
    """The memory, which is chosen and not trained."""

    computed = True

    def steps(self, healthy: Images) -> int:
        return len(healthy.batches(BATCH))

    @torch.no_grad()
    def make(self, net: Memory, source: Source, checkpoint: Checkpoint) -> None:
        """Take mean and spread of the features, and the memory, from random patches of all images."""
        config, runtime = self.config, source.runtime
        chosen, at = candidates(config, source)
        net.mean.copy_(chosen.mean(0))
        net.std.copy_(spread(chosen, config.standardise))
        vectors = net(chosen, at)
        generator = stream("patchcore coreset", runtime.seed)
        first, points = int(torch.randint(len(vectors), (1,), generator=generator)), vectors
        if config.projection < vectors.shape[1]:
            psi = torch.randn(vectors.shape[1], config.projection, generator=generator)
            points = vectors @ (psi / config.projection**0.5).to(vectors.device)
        net.memory.copy_(vectors[k_centre(points, config.memory_size, first, runtime.progress)])


def memory_part(config: PatchCoreConfig, compressor: TrainedPart) -> MemoryPart:
    return MemoryPart(
        kind="patchcore-memory",
        version=VERSION,
        config=config,
        exclude={"vqvae", "neighbours", "smoothing"},
        network=lambda size: Memory(config),
        parents={"vqvae": compressor},
    )


def candidates(config: PatchCoreConfig, source: Source) -> tuple[Tensor, Tensor]:
    """Return features (N, C) of random patches, as many of each image, and their places (N, 2)."""
    patches, at, runtime = [], [], source.runtime
    batches, wanted = source.healthy.batches(BATCH), -(-config.candidates // len(source.healthy))
    for i, batch in enumerate(batches):
        maps = features(source.parents["vqvae"].encoder, batch.to(runtime.device), config)
        b, h, w, _ = maps.shape
        generator = stream("patchcore patches", runtime.seed, i)
        drawn = torch.rand(b, h * w, generator=generator).argsort(1)[:, :wanted].to(maps.device)
        patches.append(maps.flatten(1, 2)[torch.arange(b, device=maps.device)[:, None], drawn].flatten(0, 1))
        at.append(places(h, w, maps.device).flatten(0, 1)[drawn].flatten(0, 1))
        runtime.progress("healthy patches", i + 1, len(batches))
    kept = torch.randperm(sum(map(len, patches)), generator=stream("patchcore candidates", runtime.seed))
    kept = kept[: config.candidates].to(patches[0].device)
    return torch.cat(patches)[kept], torch.cat(at)[kept]


def check_patches(config: PatchCoreConfig, healthy: Images) -> None:
    """Raise ConfigError where the healthy images have fewer patches than the memory."""
    factor = 2 if config.resolution == "finest" else config.vqvae.factor
    patches = len(healthy) * (healthy.shape[-2] // factor) * (healthy.shape[-1] // factor)
    if config.memory_size > patches:
        raise ConfigError(
            "The memory is chosen from the patches of the healthy images, but "
            f"memory_size={config.memory_size} is more than their {patches} patches. Lower memory_size, or add images."
        )


class PatchCore(TrainedDetector[PatchCoreConfig]):
    """Distance of each patch's features to the nearest of a memory of healthy patches."""

    Config = PatchCoreConfig
    info = DetectorInfo("distance to a memory of healthy patch features", SOURCE, "1")
    family = "feature"
    presets = {
        "smoke": {"vqvae": VQVAE_SIZES["smoke"], "candidates": 5_000, "memory_size": 500, **CPU_FIELDS},
        "demo": {"vqvae": VQVAE_SIZES["demo"], "candidates": 30_000, "memory_size": 3_000, **CPU_FIELDS},
        "small": {"vqvae": VQVAE_SIZES["small"], "candidates": 100_000, **CPU_FIELDS},
        "standard": {"vqvae": VQVAE_SIZES["standard"], "candidates": 100_000, **CPU_FIELDS},
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

    def parts(self) -> Mapping[str, Part]:
        compressor = vqvae.part(self.config.vqvae)
        return {"vqvae": compressor, "memory": memory_part(self.config, compressor)}

    @property
    def encoder(self) -> Any:
        """MONAI's encoder, whose blocks are used one by one."""
        return self.trained["vqvae"].encoder

    @property
    def memory(self) -> Tensor:
        """M, (M, D)."""
        memory: Tensor = self.trained["memory"].memory
        return memory

    def features(self, images: Tensor) -> Tensor:
        """Return (B, h, w, C) float32, see `features`."""
        return features(self.encoder, images, self.config)

    def vectors(self, features: Tensor, places: Tensor) -> Tensor:
        """Return (..., D) of features (..., C) at places (..., 2)."""
        vectors: Tensor = self.trained["memory"](features, places)
        return vectors

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

    def plan(self, healthy: Images, validation: Images) -> Plan:
        check_patches(self.config, healthy)
        return super().plan(healthy, validation)

    def fit(self, healthy: Images, validation: Images) -> None:
        """Fetch or train the VQ-VAE, and fetch or choose the memory."""
        check_patches(self.config, healthy)
        super().fit(healthy, validation)

    def parameters(self) -> int:
        return sum(p.numel() for p in self.encoder.parameters())
