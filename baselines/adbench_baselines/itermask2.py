"""IterMask2: masks that shrink from the whole image to what cannot be filled in (Liang et al. 2024, arXiv 2406.02422).

    x_h    = F^-1(A_h exp(i phase(F x)))            A_h: |F x| from a frequency of `cutoff` on, 1 below
    x_hat  = m f(m n + (1 - m) x, x_h) + (1 - m) x  n: white noise; first with m = 1 everywhere
    m      = the pixels with the largest (x - x_hat)^2, 60 % as many as the brain has
    m      <- m where (x - x_hat)^2 > threshold     again and again, until it shrinks by less than 1 %
    L      = mean of (x - x_hat)^2 where m = 1      m: all of the image, or random clusters of squares
    score  = (x - x_hat)^2, with the last x_hat

What is unmasked helps to fill in what lies beside it, and the fine structure x_h says where tissue borders run. The
threshold is exceeded by a fifth of the masked pixels of validation images under random masks. Read off the authors'
code (github.com/ZiyunLiang/IterMask2, `utils/train_util.py`, `models/test_model.py`, `datasets/brats2021.py`,
`test.py`): x_h, whose cutoff of 15 are cycles over the image; the masks; intensities from -3 to 3; the 60 %, the fifth
and the 1 %; the score, which is of the last x_hat and not of its mask.

Differs from the paper: no brain mask is known, so masks start from the whole image and lie anywhere, and the brain's
pixels are taken to be as many as those above `air`; one network is trained for the first mask and for the others, each
with half of a batch (there: two networks); it is a smaller UNet without attention, and only what it says of masked
pixels is used in L and in the score (there: of all); a map ends after `iterations` masks; noise is the same for all
images; training images are slightly moved; weights are averaged.

| code        | paper                                                   |
|-------------|---------------------------------------------------------|
| `fine`      | high-frequency image, x_h                               |
| `unet`      | f                                                       |
| `threshold` | of the squared error, below which a pixel is unmasked   |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from adbench.contracts.detector import DetectorInfo, Images
from adbench.contracts.search import Real, SearchSpace
from adbench.training.part import Size
from adbench.training.streams import stream
from adbench_baselines.images.masks import clusters
from adbench_baselines.networks.pixel import PixelConfig, PixelUNet, pixel_sizes
from adbench_baselines.networks.single import SingleNetwork

REACH = 3.0
"""Images are scaled to [-REACH, REACH]."""

SIZES = pixel_sizes(iterations=20)


class IterMask2Config(PixelConfig):
    steps: int = Field(90_000, ge=1, description="optimiser steps")
    channels: tuple[int, ...] = Field((32, 32, 64, 96, 128), min_length=1, description="channels of every level")
    cutoff: float = Field(15, ge=0, description="frequency below which amplitudes are dropped, in cycles an image side")
    first_fraction: float = Field(0.6, gt=0, lt=1, description="pixels of the first mask over those of tissue")
    air: float = Field(0.05, ge=0, lt=1, description="pixels above it are counted as tissue; air is 0")
    error_fraction: float = Field(
        0.2, gt=0, lt=1, description="part of the masked pixels of healthy images that exceeds the threshold"
    )
    least_change: float = Field(0.01, gt=0, lt=1, description="part of a mask by which it shrinks at least to go on")
    iterations: int = Field(100, ge=1, description="masks at most, each a network pass")


class Filler(nn.Module):
    """Fills in what is masked, from x_h and from what is not."""

    def __init__(self, config: IterMask2Config) -> None:
        super().__init__()
        self.cutoff = config.cutoff
        self.unet = PixelUNet(config, inputs=2)

    def forward(self, x: Tensor, mask: Tensor, fine: Tensor, noise: Tensor) -> Tensor:
        """Return x_hat of scaled images (B, 1, H, W), which are hidden by noise where mask is 1."""
        filled: Tensor = self.unet(torch.cat([torch.where(mask == 1, noise, x), fine], 1))
        return torch.where(mask == 1, filled, x)

    def losses(self, images: Tensor, generator: torch.Generator) -> Tensor:
        n, _, height, width = images.shape
        x, mask = scaled(images), clusters(n, (height, width), generator).to(images.device)
        mask[: n // 2] = 1
        noise = torch.randn(x.shape, generator=generator).to(images.device)
        errors = (x - self(x, mask, fine_structure(x, self.cutoff), noise)).square()
        return (errors.sum((1, 2, 3)) / mask.sum((1, 2, 3))).mean()


def scaled(images: Tensor) -> Tensor:
    """[0, 1] -> [-REACH, REACH]."""
    return REACH * (2 * images - 1)


def fine_structure(x: Tensor, cutoff: float) -> Tensor:
    """Return x_h of images (B, 1, H, W): amplitudes of 1 where the frequency is below `cutoff` cycles a side."""
    rows, columns = (torch.fft.fftfreq(side, 1 / side, device=x.device) for side in x.shape[-2:])
    coarse = torch.hypot(rows[:, None], columns[None, :]) < cutoff
    spectrum = torch.fft.fft2(x)
    amplitude = torch.where(coarse, 1.0, spectrum.abs())
    return torch.fft.ifft2(torch.polar(amplitude, spectrum.angle())).real


def largest(errors: Tensor, number: Tensor) -> Tensor:
    """Return a mask (B, 1, H, W) of 0 and 1: the `number` (B,) pixels of each image with the largest errors."""
    falling = errors.flatten(1).sort(dim=1, descending=True).values
    limit = falling.gather(1, number.round().long().clamp(1, falling.shape[1] - 1)[:, None])
    return (errors > limit[:, :, None, None]).float()


class IterMask2(SingleNetwork[IterMask2Config]):
    """IterMask2: residual to what is filled into a mask that shrinks until only what is anomalous is left."""

    Config = IterMask2Config
    info = DetectorInfo("IterMask2: residual in a mask that shrinks from the whole image", "Liang et al. 2024", "1")
    family = "reconstruction"
    kind = "itermask2"
    inference_only = frozenset({"air", "first_fraction", "error_fraction", "least_change", "iterations"})
    presets = SIZES
    search_space: ClassVar[SearchSpace] = SearchSpace(
        inference={"first_fraction": Real(0.2, 0.9), "error_fraction": Real(0.02, 0.5, log=True)},
        training={"learning_rate": Real(1e-4, 5e-3, log=True), "cutoff": Real(4, 24)},
    )
    threshold: Tensor
    """Of the squared error of scaled images, ()."""

    @property
    def factor(self) -> int:
        return self.config.factor

    @property
    def passes(self) -> Mapping[str, int]:
        """At most: masks of all images of a batch may be done earlier."""
        return {"first": 1, "refine": self.config.iterations}

    def network(self, size: Size) -> nn.Module:
        return Filler(self.config)

    def one_pass(self, net: Any, images: Tensor) -> Tensor:
        out: Tensor = net(images, torch.zeros_like(images), images, images)
        return out

    def fit(self, healthy: Images, validation: Images) -> None:
        """Fetch or train the networks, and find the threshold on the validation images."""
        super().fit(healthy, validation)
        errors = torch.cat(list(self._masked_errors(validation)))
        rank = max(1, round((1 - self.config.error_fraction) * len(errors)))
        self.threshold = errors.kthvalue(rank).values

    @torch.no_grad()
    def _masked_errors(self, validation: Images) -> Iterator[Tensor]:
        """Squared errors of the masked pixels under random masks, a batch at a time."""
        for index, images in enumerate(validation.batches(self.config.batch_size)):
            generator = stream(f"{self.kind} threshold", self.runtime.seed, index)
            mask, noise = clusters(len(images), self.size, generator), torch.randn(images.shape, generator=generator)
            x, mask, noise = (tensor.to(self.runtime.device) for tensor in (scaled(images), mask, noise))
            x_hat = self.net(x, mask, fine_structure(x, self.config.cutoff), noise)
            yield (x - x_hat).square()[mask == 1]

    @torch.no_grad()
    def score(self, images: Tensor) -> Tensor:
        """Return the squared residual, (B, 1, H, W) float32."""
        x = scaled(images)
        fine = fine_structure(x, self.config.cutoff)
        with self.stage("first", passes=1):
            mask = self.first_mask(images, x, fine)
        errors, active = torch.zeros_like(x), torch.arange(len(x), device=x.device)
        for iteration in range(1, self.config.iterations + 1):
            with self.stage("refine", passes=1):
                of, before = x[active], mask[active]
                errors[active] = self.errors(of, before, fine[active], iteration)
                mask[active] = before * (errors[active] > self.threshold)
                pixels, left = before.sum((1, 2, 3)), mask[active].sum((1, 2, 3))
                active = active[(pixels > 0) & (pixels - left >= self.config.least_change * pixels)]
            if not len(active):
                break
        return errors

    def first_mask(self, images: Tensor, x: Tensor, fine: Tensor) -> Tensor:
        """Return the pixels that are worst filled in where all is masked, as a mask (B, 1, H, W) of 0 and 1."""
        tissue = (images > self.config.air).sum((1, 2, 3))
        return largest(self.errors(x, torch.ones_like(x), fine, 0), self.config.first_fraction * tissue)

    def errors(self, x: Tensor, mask: Tensor, fine: Tensor, iteration: int) -> Tensor:
        """Return (x - x_hat)^2."""
        squared: Tensor = (x - self.net(x, mask, fine, self.noise(iteration, x).expand_as(x))).square()
        return squared

    def noise(self, iteration: int, like: Tensor) -> Tensor:
        """Return n (1, 1, H, W), the same for all images."""
        generator = stream(f"{self.kind} noise", self.runtime.seed, iteration)
        return torch.randn(1, *like.shape[1:], generator=generator).to(like.device)

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), "threshold": self.threshold}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_state(state)
        self.threshold = state["threshold"].to(self.runtime.device)
