"""The network on latents: what it is trained on, and which steps it knows."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.ddpm import (
    DDPM,
    DDPMStepA,
)
from adbench_baselines.diffusion import unet
from adbench_baselines.diffusion.unet import LatentModel
from adbench_baselines.networks.codes import encode_copies
from latent_detectors import detector
from tiny_nets import DIFFUSION_SETTINGS, UNET_SETTINGS, build, sick, stack

from adbench.contracts.detector import Runtime
from adbench.errors import ConfigError
from adbench.storage.store import ArtifactStore


def test_latents_are_standardised_per_channel_over_the_training_images(runtime):
    d = detector(DDPMStepA, runtime)
    z = d.encode(stack(16, 1)[:])
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(4), rtol=0, atol=1e-3)
    torch.testing.assert_close(d.model.standardise(d.model.restore(z)), z)


def test_the_training_loss_is_the_mean_squared_error_of_the_noise_with_t_from_1_to_the_last(monkeypatch):
    seen = []
    model = LatentModel(unet.UNetConfig(**UNET_SETTINGS), 4)
    monkeypatch.setattr(LatentModel, "forward", lambda self, x_t, t: (seen.append((x_t, t)), torch.zeros_like(x_t))[1])
    x_0 = torch.randn(400, 4, 4, 4)
    loss = unet.simple_loss(model, x_0, torch.Generator().manual_seed(0))
    x_t, t = seen[0]
    assert (int(t.min()), int(t.max()), len(t.unique())) == (1, 40, 40)
    alpha_bar = model.schedule.alpha_bar[t].float().reshape(-1, 1, 1, 1)
    eps = (x_t - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()
    assert float(loss) == pytest.approx(float(eps.square().mean()), rel=1e-3)
    assert float(eps.std()) == pytest.approx(1, abs=0.02)


def test_the_unet_is_trained_on_the_encodings_of_plain_and_augmented_images(runtime):
    d, healthy = detector(DDPMStepA, runtime), stack(16, 1)
    codes = encode_copies(d.vqvae, healthy, 2, runtime)
    assert codes.shape == (3, 16, 8, 8)
    assert torch.equal(d.vqvae.quantiser.embed(codes[0].long()), d.vqvae.encode(healthy[:]))
    assert not torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[1], codes[2])
    assert torch.equal(codes, encode_copies(d.vqvae, healthy, 2, runtime))


def test_damaged_parts_are_trained_again_to_the_same_weights(tmp_path):
    said: list[str] = []
    first = detector(DDPMStepA, Runtime(store=ArtifactStore(tmp_path, said.append)))
    (file,) = (tmp_path / first.artifacts()["unet"]).glob("part-*.safetensors")
    file.write_bytes(b"x" + file.read_bytes()[1:])
    second = detector(DDPMStepA, Runtime(store=ArtifactStore(tmp_path, said.append)))
    assert sum("damaged" in line for line in said) == 1
    assert torch.equal(first.score(sick()), second.score(sick()))


def trained_on(first: int, last: int, **changes):
    """Settings of a network that knows t = first..last alone, asked for nothing else."""
    return {**DIFFUSION_SETTINGS, "unet": {**UNET_SETTINGS, "t_first": first, "t_last": last}, **changes}


ONE_STEP = {"image_score": "map-max", "t_low": 8, "t_high": 20, "start_t": 12, "healing_steps": 1, "sampler": "ddim"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"image_score": "chain"}, "image_score=map-max"),
        ({"t_low": 7}, "t_low"),
        ({"t_high": 22}, "t_high"),
        ({"start_t": 21}, "start_t"),
        ({"healing_steps": 2}, "healing_steps"),  # passes t = 6
        ({"sampler": "ddpm"}, "start_t"),  # passes every t down to 1
    ],
)
def test_a_network_refuses_the_steps_it_was_not_trained_on(changes, named):
    build(DDPM, trained_on(8, 20, **ONE_STEP))
    with pytest.raises(ConfigError, match=named):
        build(DDPM, trained_on(8, 20, **{**ONE_STEP, **changes}))


def test_training_draws_the_trained_steps_alone_and_all_of_them():
    module = LatentModel(unet.UNetConfig(**{**UNET_SETTINGS, "t_first": 5, "t_last": 9}), 4)
    seen: list[int] = []
    module.forward = lambda x_t, t: (seen.extend(t.tolist()), x_t)[1]
    unet.simple_loss(module, torch.zeros(500, 4, 2, 2), torch.Generator().manual_seed(0))
    assert set(seen) == {5, 6, 7, 8, 9}


@pytest.mark.parametrize("wrong", [{"t_last": 41}, {"t_first": 9, "t_last": 9}, {"t_first": 40}])
def test_trained_steps_lie_in_the_chain(wrong):
    with pytest.raises(ValueError, match="t_last"):
        unet.UNetConfig(**{**UNET_SETTINGS, **wrong})
