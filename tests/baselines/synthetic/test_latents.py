"""What healthy latents are corrupted with."""

from __future__ import annotations

import torch
from adbench_baselines.synthetic.latents import corrupted, fillings
from torch import Tensor

from adbench.training.streams import stream


def latents(n: int = 200, key: int = 0) -> Tensor:
    return torch.randn(n, 3, 16, 16, generator=stream("latents", key))


def changed_by(
    z: Tensor, healthy: float = 0.1, foreign: float = 0.5, strengths: tuple[float, float] = (0.2, 1.0)
) -> Tensor:
    """Return the bool masks (N, 16, 16) of latents that are not as they were."""
    return (corrupted(z, 4, healthy, (0.05, 0.2), strengths, foreign, stream("corruption", 0)) != z).any(1)


def test_a_share_of_the_images_stays_as_it_is_and_the_others_change_in_places():
    changed = changed_by(latents(1000), healthy=0.3)
    untouched = float((~changed.flatten(1).any(1)).float().mean())
    assert 0.25 < untouched < 0.4  # a shape may be smaller than a latent
    assert 0.02 < float(changed.float().mean()) < 0.4


def test_at_full_strength_nothing_of_the_latent_is_left_in_a_shape():
    z = latents()
    mixed = corrupted(z, 4, 0.0, (0.1, 0.3), (1.0, 1.0), 0.0, stream("corruption", 1))
    inside = (mixed != z).any(1)
    kept = torch.stack([z.movedim(1, -1)[inside].flatten(), mixed.movedim(1, -1)[inside].flatten()])
    assert abs(float(torch.corrcoef(kept)[0, 1])) < 0.05


def test_a_weak_shape_keeps_the_variance_and_most_of_the_latent():
    z = latents(2000)
    mixed = corrupted(z, 1, 0.0, (0.1, 0.3), (0.2, 0.2), 0.0, stream("corruption", 2))
    inside = (mixed != z).any(1)
    kept = torch.stack([z.movedim(1, -1)[inside].flatten(), mixed.movedim(1, -1)[inside].flatten()])
    assert abs(float(torch.corrcoef(kept)[0, 1]) - 0.8**0.5) < 0.03
    assert abs(float(kept[1].std()) - 1) < 0.05


def test_fillings_are_of_other_images_or_noise_of_unit_variance():
    z = latents(400) + 100 * torch.arange(400)[:, None, None, None]
    other = fillings(z, 1.0, stream("fillings", 0))
    assert torch.equal(other.flatten(1).sort().values, z.roll(1, 0).flatten(1).sort().values)
    noise = fillings(z, 0.0, stream("fillings", 1))
    assert abs(float(noise.std()) - 1) < 0.05
    levels = noise.mean((2, 3)).var()
    assert 0.4 < float(levels) < 0.6  # a of sqrt(a) c, half on average


def test_the_stream_decides_the_corruption():
    z = latents(8)
    first, again, other = (
        corrupted(z, 4, 0.1, (0.05, 0.2), (0.2, 1.0), 0.5, stream("corruption", key)) for key in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
