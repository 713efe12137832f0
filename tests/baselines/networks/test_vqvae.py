"""The quantiser against brute force and MONAI's trap, and the VQ-VAE's losses."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.networks import vqvae
from adbench_baselines.networks.vqvae import VQVAE, Quantiser, VQVAEConfig
from tiny_nets import SIDE, VQVAE_SETTINGS, sick, stack

from adbench.contracts.detector import Runtime
from adbench.errors import ConfigError, TrainingError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encodings(n: int = 4, channels: int = 5, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, channels, 6, 7, generator=generator(seed))


def started(codes: int = 12, decay: float = 0.9) -> Quantiser:
    quantiser = Quantiser(codes, 5, decay)
    quantiser.start(encodings(), generator())
    return quantiser


def tiny(**changes) -> VQVAE:
    torch.manual_seed(0)
    return VQVAE(VQVAEConfig(**{**VQVAE_SETTINGS, **changes}))


def test_the_nearest_code_is_that_of_brute_force():
    quantiser, z_e = started(), encodings(seed=3)
    indices = quantiser.indices(z_e)
    assert indices.shape == (4, 6, 7)
    flat = z_e.movedim(1, -1).reshape(-1, 5).double()
    distances = [[float((e - code).square().sum()) for code in quantiser.codebook.double()] for e in flat]
    assert indices.flatten().tolist() == [row.index(min(row)) for row in distances]


def test_codes_and_indices_are_each_others_inverse():
    quantiser = started()
    indices = torch.randint(12, (2, 3, 4), generator=generator())
    z = quantiser.embed(indices)
    assert z.shape == (2, 5, 3, 4)
    assert torch.equal(z[1, :, 2, 3], quantiser.codebook[indices[1, 2, 3]])
    assert torch.equal(quantiser.indices(z), indices)
    assert torch.equal(quantiser(z), z)


def test_the_codebook_starts_from_encodings_of_the_data():
    members = {tuple(e.tolist()) for e in encodings().movedim(1, -1).reshape(-1, 5)}
    assert all(tuple(code.tolist()) in members for code in started().codebook)


def test_codes_that_the_first_batches_do_not_use_stay_where_they_are():
    """MONAI's quantiser divides weights by a cluster size of almost 0 there, and they explode."""
    quantiser, z_e = started(codes=6, decay=0.99), encodings()
    quantiser.codebook[3:] = 50.0 + torch.arange(3)[:, None]
    quantiser.sums.copy_(quantiser.codebook)
    far = quantiser.codebook[3:].clone()
    for _ in range(20):
        quantiser.update(z_e, quantiser.indices(z_e), generator())
        assert quantiser.codebook.norm(dim=1).max() < 120
    torch.testing.assert_close(quantiser.codebook[3:], far)


def test_used_codes_follow_the_mean_of_their_members():
    quantiser, z_e = started(codes=3, decay=0.5), encodings()
    indices = quantiser.indices(z_e)
    for _ in range(60):
        quantiser.update(z_e, indices, generator())
    flat = z_e.movedim(1, -1).reshape(-1, 5)
    means = torch.stack([flat[indices.flatten() == k].mean(0) for k in range(3)])
    torch.testing.assert_close(quantiser.codebook, means)


def test_one_update_is_the_moving_average_of_sums_over_that_of_counts():
    quantiser, z_e = started(codes=3, decay=0.9), encodings()
    indices, before = quantiser.indices(z_e), quantiser.codebook.clone()
    quantiser.update(z_e, indices, generator())
    flat = z_e.movedim(1, -1).reshape(-1, 5)
    for k in range(3):
        members = flat[indices.flatten() == k]
        expected = (0.9 * before[k] + 0.1 * members.sum(0)) / (0.9 + 0.1 * len(members))
        torch.testing.assert_close(quantiser.codebook[k], expected)


def test_dead_codes_restart_from_encodings_of_the_data():
    quantiser, z_e = started(codes=6, decay=0.5), encodings()
    quantiser.codebook[4:] = 1000.0
    quantiser.sums.copy_(quantiser.codebook)
    for step in range(4):  # 0.5^4 < 0.1
        quantiser.update(z_e, quantiser.indices(z_e), generator(step))
    members = {tuple(e.tolist()) for e in z_e.movedim(1, -1).reshape(-1, 5)}
    assert all(tuple(code.tolist()) in members for code in quantiser.codebook[4:])
    assert quantiser.sizes[4:].tolist() == [1.0, 1.0]
    assert set(quantiser.indices(z_e).unique().tolist()) >= {4, 5}


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_latents_are_smaller_by_the_factor_and_decode_to_the_image_size(factor):
    module = tiny(factor=factor).eval()
    module.quantiser.start(torch.randn(2, 4, 4, 4, generator=generator()), generator())
    z = module.encode(sick(2))
    assert z.shape == (2, 4, SIDE // factor, SIDE // factor)
    assert z.dtype == torch.float32
    x_hat = module.decode(z)
    assert x_hat.shape == (2, 1, SIDE, SIDE)
    assert x_hat.dtype == torch.float32
    assert torch.equal(module.decode(z + 1e-4, requantise=True), x_hat)


def test_the_reconstruction_s_gradient_goes_straight_through_to_the_encoder():
    module, images = tiny(commitment=0.0).train(), sick(2)
    module.losses(images, generator()).backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.encoder.parameters())


def test_the_gradient_at_the_encoder_s_output_is_that_at_the_decoder_s_input():
    module, images = tiny(commitment=0.0).eval(), sick(2)
    module.quantiser.start(module.encoder(images).detach(), generator())
    z = module.encode(images).requires_grad_()
    (images - module.decoder(z)).abs().mean().backward()
    z_e = []
    module.encoder.register_full_backward_hook(lambda _module, _inputs, outputs: z_e.append(outputs[0]))
    module.losses(images.requires_grad_(), generator()).backward()
    torch.testing.assert_close(z_e[0], z.grad)


def test_the_loss_is_l1_plus_beta_times_the_commitment():
    module, images = tiny(commitment=0.25).eval(), sick(2)
    z_e = module.encoder(images).detach()
    module.quantiser.start(z_e, generator())
    z = module.encode(images)
    expected = (images - module.decode(z)).abs().mean() + 0.25 * (z_e - z).square().mean()
    torch.testing.assert_close(module.losses(images, generator()).detach(), expected)


def test_only_training_moves_the_codebook():
    module, images = tiny().eval(), sick(2)
    module.losses(images, generator())
    before = module.quantiser.codebook.clone()
    module.losses(images, generator())
    assert torch.equal(module.quantiser.codebook, before)
    module.train().losses(images, generator())
    assert not torch.equal(module.quantiser.codebook, before)


@pytest.mark.parametrize("factor", [1, 3, 16])
def test_a_factor_other_than_2_4_or_8_is_refused(factor):
    with pytest.raises(ValueError, match="factor must be 2, 4 or 8"):
        VQVAEConfig(factor=factor)


def test_image_sides_must_be_multiples_of_the_factor():
    with pytest.raises(ConfigError, match="multiples of factor=8, got 64 x 60"):
        vqvae.check_size(VQVAEConfig(factor=8), (64, 60))


def test_a_collapsed_codebook_is_an_error_and_no_part(monkeypatch):
    runtime, healthy = Runtime(), stack(8, 1)
    monkeypatch.setattr(vqvae, "codes_in_use", lambda *_: 1)
    with pytest.raises(TrainingError, match="codebook collapsed: 1 of 16 codes"):
        vqvae.part(tiny(steps=2).config).fetch(healthy, runtime)
    assert not runtime.store.has(vqvae.part(tiny(steps=2).config).spec(healthy, 0))


def test_a_trained_codebook_must_use_a_tenth_of_its_codes(monkeypatch):
    runtime, healthy = Runtime(), stack(8, 1)
    monkeypatch.setattr(vqvae, "TRIVIAL_STEPS", 2)
    monkeypatch.setattr(vqvae, "codes_in_use", lambda *_: 3)
    config = tiny(steps=2, codes=40).config
    with pytest.raises(TrainingError, match="codebook collapsed: 3 of 40 codes"):
        vqvae.part(config).fetch(healthy, runtime)


def test_codes_in_use_are_counted_over_the_images():
    module, healthy = tiny().eval(), stack(8, 1)
    module.quantiser.start(module.encoder(healthy[:]).detach(), generator())
    assert vqvae.codes_in_use(module, healthy) == len(module.quantiser.indices(module.encoder(healthy[:])).unique())
