"""Graphs change the time of a network, never its numbers; where a device has none, it runs as it is."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from adbench.devices.cpu import Cpu
from adbench.devices.device import autocast, computing
from adbench.devices.flops import count_flops
from adbench.devices.graphs import Replayed, graph_training

CPU = torch.device("cpu")
PRECISIONS = ("float32", "bf16")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


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


def test_a_capture_is_of_one_precision_and_shape_and_made_once_for_each(monkeypatch):
    captured = []
    monkeypatch.setattr(Cpu, "captured", lambda _, function, inputs: captured.append(inputs[0].shape) or function)
    replayed = Replayed(lambda x: 2 * x)
    with torch.no_grad():
        for precision in (*PRECISIONS, *PRECISIONS):
            with computing(CPU, precision):
                replayed(torch.ones(3)), replayed(torch.ones(2))
    assert captured == [(3,), (2,)] * 2


def test_what_has_gradients_or_is_counted_is_never_captured(monkeypatch):
    monkeypatch.setattr(Cpu, "captured", lambda *_: pytest.fail("captured"))
    weight = torch.ones(8, 8)
    replayed = Replayed(lambda x: x @ weight)
    replayed(torch.ones(4, 8))
    with torch.no_grad():
        assert count_flops(lambda: replayed(torch.ones(4, 8))) == 2 * 4 * 8 * 8


@needs_cuda
def test_the_output_of_a_replay_survives_the_next_one():
    replayed = Replayed(lambda x: 2 * x)
    with torch.no_grad():
        first = replayed(torch.ones(3, device="cuda"))
        replayed(torch.zeros(3, device="cuda"))
    assert first.tolist() == [2, 2, 2]


@needs_cuda
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_graphed_network_trains_as_a_plain_one(precision):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(4, 32, 3), nn.SiLU(), nn.Conv2d(32, 4, 3)).cuda().train()
    graphed = copy.deepcopy(plain)
    x, device = torch.randn(8, 4, 16, 16, device="cuda"), torch.device("cuda")
    losses = []
    with computing(device, precision):
        graph_training(graphed, torch.zeros_like(x))
        for model in (plain, graphed):
            optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
            for _ in range(5):
                optimiser.zero_grad(set_to_none=True)
                with autocast(device):
                    out = model(x)
                loss = out.float().square().mean()
                loss.backward()
                optimiser.step()
            losses.append(float(loss))
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)
