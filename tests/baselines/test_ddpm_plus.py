"""KL-weighted healing, against its equation taken apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from adbench_baselines.ddpm import DDIM
from adbench_baselines.ddpm_plus import DDPMPlus
from adbench_baselines.diffusion.healing import heal
from adbench_baselines.images.filters import gaussian, guided
from scipy import ndimage
from tiny_nets import DIFFUSION_SETTINGS, build, fitted, sick, stack

from adbench.errors import ConfigError

TINY = {**DIFFUSION_SETTINGS, "healing_steps": 1, "healings": 3, "percentile": 80.0}


@pytest.fixture
def plus(runtime) -> DDPMPlus:
    return fitted(DDPMPlus, TINY, runtime)


def test_the_score_is_v_times_the_smoothed_mean_residual_of_all_healings_along_the_edges(plus):
    images = sick()
    z = plus.encode(images)
    v = plus.smooth(plus.kl(z, plus.timesteps))
    mask = F.max_pool2d((v >= plus.limits)[:, None].float(), 3, 1, 1) > 0
    assert 0 < float(mask.float().mean()) < 1
    x_hats = []
    for draw in range(3):
        healed = heal(plus.model, z, mask, plus.healing, 0, draw, plus.mean)
        x_hats.append(plus.vqvae.decode(plus.model.restore(healed)))
    assert not torch.equal(x_hats[0], x_hats[1])
    smooth = gaussian(images - torch.stack(x_hats).mean(0), 0.7).numpy()
    weight = F.interpolate(v[:, None], images.shape[-2:], mode="bilinear").numpy()
    plain = weight * np.abs(ndimage.median_filter(smooth, (1, 1, 7, 7), mode="mirror"))
    unfiltered = plus.with_settings(edge_radius_px=0).score(images)
    torch.testing.assert_close(unfiltered, torch.from_numpy(plain), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(plus.score(images), guided(unfiltered, images, 4))


def test_healing_begins_at_the_mean_of_the_healthy_latents(plus):
    images = stack(16, 1)  # those that `fitted` trains on
    latents = torch.cat([plus.encode(images[i : i + 1]) for i in range(16)])
    torch.testing.assert_close(plus.mean, latents.mean(0, keepdim=True), rtol=1e-4, atol=1e-5)


def test_its_defaults_take_18_passes():
    config = build(DDPMPlus, {}).config
    assert (len(config.timesteps), config.healing.passes * config.healings) == (10, 8)
    assert [config.healing.path, config.threshold, config.percentile] == [[(400, 0)], "global", 97.5]


def test_it_shares_the_networks_of_the_paper_s_steps(plus, runtime):
    assert plus.artifacts() == fitted(DDIM, DIFFUSION_SETTINGS, runtime).artifacts()


def test_the_mean_survives_saving_and_other_methods_have_none(plus, runtime):
    other = build(DDPMPlus, TINY, runtime)
    other.fetch_parts(stack(16, 1))
    other.load_state(plus.state())
    assert torch.equal(other.score(sick()), plus.score(sick()))
    assert "mean" not in fitted(DDIM, DIFFUSION_SETTINGS, runtime).state()


def test_an_even_median_is_refused():
    with pytest.raises(ConfigError, match="median_px must be odd, got 4"):
        build(DDPMPlus, {"median_px": 4})
