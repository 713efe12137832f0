"""MAD-AD: what is noised, both losses, the gate of every step, and the detector."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from adbench_baselines.diffusion.schedule import predict_eps
from adbench_baselines.mad_ad import MADAD, MaskedConfig, MaskedModel, masked_loss, random_patches
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_nets import UNET_SETTINGS, VQVAE_SETTINGS, fitted, sick
from torch import Tensor

from adbench.contracts.detector import Runtime
from adbench.training.streams import stream

NET: dict[str, Any] = {key: value for key, value in UNET_SETTINGS.items() if key != "diffusion_steps"}
SHORT: dict[str, Any] = {"vqvae": VQVAE_SETTINGS, "unet": NET}


def latents(n: int = 8, key: int = 0) -> Tensor:
    return torch.randn(n, 4, 16, 16, generator=stream("latents", key))


@settings(max_examples=50)
@given(height=st.integers(2, 40), width=st.integers(2, 40), key=st.integers(0, 1000))
def test_masks_are_of_patches_of_one_size_up_to_a_quarter_of_a_side(height, width, key):
    masks = random_patches(3, (height, width), 0.4, stream("patches", key))
    assert masks.shape == (3, 1, height, width)
    options = [[s for s in (1, 2, 4, 8) if s <= max(1, side // 4)] for side in (height, width)]
    blocks = [(a, b) for a in options[0] for b in options[1] if all(_made_of(mask[0], a, b) for mask in masks)]
    assert blocks


def _made_of(mask: Tensor, a: int, b: int) -> bool:
    """Whether a mask is constant in every cell of a x b."""
    return torch.equal(
        mask, mask[::a, ::b].repeat_interleave(a, 0).repeat_interleave(b, 1)[: mask.shape[0], : mask.shape[1]]
    )


def test_the_share_of_noised_latents_is_uniform_up_to_the_largest():
    shares = torch.cat(
        [random_patches(64, (32, 32), 0.4, stream("patches", k)).float().mean((1, 2, 3)) for k in range(40)]
    )
    assert float(shares.max()) <= 0.4 + 1 / 16
    assert float(shares.mean()) == pytest.approx(0.2, abs=0.02)
    assert float(shares.min()) < 0.02


def test_the_loss_is_of_the_latents_everywhere_and_of_the_mask(monkeypatch):
    net, x_0, seen = MaskedModel(MaskedConfig(**NET, mask_weight=0.5), 4), latents(64), []

    def restored(x_t, t):
        seen.append((x_t, t))
        return x_0 + 0.1, torch.full_like(x_0[:, :1], 0.25)

    monkeypatch.setattr(net, "restored", restored)
    loss = float(masked_loss(net, x_0, stream("training", 0)))
    noised = (seen[0][0] != x_0).any(1).float()
    of_mask = float((noised - 0.25).square().mean())
    assert loss == pytest.approx(0.01 + 0.5 * of_mask, rel=1e-4)
    assert set(seen[0][1].tolist()) <= set(range(1, 11))
    assert 0.05 < float(noised.mean()) < 0.35


def test_at_the_last_step_nothing_of_a_noised_latent_is_left():
    net = MaskedModel(MaskedConfig(**NET), 4)
    assert net.schedule.steps == 10
    assert float(net.schedule.alpha_bar[10]) < 1e-3


class Judge:
    """Restores every latent to one known `healthy`, and takes those of `unhealthy` (1, 1, h, w) for noised."""

    def __init__(self, detector: MADAD, healthy: Tensor, unhealthy: Tensor) -> None:
        self.schedule, self.healthy, self.unhealthy = detector.net.schedule, healthy, unhealthy
        self.seen: list[tuple[Tensor, Tensor]] = []

    def restored(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append((x_t, t))
        return self.healthy.expand_as(x_t), self.unhealthy.float().expand(len(x_t), 1, -1, -1)


def test_only_latents_taken_for_noised_change_and_they_end_at_what_the_network_says():
    detector = fitted(MADAD, SHORT)
    z, healthy = latents(3)[..., :8, :8], latents(1, 1)[..., :8, :8]
    unhealthy = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    unhealthy[..., 2:5, 3:6] = True
    judge = Judge(detector, healthy, unhealthy)
    detector.trained["mad-ad"] = judge
    found = detector.restored(z)
    torch.testing.assert_close(found, torch.where(unhealthy, healthy, z), atol=1e-4, rtol=1e-4)
    assert [int(t[0]) for _, t in judge.seen] == list(range(10, 0, -1))
    assert torch.equal(judge.seen[0][0], z)  # as it is: nothing is added


def test_without_noise_a_step_is_that_of_ddim_from_the_predicted_latents():
    detector = fitted(MADAD, {**SHORT, "eta": 0.0})
    z, healthy = latents(2)[..., :8, :8], latents(1, 1)[..., :8, :8]
    judge = Judge(detector, healthy, torch.ones(1, 1, 8, 8))
    detector.trained["mad-ad"] = judge
    detector.restored(z)
    alpha_bar, x_t = judge.schedule.alpha_bar.float(), judge.seen[3][0]
    eps = predict_eps(judge.schedule, x_t, 7, healthy)
    expected = alpha_bar[6].sqrt() * healthy + (1 - alpha_bar[6]).sqrt() * eps
    torch.testing.assert_close(judge.seen[4][0], expected, atol=1e-4, rtol=1e-4)


def test_latents_that_the_network_leaves_alone_have_no_residual():
    detector = fitted(MADAD, {**SHORT, "gate": 1.0})
    assert float(detector.score(sick()).abs().max()) == 0


def test_residuals_are_limited_and_settings_of_scoring_share_the_network():
    runtime = Runtime()
    detector = fitted(MADAD, {**SHORT, "gate": 0.0}, runtime)
    limited = fitted(MADAD, {**SHORT, "gate": 0.0, "residual_limit": 0.01, "smoothing": 0.0, "eta": 0.1}, runtime)
    assert limited.artifacts() == detector.artifacts()
    assert float(limited.score(sick()).max()) == pytest.approx(0.01)


def test_it_stands_on_the_compression_model_of_the_diffusion_methods():
    from adbench_baselines.vqvae_residual import VQVAEResidual

    runtime = Runtime()
    shared = fitted(VQVAEResidual, {"vqvae": VQVAE_SETTINGS}, runtime).artifacts()["vqvae"]
    assert fitted(MADAD, SHORT, runtime).artifacts()["vqvae"] == shared
