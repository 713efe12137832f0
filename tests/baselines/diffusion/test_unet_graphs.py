"""The diffusion model as CUDA graphs gives what it gives without."""

from __future__ import annotations

import copy

import pytest
import torch
from adbench_baselines.diffusion.unet import LatentModel, UNetConfig, simple_loss

from adbench.devices.device import computing
from adbench.devices.graphs import graph_training

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.parametrize("precision", ["float32", "bf16"]),
]
UNET = UNetConfig(channels=(32, 32), residual_blocks=1)
DEVICE = torch.device("cuda")


def network() -> LatentModel:
    torch.manual_seed(0)
    return LatentModel(UNET, 4).to(DEVICE)


def test_a_replay_gives_what_the_network_gives_for_every_shape_and_value(precision):
    model = network().eval().requires_grad_(False)
    with computing(DEVICE, precision), torch.no_grad():
        for n in (2, 3, 2):
            x_t, t = torch.randn(n, 4, 16, 16, device=DEVICE), torch.randint(1, 1000, (n,), device=DEVICE)
            torch.testing.assert_close(model(x_t, t), model._run(x_t, t))


def test_a_graphed_network_trains_as_a_plain_one(precision):
    plain = network().train()
    graphed = copy.deepcopy(plain)
    x_0 = torch.randn(8, 4, 16, 16, device=DEVICE)
    losses = []
    with computing(DEVICE, precision):
        graph_training(graphed.unet, x_0, torch.ones(8, dtype=torch.long, device=DEVICE))
        for model in (plain, graphed):
            optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
            for step in range(5):
                optimiser.zero_grad(set_to_none=True)
                loss = simple_loss(model, x_0, torch.Generator().manual_seed(step))
                loss.backward()
                optimiser.step()
            losses.append(float(loss))
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)
