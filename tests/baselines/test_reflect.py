"""REFLECT: the flow, its second stage, both residuals, and the detector."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from adbench_baselines.diffusion.flow import StraightenedNet, VelocityNet, euler, velocity_error
from adbench_baselines.reflect import REFLECT, FlowConfig, REFLECTConfig
from tiny_nets import UNET_SETTINGS, VQVAE_SETTINGS, fitted, sick
from torch import Tensor

from adbench.contracts.detector import Runtime
from adbench.training.streams import stream

NET: dict[str, Any] = {key: value for key, value in UNET_SETTINGS.items() if key != "diffusion_steps"}
REFLOW: dict[str, Any] = {"steps": 2, "batch_size": 8, "augmented_copies": 0, "ema_decay": 0.0, "target_steps": 2}
SHORT: dict[str, Any] = {"vqvae": VQVAE_SETTINGS, "unet": NET, "reflow": REFLOW}


def latents(n: int = 8, key: int = 0) -> Tensor:
    return torch.randn(n, 4, 8, 8, generator=stream("latents", key))


class Constant:
    """v = `speed` times (1 + t)."""

    def __init__(self, speed: Tensor) -> None:
        self.speed = speed

    def __call__(self, z: Tensor, t: Tensor) -> Tensor:
        return self.speed * (1 + t[:, None, None, None])


@pytest.mark.parametrize("steps", [1, 4, 100])
def test_euler_steps_sum_the_velocity_at_their_beginnings(steps):
    z, speed = latents(), latents(1, 1)
    mean_t = (steps - 1) / (2 * steps)
    torch.testing.assert_close(euler(Constant(speed), z, steps), z + speed * (1 + mean_t), atol=1e-4, rtol=1e-4)  # type: ignore[arg-type]


def test_a_network_that_knows_the_straight_path_has_no_loss_and_finds_its_end_in_one_step():
    z_0, z_1 = latents(), latents(8, 1)
    straight = lambda z, t: z_1 - z_0  # noqa: E731
    assert float(velocity_error(straight, z_0, z_1, stream("training", 0))) == 0  # type: ignore[arg-type]
    torch.testing.assert_close(euler(straight, z_0, 1), z_1)  # type: ignore[arg-type]


def test_the_loss_is_taken_on_the_way_between_both_ends():
    z_0, z_1, seen = torch.zeros(500, 4, 8, 8), torch.ones(500, 4, 8, 8), []

    def net(z: Tensor, t: Tensor) -> Tensor:
        seen.append((z, t))
        return z

    velocity_error(net, z_0, z_1, stream("training", 0))  # type: ignore[arg-type]
    z, t = seen[0]
    torch.testing.assert_close(z, t[:, None, None, None].expand_as(z))
    assert float(t.min()) < 0.01
    assert float(t.max()) > 0.99


def test_the_second_stage_begins_as_the_first_and_learns_where_that_one_leads():
    torch.manual_seed(0)
    first, second = VelocityNet(FlowConfig(**NET), 4), StraightenedNet(FlowConfig(**NET), 4)
    second.start(first)
    second.eval()
    first.eval()
    z, t = latents(), torch.full((8,), 0.3)
    assert torch.equal(first(z, t), second(z, t))
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(0.1)
        torch.testing.assert_close(second.ends(z, 3), euler(first, z, 3))
    assert len(second.state_dict()) == len(first.state_dict())


def test_the_network_knows_times_of_0_to_1_in_fine_steps():
    net = VelocityNet(FlowConfig(**NET), 4).eval()
    with torch.no_grad():
        for parameter in net.unet.parameters():
            parameter.normal_(0, 0.2, generator=stream("weights", 0))
        outs = [net(latents(1), torch.tensor([t])) for t in (0.0, 0.01, 1.0)]
    assert not torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


def test_each_stage_is_a_part_and_the_first_is_shared():
    runtime = Runtime()
    both, one = fitted(REFLECT, SHORT, runtime), fitted(REFLECT, {**SHORT, "stage": 1}, runtime)
    assert list(both.artifacts()) == ["vqvae", "flow", "reflow"]
    assert list(one.artifacts()) == ["vqvae", "flow"]
    assert both.artifacts()["flow"] == one.artifacts()["flow"]
    assert fitted(REFLECT, {**SHORT, "flow_steps": 3, "image_limit": 0.4}, runtime).artifacts() == both.artifacts()
    longer = fitted(REFLECT, {**SHORT, "reflow": {**REFLOW, "target_steps": 3}}, runtime).artifacts()
    assert longer["reflow"] != both.artifacts()["reflow"]
    assert longer["flow"] == both.artifacts()["flow"]


def test_a_flow_that_stands_still_leaves_no_residual_and_a_fast_one_the_limits(monkeypatch):
    detector = fitted(REFLECT, SHORT)
    monkeypatch.setattr(detector.net, "forward", lambda z, t: torch.zeros_like(z))
    assert float(detector.score(sick()).abs().max()) == 0
    monkeypatch.setattr(detector.net, "forward", lambda z, t: torch.full_like(z, 100.0))
    monkeypatch.setattr(detector, "decode", lambda z: z.mean((1, 2, 3), keepdim=True).expand(-1, 1, 32, 32))
    torch.testing.assert_close(detector.score(sick()), torch.ones_like(sick()))


def test_half_of_the_score_is_the_latents_residual_and_half_the_image_s(monkeypatch):
    detector = fitted(REFLECT, {**SHORT, "image_smoothing": 0.0, "latent_smoothing": 0.0})
    monkeypatch.setattr(detector.net, "forward", lambda z, t: torch.full_like(z, 0.1))
    monkeypatch.setattr(detector, "decode", lambda z: 0.5 * z[:, :1].repeat_interleave(4, 2).repeat_interleave(4, 3))
    torch.testing.assert_close(detector.score(sick()), torch.full_like(sick(), (0.05 / 0.2 + 0.1 / 0.4) / 2))


def test_limits_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match=r"strength_first <= strength_last is needed, got 0\.9 and 0\.5"):
        FlowConfig(strength_first=0.9, strength_last=0.5)
    with pytest.raises(ValueError, match=r"radius_first <= radius_last is needed, got 0\.3 and 0\.2"):
        REFLECTConfig(unet={"radius_first": 0.3})


def test_it_says_that_it_learns_from_synthetic_anomalies():
    assert REFLECT.knowledge == "synthetic anomalies"
