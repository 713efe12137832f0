"""Latent diffusion detector (Pinaya et al. 2022, arXiv 2206.03461): steps (a) to (d).

A diffusion model learns healthy VQ-VAE latents. Where L_{t-1}, averaged over t in [400, 600) and channels, reaches its
97.5th percentile over healthy validation images, the latent is unlikely; those positions are healed by the reverse
process from t = 500, and the residual to the decoded, healed image, weighted by the smoothed mask, is the score.

| step | what                                                          | score                   |
|------|---------------------------------------------------------------|-------------------------|
| (a)  | reverse process on all of z                                   | |x - x_hat|             |
| (b)  | (a), then the mask                                            | mask * |x - x_hat|      |
| (c)  | only masked positions are healed, the rest is the original    | mask * |x - x_hat'|     |
| (d)  | (c) with 50 values of t for the map, and DDIM with 50 steps   | mask * |x - x_hat'|     |

| code         | paper                                                 |
|--------------|-------------------------------------------------------|
| `z`          | z_0 = E(x), quantised, standardised per channel       |
| `v`          | v, mean of L_{t-1} over t and n_z                     |
| `mask`       | m = (v >= threshold)                                  |
| `healed`     | z'_0                                                  |
| `x_hat`      | G(z'_0)                                               |

All noise is shared by the images of a batch and drawn from the seed and t alone, on the CPU: it depends neither on the
batch nor on the device, and the threshold found on validation images transfers to test images.

Differs from the paper: `start` and `mask_sigma_px`, on which its text is silent, are fields; `context`, `map_sigma`,
`threshold`, `percentile`, `image_score` and `healings` have the paper's values by default and in the preset "paper",
but some have others in the presets for CPUs; `image_timesteps` may thin the chain that image-level scores average over,
and that chain starts at t = 2, since L_0 has no meaning on latents; `unet.t_first` and `unet.t_last` may leave steps
untrained, and what would ask the network for those is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from adbench.contracts.detector import DetectorInfo
from adbench_baselines.diffusion.config import SHORT_TRAINING_MASK, WHOLE_SPACE, preset_values
from adbench_baselines.diffusion.latent import SOURCE
from adbench_baselines.diffusion.steps import LatentDiffusion


class DDPMStepA(LatentDiffusion):
    """Step (a): the reverse process on all of z, no mask."""

    info = DetectorInfo("step (a): reverse process on all latents, no mask", SOURCE, "2")
    overrides = {"step": "a"}
    search_space = WHOLE_SPACE


class DDPMStepB(LatentDiffusion):
    """Step (b): (a), and the residual weighted by the mask."""

    info = DetectorInfo("step (b): reverse process on all latents, residual in the mask", SOURCE, "2")
    overrides = {"step": "b"}


class DDPM(LatentDiffusion):
    """Step (c): masked inpainting by DDPM, the paper's complete method."""

    info = DetectorInfo("step (c): masked inpainting by DDPM, 700 network passes", SOURCE, "2")
    overrides = {"step": "c"}


class DDIM(LatentDiffusion):
    """Step (d): (c) with 50 values of t for the map, and DDIM with 50 steps."""

    info = DetectorInfo("step (d): masked inpainting by DDIM, 100 network passes", SOURCE, "2")
    overrides: ClassVar[Mapping[str, Any]] = {"step": "c", "kl_timesteps": 50, "sampler": "ddim", "healing_steps": 50}


class DDIMFast(LatentDiffusion):
    """Step (d) in 20 network passes: what the paper leaves open is chosen so that few are enough."""

    info = DetectorInfo("step (d) with 20 network passes", f"own variant of {SOURCE}", "1")
    presets = preset_values(SHORT_TRAINING_MASK)
    overrides: ClassVar[Mapping[str, Any]] = {
        **DDIM.overrides,
        "t_low": 300,
        "t_high": 500,
        "kl_timesteps": 10,
        "map_sigma": 1.0,
        "healing_steps": 10,
        "context": "noised",
        "start": "mean",
    }


class DDPMStepAF8(DDPMStepA):
    """Step (a) at f = 8."""

    overrides = {**DDPMStepA.overrides, "vqvae.factor": 8}


class DDPMStepBF8(DDPMStepB):
    """Step (b) at f = 8."""

    overrides = {**DDPMStepB.overrides, "vqvae.factor": 8}


class DDPMF8(DDPM):
    """Step (c) at f = 8."""

    overrides = {**DDPM.overrides, "vqvae.factor": 8}


class DDIMF8(DDIM):
    """Step (d) at f = 8."""

    overrides = {**DDIM.overrides, "vqvae.factor": 8}
