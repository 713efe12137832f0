"""pDDPM: patches, what is noised, where the loss counts, and how patches are put together."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.diffusion.pixels import centred
from adbench_baselines.pddpm import PDDPM, PatchNet, PDDPMConfig, cells
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from tiny_nets import fitted, sick

from adbench.contracts.detector import Runtime
from adbench.training.streams import stream

SHORT = {"channels": (8, 8), "patch_px": 2, "steps": 6, "batch_size": 8}


@given(height=st.integers(8, 40), width=st.integers(8, 40), grid=st.integers(1, 8))
def test_every_pixel_lies_in_exactly_one_patch_and_none_is_empty(height, width, grid):
    masks = cells((height, width), grid)
    assert masks.shape == (grid**2, 1, height, width)
    assert bool((masks.sum(0) == 1).all())
    assert bool(masks.flatten(1).any(1).all())


def test_patches_of_an_image_of_96_px_have_48():
    masks = cells((96, 96), PDDPMConfig().grid)
    assert len(masks) == 4
    assert bool(masks[0, 0, :48, :48].all())
    assert int(masks[0].sum()) == 48 * 48


def test_noise_is_added_in_the_patch_alone_and_the_loss_counts_it_alone(monkeypatch):
    net = PatchNet(PDDPMConfig(**SHORT))
    images, seen = torch.rand(32, 1, 32, 32, generator=stream("images", 0)), []
    masks = cells((32, 32), 2)

    def wrong_outside(x, t):
        seen.append(x)
        changed = x != centred(images)
        inside = torch.stack([masks[int((masks & c).flatten(1).sum(1).argmax())] for c in changed])
        return torch.where(inside, centred(images), torch.full_like(x, 9.0))

    monkeypatch.setattr(net, "forward", wrong_outside)
    assert float(net.losses(images, stream("training", 0))) == 0
    changed = (seen[0] != centred(images)).float()
    shares = torch.einsum("bchw,pchw->bp", changed, masks.float()) / 256
    assert bool(((shares > 0.95).sum(1) == 1).all())
    assert bool(((shares == 0).sum(1) == 3).all())


def test_the_loss_is_the_mean_absolute_error_inside(monkeypatch):
    net, images = PatchNet(PDDPMConfig(**SHORT)), torch.rand(8, 1, 32, 32, generator=stream("images", 1))
    monkeypatch.setattr(net, "forward", lambda x, t: centred(images) + 0.3)
    assert float(net.losses(images, stream("training", 1))) == pytest.approx(0.3, rel=1e-4)


@pytest.mark.parametrize("network_batch", [1, 5, 1000])
def test_every_patch_of_the_result_comes_from_a_pass_in_which_it_alone_was_noised(network_batch):
    detector, images = fitted(PDDPM, {**SHORT, "network_batch": network_batch}), sick()
    x_0, eps = centred(images), detector.noise_at("patch", 500, images)
    for mask in cells((32, 32), 2):
        x_t = detector.net.noised(x_0, mask, 500, eps)
        assert torch.equal(x_t[:, ~mask], x_0[:, ~mask])
        with torch.no_grad():
            drawn, found = detector.net(x_t, torch.full((len(x_t),), 500)), detector.stitched(x_0)
        torch.testing.assert_close(found[:, mask], drawn[:, mask], atol=1e-5, rtol=1e-4)


def test_a_network_that_knows_the_healthy_image_leaves_its_residual(monkeypatch):
    detector, images = fitted(PDDPM, {**SHORT, "median_px": 1}), sick()
    healthy = torch.rand(1, 1, 32, 32, generator=stream("healthy", 0))
    monkeypatch.setattr(detector.net, "forward", lambda x, t: centred(healthy).expand_as(x))
    torch.testing.assert_close(detector.score(images), (images - healthy).abs(), atol=1e-6, rtol=0)
    filtered = torch.from_numpy(ndimage.median_filter((images - healthy).abs().numpy(), (1, 1, 5, 5), mode="mirror"))
    torch.testing.assert_close(detector.with_settings(median_px=5).score(images), filtered, atol=1e-6, rtol=0)


def test_t_of_scoring_shares_the_trained_network_and_the_grid_does_not():
    runtime = Runtime()
    part = fitted(PDDPM, SHORT, runtime).artifacts()
    assert fitted(PDDPM, {**SHORT, "test_t": 200, "median_px": 3}, runtime).artifacts() == part
    assert fitted(PDDPM, {**SHORT, "grid": 4}, runtime).artifacts() != part
    assert fitted(PDDPM, {**SHORT, "grid": 4}, runtime).passes == {"restore": 16}


def test_a_t_that_the_network_does_not_know_is_refused():
    with pytest.raises(ValueError, match="test_t=500 is beyond the steps that the network is trained on, 1 to 400"):
        PDDPMConfig(t_last=400)
    with pytest.raises(ValueError, match="median_px must be odd, got 4"):
        PDDPMConfig(median_px=4)


def test_the_first_wavelength_is_64_px_of_96():
    config = PDDPMConfig()
    assert (config.octaves, config.persistence, config.wavelength * 96) == (6, 0.8, 64)
