"""Time `ddpm` and `ddim` on 100 slices against the bare network, in one run.

    python benchmarks/network_passes.py [--quick] [--preset small] [--slices 100] [--device auto]

The networks have the preset's sizes and fresh weights, so no data and no training are needed. Every few network passes
of `score` the bare UNet is timed once on a batch of the same size, and that time is taken off the total: both sides see
the same machine. Exit code 1 where `score` takes more than 1.10 x (network passes x the bare network's mean time): by
the clock on CUDA, on the CPU in processor time, which other work on the machine moves less. Both are printed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from adbench_baselines.ddpm import DDIM, DDPM
from adbench_baselines.diffusion.steps import LatentDiffusion
from adbench_baselines.diffusion.unet import LatentModel
from adbench_baselines.networks.vqvae import VQVAE
from torch import Tensor

from adbench.config.options import default_cache
from adbench.config.settings import resolve
from adbench.contracts.detector import Runtime
from adbench.devices.clock import clocked
from adbench.devices.device import autocast, computing, pick_device
from adbench.devices.precision import decide

LIMIT = 1.10
SIDE_PX = 64
PROBES = 60
"""Times of the bare network taken during one `score`, about."""
QUICK = {"ddpm": {"kl_timesteps": 30, "start_t": 70}, "ddim": {}}
"""100 passes each: the paper's DDPM takes 700."""


def fresh(cls: type[LatentDiffusion], preset: str, device: torch.device, settings: dict[str, Any]) -> LatentDiffusion:
    """A detector of a preset's size with fresh weights and a random codebook, that flags every position."""
    config = resolve(cls.Config, [cls.overrides, cls.presets[preset], settings], cls.__name__)
    torch.manual_seed(0)
    vqvae, model = VQVAE(config.vqvae), LatentModel(config.unet, config.vqvae.latent_channels)
    vqvae.quantiser.codebook.normal_()
    side = SIDE_PX // config.vqvae.factor
    modules = {"vqvae": vqvae, "unet": model}
    state = {f"{name}.{k}": v for name, module in modules.items() for k, v in module.state_dict().items()}
    detector = cls(config, Runtime(device=device))
    detector.load_state(state | {"size": torch.tensor([SIDE_PX, SIDE_PX]), "limits": torch.zeros(side, side)})
    return detector


def bare_pass(detector: LatentDiffusion, batch: int) -> Callable[[], Tensor]:
    """One pass of MONAI's UNet and nothing else, on a batch of latents."""
    config, device = detector.config, detector.runtime.device
    side = SIDE_PX // config.vqvae.factor
    x_t = torch.randn(batch, config.vqvae.latent_channels, side, side, device=device)
    t = torch.full((batch,), 250, device=device)

    @torch.no_grad()
    def run() -> Tensor:
        with autocast(device):
            eps_theta: Tensor = detector.model.unet(x_t, t)
        return eps_theta

    return run


@dataclass
class Clock:
    """Seconds of calls by the clock and of this process's processor time."""

    device: torch.device
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def call(self, run: Callable[[], object]) -> None:
        before = time.process_time()
        self.wall_s.append(clocked(run, self.device))
        self.cpu_s.append(time.process_time() - before)


def measure(name: str, detector: LatentDiffusion, slices: int) -> float:
    """Print what `score` takes and return it as a multiple of its bare network passes."""
    device = detector.runtime.device
    images = torch.rand(slices, 1, SIDE_PX, SIDE_PX, device=device)
    bare = bare_pass(detector, slices)
    passes = len(detector.timesteps) + detector.healing.passes * detector.config.healings
    every = max(1, passes // PROBES)
    calls, whole, probes = itertools.count(1), Clock(device), Clock(device)

    def probe(module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        """Before each call of the model: time the bare network once in a while."""
        if next(calls) % every == 0:
            probes.call(bare)

    clocked(bare, device)  # warm-up
    detector.vqvae.decode(detector.encode(images[:2]))
    hook = detector.model.register_forward_pre_hook(probe)
    whole.call(lambda: detector.score(images))
    hook.remove()
    total_s, bare_s = whole.wall_s[0] - sum(probes.wall_s), statistics.mean(probes.wall_s)
    ratio = total_s / (passes * bare_s)
    cpu_ratio = (whole.cpu_s[0] - sum(probes.cpu_s)) / (passes * statistics.mean(probes.cpu_s))
    between = f"{min(probes.wall_s):.4f} to {max(probes.wall_s):.4f}, {len(probes.wall_s)} times"
    print(f"{name}: {passes} network passes on {slices} slices in {next(calls) - 1} calls of the network")
    print(f"  score {total_s:.2f} s, {total_s / passes:.4f} s a pass; bare network {bare_s:.4f} s ({between})")
    print(f"  ratio {ratio:.3f} by the clock, {cpu_ratio:.3f} in processor time; limit {LIMIT:.2f}", flush=True)
    return ratio if device.type == "cuda" else cpu_ratio


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="ddpm with 100 passes instead of 700")
    parser.add_argument("--preset", default="small", help="sizes of the networks")
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = pick_device(args.device)
    load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{device.type}, {torch.get_num_threads()} threads, preset {args.preset}, load average {load}")
    precision, ratios = decide(device, "auto", default_cache(), print), []
    for name, cls in (("ddim", DDIM), ("ddpm", DDPM)):
        detector = fresh(cls, args.preset, device, QUICK[name] if args.quick else {})
        with computing(device, precision):
            ratios.append(measure(name, detector, args.slices))
    return int(max(ratios) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
