"""The equations of denoising diffusion, one pure function each (Ho et al. 2020; Song et al. 2020; Pinaya et al. 2022).

Steps are numbered as in the papers: t = 1..T are noise levels and 0 is the clean end, so `alpha_bar[0] == 1`. A step
`t` is an int, or a (B,) tensor of ints, one for each image.

| code        | paper                                            |
|-------------|--------------------------------------------------|
| `beta`      | beta_t, variance of one forward step             |
| `alpha`     | alpha_t = 1 - beta_t                             |
| `alpha_bar` | prod of alpha_s for s = 1..t                     |
| `beta_tilde`| variance of q(x_{t-1} | x_t, x_0)                |
| `eps_theta` | the network's estimate of the noise eps in x_t   |
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Step = int | Tensor
Variance = Literal["beta_tilde", "beta"]


@dataclass(frozen=True)
class Schedule:
    """Tables of T + 1 float64 values, index 0 for the clean end."""

    beta: Tensor
    alpha: Tensor
    alpha_bar: Tensor

    @classmethod
    def scaled_linear(cls, steps: int, first: float, last: float) -> Schedule:
        """beta_t linear in its square root from `first` to `last` (Rombach et al. 2021)."""
        return cls.of(torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2)

    @classmethod
    def linear(cls, steps: int, first: float, last: float) -> Schedule:
        """beta_t linear from `first` to `last` (Ho et al. 2020)."""
        return cls.of(torch.linspace(first, last, steps, dtype=torch.float64))

    @classmethod
    def cosine(cls, steps: int) -> Schedule:
        """alpha_bar_t ~ cos^2((t / T + 0.008) / 1.008 pi / 2), beta_t at most 0.999 (Nichol and Dhariwal 2021)."""
        angle = (torch.linspace(0, 1, steps + 1, dtype=torch.float64) + 0.008) / 1.008 * torch.pi / 2
        alpha_bar = angle.cos().square()
        return cls.of((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999))

    @classmethod
    def of(cls, beta: Tensor) -> Schedule:
        """The tables of beta_t for t = 1..T."""
        beta = torch.cat([torch.zeros(1, dtype=torch.float64), beta])
        return cls(beta, 1 - beta, (1 - beta).cumprod(0))

    @property
    def steps(self) -> int:
        """T."""
        return len(self.beta) - 1

    @property
    def beta_tilde(self) -> Tensor:
        """beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t); 0 at t = 0 and t = 1."""
        value = torch.zeros_like(self.beta)
        value[1:] = self.beta[1:] * (1 - self.alpha_bar[:-1]) / (1 - self.alpha_bar[1:])
        return value

    def at(self, table: Tensor, t: Step, like: Tensor) -> Tensor:
        """Values of a table at t, shaped to broadcast over (B, C, H, W)."""
        index = torch.as_tensor(t, device=table.device)
        return table[index].to(like.device, like.dtype).reshape(-1, *(1,) * (like.ndim - 1))


def q_sample(schedule: Schedule, x_0: Tensor, t: Step, eps: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps."""
    alpha_bar = schedule.at(schedule.alpha_bar, t, x_0)
    return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps


def q_forward(schedule: Schedule, x_s: Tensor, s: int, t: int, eps: Tensor) -> Tensor:
    """x_t = sqrt(r) x_s + sqrt(1 - r) eps with r = alpha_bar_t / alpha_bar_s: noise again from level s to t > s."""
    ratio = schedule.at(schedule.alpha_bar, t, x_s) / schedule.at(schedule.alpha_bar, s, x_s)
    return ratio.sqrt() * x_s + (1 - ratio).sqrt() * eps


def predict_x_0(schedule: Schedule, x_t: Tensor, t: Step, eps_theta: Tensor) -> Tensor:
    """x0_hat = (x_t - sqrt(1 - alpha_bar_t) eps_theta) / sqrt(alpha_bar_t)."""
    alpha_bar = schedule.at(schedule.alpha_bar, t, x_t)
    return (x_t - (1 - alpha_bar).sqrt() * eps_theta) / alpha_bar.sqrt()


def predict_eps(schedule: Schedule, x_t: Tensor, t: Step, x_0: Tensor) -> Tensor:
    """eps = (x_t - sqrt(alpha_bar_t) x_0) / sqrt(1 - alpha_bar_t), the inverse of `predict_x_0`."""
    alpha_bar = schedule.at(schedule.alpha_bar, t, x_t)
    return (x_t - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()


def posterior_mean(schedule: Schedule, x_0: Tensor, x_t: Tensor, t: Step) -> Tensor:
    """mu~ of q(x_{t-1} | x_t, x_0)."""
    previous = t - 1
    alpha, beta = schedule.at(schedule.alpha, t, x_t), schedule.at(schedule.beta, t, x_t)
    now, before = schedule.at(schedule.alpha_bar, t, x_t), schedule.at(schedule.alpha_bar, previous, x_t)
    return before.sqrt() * beta / (1 - now) * x_0 + alpha.sqrt() * (1 - before) / (1 - now) * x_t


def ddpm_step(
    schedule: Schedule, x_t: Tensor, t: Step, eps_theta: Tensor, noise: Tensor, variance: Variance = "beta_tilde"
) -> Tensor:
    """x_{t-1} ~ N(mu_theta, variance), mu_theta = (x_t - beta_t / sqrt(1 - alpha_bar_t) eps_theta) / sqrt(alpha_t).

    The last step, t = 1, returns the mean.
    """
    alpha, beta = schedule.at(schedule.alpha, t, x_t), schedule.at(schedule.beta, t, x_t)
    alpha_bar = schedule.at(schedule.alpha_bar, t, x_t)
    mean = (x_t - beta / (1 - alpha_bar).sqrt() * eps_theta) / alpha.sqrt()
    table = schedule.beta_tilde if variance == "beta_tilde" else schedule.beta
    last = (torch.as_tensor(t, device=x_t.device) == 1).reshape(-1, *(1,) * (x_t.ndim - 1))
    return mean + torch.where(last, 0.0, schedule.at(table, t, x_t).sqrt()) * noise


def ddim_step(
    schedule: Schedule, x_t: Tensor, t: Step, s: Step, eps_theta: Tensor, eta: float = 0.0, noise: Tensor | None = None
) -> Tensor:
    """x_s for any s < t (Song et al. 2020, eq. 12); eta = 0 is deterministic, eta = 1 is the DDPM posterior step."""
    if eta and noise is None:
        raise ValueError(f"eta > 0 needs noise, got eta = {eta} and none.")
    now, then = schedule.at(schedule.alpha_bar, t, x_t), schedule.at(schedule.alpha_bar, s, x_t)
    sigma = eta * ((1 - then) / (1 - now) * (1 - now / then)).sqrt()
    x_s = then.sqrt() * predict_x_0(schedule, x_t, t, eps_theta) + (1 - then - sigma**2).clamp_min(0).sqrt() * eps_theta
    return x_s if noise is None else x_s + sigma * noise


def kl_term(schedule: Schedule, eps: Tensor, eps_theta: Tensor, t: Step, variance: Variance = "beta_tilde") -> Tensor:
    """L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t)) of every latent element, in nats, for t >= 2.

    The two means differ by beta_t (eps_theta - eps) / sqrt(alpha_t (1 - alpha_bar_t)).
    """
    alpha, beta = schedule.at(schedule.alpha, t, eps), schedule.at(schedule.beta, t, eps)
    squared = (eps - eps_theta).square()
    if variance == "beta_tilde":
        return beta / (2 * alpha * (1 - schedule.at(schedule.alpha_bar, t - 1, eps))) * squared
    ratio = schedule.at(schedule.beta_tilde, t, eps) / beta
    of_variances = 0.5 * (ratio - 1 - ratio.log())
    return beta / (2 * alpha * (1 - schedule.at(schedule.alpha_bar, t, eps))) * squared + of_variances


def spaced(low: int, high: int, n: int) -> list[int]:
    """`n` evenly spaced steps of range(low, high), its ends among them (for n = 1 the first); all where n is larger."""
    if n >= high - low:
        return list(range(low, high))
    span, gaps = high - 1 - low, max(1, n - 1)
    return [round(low + i * span / gaps) for i in range(n)]


def descent(start: int, n: int) -> list[tuple[int, int]]:
    """Pairs (t, s) that lead from `start` to 0 in `n` evenly spaced steps."""
    n = min(n, start)
    times = [round(start * (n - i) / n) for i in range(n + 1)]
    return list(itertools.pairwise(times))
