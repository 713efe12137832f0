"""A Wasserstein GAN with gradient penalty on healthy images, the first part of f-AnoGAN (Gulrajani et al. 2017).

    critic      L_D = E[D(G(z))] - E[D(x)] + lambda E[(|grad D(x')| - 1)^2],  x' = u x + (1 - u) G(z),  u ~ U(0, 1)
    generator   L_G = -E[D(G(z))],  z ~ N(0, I)

| code             | paper                                                          |
|------------------|----------------------------------------------------------------|
| `critic`         | D, the discriminator                                           |
| `penalty_weight` | lambda                                                         |
| `distance`       | E[D(x)] - E[D(G(z))], the estimate of the Wasserstein distance |

Its training is in `wgan_training.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adbench_baselines.networks.wgan_networks import Generator, Trunk, WGANConfig


class WGAN(nn.Module):
    """Generator and critic."""

    def __init__(self, config: WGANConfig, size: Sequence[int]) -> None:
        super().__init__()
        self.config = config
        self.generator, self.critic = Generator(config, size), Trunk(config, size, 1)

    @property
    def device(self) -> torch.device:
        return self.generator.size.device

    def noise(self, n: int, generator: torch.Generator) -> Tensor:
        """Return z ~ N(0, I), (n, n_z)."""
        return torch.randn(n, self.config.latent_dim, generator=generator).to(self.device)

    def critic_loss(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return L_D and the distance, both scalar, with fresh z and u."""
        with torch.no_grad():
            fake = self.generator(self.noise(len(images), generator))
        u = torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device)
        on_real, on_fake = self.critic(torch.cat([images, fake])).chunk(2)
        distance = on_real.mean() - on_fake.mean()
        penalty = gradient_penalty(self.critic, u * images + (1 - u) * fake)
        return self.config.penalty_weight * penalty - distance, distance.detach()

    def generator_loss(self, generator: torch.Generator) -> Tensor:
        """Return L_G of a batch of samples, scalar."""
        loss: Tensor = -self.critic(self.generator(self.noise(self.config.batch_size, generator))).mean()
        return loss


def gradient_penalty(critic: nn.Module, images: Tensor) -> Tensor:
    """Return E[(|grad D(x)| - 1)^2], the norm of each sample's gradient taken over all its dimensions."""
    return (slopes(critic, images) - 1).square().mean()


def slopes(critic: nn.Module, images: Tensor) -> Tensor:
    """Return |grad D(x)| of every sample, (B,) float32.

    Under bfloat16 autocast the gradient is that of the network as it computes; its norm is taken in float32.
    """
    images = images.detach().requires_grad_()
    given = images.view_as(images)  # no leaf: PyTorch's FLOP counter cannot follow `grad` to one that a module is given
    (gradient,) = torch.autograd.grad(critic(given).sum(), images, create_graph=True)
    return gradient.float().flatten(1).norm(dim=1)
