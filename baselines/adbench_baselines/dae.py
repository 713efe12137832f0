"""Denoising autoencoder with coarse noise (Kascenas, Pugeault and O'Neil 2022, MIDL, PMLR 172:653-664).

    n        ~ N(0, sigma^2) on a grid of H/8 x W/8, made bilinear to H x W, rolled by a random number of pixels
    x_noisy  = x + m n                                        m: foreground, x > background + margin
    L        = sum of (m (x - f(x_noisy)))^2 / pixels         (over the image where `masked` is false)
    score    = median_5x5( erode_5x5(m) |x - f(x)| )          an image's score is the mean of its map

f is a UNet of four levels: two 3 x 3 convolutions each with standardised weights, SiLU, group norm and reflected
borders; average pooling down, transposed convolutions up. The paper's images are 128 x 128 and its grid 16 x 16: cells
of 8 px (`cell_px`) keep that ratio at a given size.

The paper's images are skull-stripped MRI, 0 outside the brain and m = (x > 0.01). Other images have another level there
(air in an 8-bit CT is about 0.1): `background` is by default the median of the border pixels of the training images.

Differs from the paper: holes in m, which may be dark lesions, belong to the foreground (`fill_holes=false`: not); the
learning rate falls once and weights are averaged (`ema_decay=0`: not), with AdamW, without AMSGrad; training images are
slightly moved, as for the VQ-VAE (`augmentation=0`: not); noise is rolled image by image, not a batch at once.

| code          | paper                                    |
|---------------|------------------------------------------|
| `noise_std`   | sigma                                    |
| `foreground`  | m                                        |
| `x_hat`       | f(x), without noise                      |
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from scipy import ndimage
from torch import Tensor, nn

from adbench.contracts.detector import DetectorInfo, Images
from adbench.contracts.search import Choice, Integer, Real, SearchSpace
from adbench.devices.device import autocast
from adbench.training.part import Size
from adbench_baselines.images.filters import eroded, median
from adbench_baselines.networks.reconstruction import Reconstruction, ReconstructionNet
from adbench_baselines.networks.single import NetworkConfig

BACKGROUND_IMAGES = 512
"""Training images that the background's level is estimated on, at most."""

SHORT_TRAINING = {"learning_rate": 1e-3, "noise_std": 0.4, "margin": 0.05, "masked": False}
"""Of the presets for CPUs, whose data may be CT with sprites: noise about as strong as a sprite, no mask, as sprites
reach beyond the head's outline, and a margin above the noise of a CT's background."""
SIZES: dict[str, dict[str, Any]] = {
    "smoke": {**SHORT_TRAINING, "channels": (16, 32, 32), "steps": 30},
    "demo": {**SHORT_TRAINING, "channels": (16, 32, 64), "steps": 400},
    "small": {**SHORT_TRAINING, "channels": (32, 64, 128), "steps": 4000, "batch_size": 32},
    "standard": {**SHORT_TRAINING, "channels": (32, 64, 128), "steps": 4000},
    "paper": {},
}


class DAEConfig(NetworkConfig):
    channels: tuple[int, ...] = Field((64, 128, 256, 512), min_length=1, description="channels of every level")
    noise_std: float = Field(0.2, gt=0, description="sigma, spread of the noise at the points of its grid")
    cell_px: int = Field(8, ge=1, description="side of a cell of the noise's grid in pixels")
    background: float | None = Field(
        None, ge=0, le=1, description="intensity outside the head; null: median of the training images' border pixels"
    )
    margin: float = Field(0.01, ge=0, lt=1, description="a pixel this much above the background is foreground")
    fill_holes: bool = Field(True, description="holes of the foreground belong to it")
    masked: bool = Field(True, description="loss and scores of the foreground alone; else of the whole image")
    erosion_px: int = Field(
        5, ge=1, le=63, description="side of the square that the scores' mask is eroded by; 1 for none"
    )
    median_px: int = Field(5, ge=1, le=63, description="side of the median filter on scores, odd; 1 for none")
    steps: int = Field(67_200, ge=1, description="optimiser steps")
    batch_size: int = Field(16, ge=2)
    final_learning_rate: float = Field(0.0, ge=0, le=1, description="fraction kept at the end of a half cosine")
    weight_decay: float = Field(1e-5, ge=0)

    def model_post_init(self, context: object) -> None:
        for name in ("erosion_px", "median_px"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} must be odd, got {getattr(self, name)}")


def coarse_noise(shape: torch.Size, std: float, cell: int, generator: torch.Generator) -> Tensor:
    """Return noise (B, 1, H, W) on the CPU: N(0, std^2) on a grid of `cell` px, bilinear between, rolled at random."""
    n, _, height, width = shape
    grid = torch.randn(n, 1, math.ceil(height / cell), math.ceil(width / cell), generator=generator) * std
    fine = F.interpolate(grid, (height, width), mode="bilinear", align_corners=True)[:, 0]
    down = torch.randint(height, (n, 1), generator=generator)
    right = torch.randint(width, (n, 1), generator=generator)
    rows, columns = (torch.arange(height) - down) % height, (torch.arange(width) - right) % width
    return fine[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]


def border_level(images: Tensor) -> Tensor:
    """Return the median of the outermost pixels of images (B, 1, H, W), a scalar."""
    sides = (images[..., 0, :], images[..., -1, :], images[..., 1:-1, 0], images[..., 1:-1, -1])
    return torch.cat([side.flatten() for side in sides]).median()


def foreground(images: Tensor, level: Tensor | float, fill_holes: bool) -> Tensor:
    """Return the bool mask (B, 1, H, W) of pixels above `level`, and of the holes that they enclose."""
    above = images > level
    if not fill_holes:
        return above
    structure = ndimage.generate_binary_structure(2, 1)[None, None]  # within an image, never from one to the next
    return torch.from_numpy(ndimage.binary_fill_holes(above.cpu().numpy(), structure)).to(images.device)


class StandardisedConv(nn.Conv2d):
    """Convolution whose weights have mean 0 and variance 1 / fan-in for every output (Qiao et al. 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        weight = (self.weight - mean) * torch.rsqrt(variance * self.weight[0].numel() + 1e-5)
        return self._conv_forward(x, weight, self.bias)


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions 3 x 3, each with SiLU and group norm."""
    layers: list[nn.Module] = []
    for source in (inputs, outputs):
        conv = StandardisedConv(source, outputs, 3, padding=1, padding_mode="reflect")
        layers += [conv, nn.SiLU(), nn.GroupNorm(math.gcd(8, outputs), outputs)]
    return nn.Sequential(*layers)


class DenoisingUNet(ReconstructionNet):
    """x_noisy (B, 1, H, W) -> x_hat, with skip connections at every level."""

    level: Tensor

    def __init__(self, config: DAEConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.channels
        self.down = nn.ModuleList(block(i, o) for i, o in zip((1, *widths), widths, strict=False))
        pairs = [(widths[i + 1], widths[i]) for i in reversed(range(len(widths) - 1))]
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in pairs)
        self.merge = nn.ModuleList(block(2 * o, o) for _, o in pairs)
        self.last = nn.Conv2d(widths[0], 1, 1)
        self.register_buffer("level", torch.zeros(()))  # the background's; kept with the weights

    def forward(self, images: Tensor) -> Tensor:
        with autocast(images.device):
            x, skips = self.down[0](images), []
            for down in self.down[1:]:
                skips.append(x)
                x = down(F.avg_pool2d(x, 2))
            for up, merge in zip(self.up, self.merge, strict=True):
                x = merge(torch.cat([up(x), skips.pop()], 1))
            x_hat: Tensor = self.last(x)
        return x_hat.float()

    def foreground(self, images: Tensor) -> Tensor:
        """m, (B, 1, H, W) bool."""
        return foreground(images, self.level + self.config.margin, self.config.fill_holes)

    def losses(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return the mean of the squared error of the reconstruction from noised images."""
        mask = self.foreground(images)
        noise = coarse_noise(images.shape, self.config.noise_std, self.config.cell_px, generator).to(images.device)
        error = images - self(images + mask * noise)
        return (error * mask if self.config.masked else error).square().mean()


class DAE(Reconstruction[DAEConfig]):
    """Denoising autoencoder: residual to what a UNet trained to remove coarse noise makes of the image."""

    Config = DAEConfig
    info = DetectorInfo("DAE: residual of a UNet that removes coarse noise", "Kascenas et al. 2022", "1")
    family = "reconstruction"
    kind = "dae"
    inference_only = frozenset({"erosion_px", "median_px"})
    presets = SIZES
    search_space: ClassVar[SearchSpace] = SearchSpace(
        inference={"median_px": Choice((1, 3, 5, 7)), "erosion_px": Choice((1, 3, 5))},
        training={
            "noise_std": Real(0.1, 0.8, log=True),
            "cell_px": Integer(2, 16, log=True),
            "masked": Choice((True, False)),
            "learning_rate": Real(1e-4, 3e-3, log=True),
        },
    )

    @property
    def factor(self) -> int:
        return int(2 ** (len(self.config.channels) - 1))

    def network(self, size: Size) -> ReconstructionNet:
        return DenoisingUNet(self.config)

    def prepare(self, net: DenoisingUNet, healthy: Images) -> None:
        """Set the background's level, given or estimated."""
        given = self.config.background
        net.level.copy_(border_level(healthy[:BACKGROUND_IMAGES]) if given is None else torch.tensor(given))

    def post(self, images: Tensor, x_hat: Tensor) -> Tensor:
        """Return the residual, within the eroded foreground where `masked`, median-filtered."""
        residual = (images - x_hat).abs()
        if self.config.masked:
            residual = residual * eroded(self.net.foreground(images), self.config.erosion_px)
        return median(residual, self.config.median_px)
