"""The control of the diffusion methods' mask times intensity: same mask, no healing."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.ddpm import DDPM
from adbench_baselines.kl_mask_intensity import KLMaskIntensity
from tiny_nets import DIFFUSION_SETTINGS, build, fitted, sick, stack

from adbench.contracts.detector import Runtime
from adbench.errors import ConfigError

SETTINGS = {**DIFFUSION_SETTINGS, "kl_timesteps": 4}


@pytest.fixture(scope="module")
def pair():
    """This control and the complete diffusion method, with one store."""
    runtime = Runtime()
    return fitted(KLMaskIntensity, SETTINGS, runtime), fitted(DDPM, SETTINGS, runtime)


def test_it_uses_the_parts_and_the_mask_of_the_diffusion_method(pair):
    control, ddpm = pair
    assert control.artifacts() == ddpm.artifacts()
    z = control.encode(sick())
    assert torch.equal(control.mask(z), ddpm.mask(z))
    assert torch.equal(control.image_scores(sick()), ddpm.image_scores(sick()))


def test_a_score_is_the_intensity_under_the_smoothed_mask(pair):
    control, images = pair[0], sick()
    assert torch.equal(control.score(torch.zeros_like(images)), torch.zeros_like(images))
    control.limits = torch.full_like(control.limits, -torch.inf)  # every latent is unlikely
    torch.testing.assert_close(control.score(images), images, atol=1e-4, rtol=1e-4)  # the Gaussian sums to 0.99996
    control.limits = torch.full_like(control.limits, torch.inf)
    assert torch.equal(control.score(images), torch.zeros_like(images))


def test_it_plans_the_map_and_no_healing():
    plan = build(KLMaskIntensity, SETTINGS).plan(stack(16, 1), stack(40, 2))
    assert plan.passes == {"kl_map": 4}
    assert [part.spec.kind for part in plan.parts] == ["vqvae", "unet", "kl-maps"]


def test_a_step_without_a_mask_is_refused():
    with pytest.raises(ConfigError, match="step"):
        build(KLMaskIntensity, {**SETTINGS, "step": "a"})
