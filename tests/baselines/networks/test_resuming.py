"""The two networks of the latent methods go on where they were cut off."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.diffusion import unet
from adbench_baselines.diffusion.unet import UNetConfig
from adbench_baselines.networks import vqvae
from adbench_baselines.networks.vqvae import VQVAEConfig
from tiny_nets import UNET_SETTINGS, VQVAE_SETTINGS, stack
from torch import nn

from adbench.contracts.detector import Runtime
from adbench.storage.store import ArtifactStore
from adbench.training import loop


class CutOffError(Exception):
    """Stands for whatever ends a run: a kill, a full disk, a closed lid."""


@pytest.mark.parametrize(("owner", "name"), [(vqvae.VQVAE, "losses"), (unet, "simple_loss")])
def test_both_networks_resume_to_the_weights_of_an_uninterrupted_run(owner, name, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", -1.0)
    cut = ArtifactStore.temporary()
    expected = fetch_both(ArtifactStore.temporary())
    original, calls = getattr(owner, name), []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise CutOffError
        return original(*arguments)

    monkeypatch.setattr(owner, name, stops)
    with pytest.raises(CutOffError):
        fetch_both(cut)
    resumed = fetch_both(cut)
    for ours, theirs in zip(resumed, expected, strict=True):
        for key, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[key], value), key
    assert not list(cut.root.rglob("checkpoint*"))


def fetch_both(store: ArtifactStore) -> tuple[nn.Module, nn.Module]:
    runtime, healthy, made = Runtime(store=store), stack(12, 1), {}
    compressor = vqvae.part(VQVAEConfig(**{**VQVAE_SETTINGS, "steps": 6, "ema_decay": 0.5}))
    model = unet.part(UNetConfig(**{**UNET_SETTINGS, "steps": 6, "ema_decay": 0.5}), compressor)
    return compressor.fetch(healthy, runtime, made), model.fetch(healthy, runtime, made)
