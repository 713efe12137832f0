"""Denoising diffusion on pixels: config, network and base of its methods. Images [0, 1] are diffused as [-1, 1]."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal, Self, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from adbench.training.part import Size
from adbench.training.streams import stream
from adbench_baselines.diffusion.noise import simplex_octaves, white
from adbench_baselines.diffusion.schedule import Schedule, q_sample
from adbench_baselines.networks.pixel import PixelConfig, PixelUNet, TimedNetwork


class DiffusedConfig(PixelConfig):
    """The forward process, and the steps that the network learns."""

    schedule: Literal["linear", "cosine"] = Field("linear", description="of beta_t, or of alpha_bar_t")
    diffusion_steps: int = Field(1000, ge=10, lt=10_000, description="T")
    beta_first: float = Field(1e-4, gt=0, lt=1, description="beta_1 of schedule=linear")
    beta_last: float = Field(0.02, gt=0, lt=1, description="beta_T of schedule=linear")
    t_last: int | None = Field(None, ge=1, description="last t that training draws; null: T, as in the paper")

    @model_validator(mode="after")
    def _steps_lie_in_the_chain(self) -> Self:
        if self.trained > self.diffusion_steps:
            raise ValueError(f"t_last <= T is needed, got {self.t_last} and T = {self.diffusion_steps}")
        return self

    @property
    def trained(self) -> int:
        """The last t that the network knows."""
        return self.t_last or self.diffusion_steps

    def check_trained(self, name: str, t: int) -> None:
        """Raise ValueError where the network does not know t."""
        if t > self.trained:
            raise ValueError(
                f"{name}={t} is beyond the steps that the network is trained on, 1 to {self.trained}: lower it, or "
                "raise t_last"
            )

    @property
    def tables(self) -> Schedule:
        if self.schedule == "cosine":
            return Schedule.cosine(self.diffusion_steps)
        return Schedule.linear(self.diffusion_steps, self.beta_first, self.beta_last)


class SimplexConfig(DiffusedConfig):
    """Noise of octaves, or white."""

    noise: Literal["simplex", "gaussian"] = Field("simplex", description="in training and in scoring")
    octaves: int = Field(6, ge=1, le=12, description="of noise=simplex")
    noise_dimensions: Literal[2, 3] = Field(3, description="of noise=simplex: in the plane, or a slice of three")
    persistence: float = Field(0.8, gt=0, le=1, description="amplitude of an octave over that of the one before")
    noise_std: float = Field(
        0.505, gt=0, description="standard deviation of noise=simplex: what six octaves of OpenSimplex noise have"
    )
    wavelength: float = Field(0.25, gt=0, description="of the first octave, over the image's shorter side")

    def field(self, n: int, size: Size, generator: torch.Generator) -> Tensor:
        """Return noise (n, 1, H, W)."""
        if self.noise == "gaussian":
            return white(n, size, generator)
        wavelength_px = self.wavelength * min(size)
        octaves = (self.octaves, self.persistence, wavelength_px, self.noise_dimensions)
        return self.noise_std * simplex_octaves(n, size, *octaves, generator)


class DiffusedNet(nn.Module):
    """What a UNet makes of x_t (B, 1, H, W) and t (B,): an estimate of eps or of x_0."""

    def __init__(self, config: DiffusedConfig) -> None:
        super().__init__()
        self.unet = PixelUNet(config)
        self.schedule, self.trained = config.tables, config.trained

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        out: Tensor = self.unet(x_t, t)
        return out

    def steps(self, n: int, generator: torch.Generator) -> Tensor:
        """Return t (n,) uniform in the trained steps."""
        return torch.randint(1, self.trained + 1, (n,), generator=generator)


class NoiseNet(DiffusedNet):
    """eps_theta(x_t, t), trained with L_simple = mean (eps - eps_theta)^2 on noise that a method draws."""

    @abstractmethod
    def draw(self, n: int, size: Size, generator: torch.Generator) -> Tensor:
        """Return eps (n, 1, H, W)."""

    def losses(self, images: Tensor, generator: torch.Generator) -> Tensor:
        n, _, height, width = images.shape
        t, eps = self.steps(n, generator), self.draw(n, (height, width), generator).to(images.device)
        x_t = q_sample(self.schedule, centred(images), t, eps)
        return (eps - self(x_t, t.to(images.device))).square().mean()


class FieldNet(NoiseNet):
    """eps_theta of the noise that the config names."""

    def __init__(self, config: SimplexConfig) -> None:
        super().__init__(config)
        self.config = config

    def draw(self, n: int, size: Size, generator: torch.Generator) -> Tensor:
        return self.config.field(n, size, generator)


def centred(images: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return 2 * images - 1


def restored(x: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1], the inverse of `centred`."""
    return (x + 1) / 2


ConfigT = TypeVar("ConfigT", bound=SimplexConfig)


class SimplexDiffusion(TimedNetwork[ConfigT]):
    """Base of methods that score with fields of noise, one for each t and name, the same for every image."""

    def noise_at(self, name: str, t: int, like: Tensor) -> Tensor:
        """Return eps (1, 1, H, W); drawn once."""
        key = (name, t)
        if key not in self._fields:
            generator = stream(f"{self.kind} {name}", self.runtime.seed, t)
            self._fields[key] = self.config.field(1, self.size, generator).to(like.device)
        return self._fields[key]

    @property
    def _fields(self) -> dict[tuple[str, int], Tensor]:
        """Fields that were drawn."""
        kept: dict[tuple[str, int], Tensor] = self.__dict__.setdefault("_kept", {})
        return kept
