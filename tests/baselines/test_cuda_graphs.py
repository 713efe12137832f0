"""CUDA graphs change the time of a network, never its numbers; other devices run it as it is."""

from __future__ import annotations

import copy

import pytest
import torch
from adbench_baselines.cuda_graphs import Replayed, graph_training
from adbench_baselines.diffusion.unet import LatentModel, UNetConfig, simple_loss
from torch import nn

from adbench.devices.flops import count_flops

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
UNET = UNetConfig(channels=(32, 32), residual_blocks=1)


def network() -> LatentModel:
    torch.manual_seed(0)
    return LatentModel(UNET, 4)


def test_on_the_cpu_a_replayed_function_is_called_as_it_is():
    calls = []
    replayed = Replayed(lambda x: calls.append(x) or 2 * x)
    x = torch.ones(3)
    with torch.no_grad():
        assert torch.equal(replayed(x), 2 * x)
    assert calls[0] is x


def test_on_the_cpu_a_network_is_trained_as_it_is():
    module = nn.Linear(2, 2)
    forward = module.forward
    graph_training(module, torch.ones(1, 2))
    assert module.forward == forward


@needs_cuda
def test_a_replay_gives_what_the_network_gives_for_every_shape_and_value():
    model = network().cuda().eval().requires_grad_(False)
    with torch.no_grad():
        for n in (2, 3, 2):
            x_t, t = torch.randn(n, 4, 16, 16, device="cuda"), torch.randint(1, 1000, (n,), device="cuda")
            torch.testing.assert_close(model(x_t, t), model._eps(x_t, t))


@needs_cuda
def test_the_output_of_a_replay_survives_the_next_one():
    replayed = Replayed(lambda x: 2 * x)
    with torch.no_grad():
        first = replayed(torch.ones(3, device="cuda"))
        replayed(torch.zeros(3, device="cuda"))
    assert first.tolist() == [2, 2, 2]


@needs_cuda
def test_flops_are_counted_through_a_replay():
    weight = torch.ones(8, 8, device="cuda")
    replayed = Replayed(lambda x: x @ weight)
    with torch.no_grad():
        replayed(torch.ones(4, 8, device="cuda"))
        assert count_flops(lambda: replayed(torch.ones(4, 8, device="cuda"))) == 2 * 4 * 8 * 8


@needs_cuda
def test_a_graphed_network_trains_as_a_plain_one():
    plain = network().cuda().train()
    graphed = copy.deepcopy(plain)
    x_0 = torch.randn(8, 4, 16, 16, device="cuda")
    graph_training(graphed.unet, x_0, torch.ones(8, dtype=torch.long, device="cuda"))
    losses = []
    for model in (plain, graphed):
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for step in range(5):
            optimiser.zero_grad(set_to_none=True)
            loss = simple_loss(model, x_0, torch.Generator().manual_seed(step))
            loss.backward()
            optimiser.step()
        losses.append(float(loss))
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)
