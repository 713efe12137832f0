"""Time the diffusion model's training step and network pass, plain and as CUDA graphs, for two presets in one run.

    python benchmarks/cuda_graphs.py

Needs a CUDA device; weights are fresh, so no data are needed. Prints a Markdown table of milliseconds.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from functools import partial

import torch
from adbench_baselines.ddpm import DDPM
from adbench_baselines.diffusion.unet import LatentModel, simple_loss

from adbench.config.settings import resolve
from adbench.devices.clock import clocked
from adbench.devices.device import pick_device
from adbench.devices.graphs import graph_training

SIDE = 16
"""Of the latents of a 64 x 64 image at f = 4."""
TRAINED, SCORED = (64, 256, 512), (1, 100, 200, 1000)


def median_ms(run: Callable[[], object], device: torch.device) -> float:
    """Median milliseconds of ten calls after two."""
    run(), run()
    return 1e3 * statistics.median(clocked(run, device) for _ in range(10))


def training_step(model: LatentModel, x_0: torch.Tensor) -> Callable[[], object]:
    """One step as training takes it: loss, gradients, clipping, AdamW."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        loss = simple_loss(model, x_0, torch.Generator().manual_seed(0))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return step


def main() -> int:
    device = pick_device("cuda")
    print(f"{torch.cuda.get_device_name(device)}, PyTorch {torch.__version__}, bf16 autocast, ms\n")
    print("| preset | what | batch | plain | CUDA graph | ratio |\n| --- | --- | ---: | ---: | ---: | ---: |")
    for preset in ("small", "paper"):
        config = resolve(DDPM.Config, [DDPM.overrides, DDPM.presets[preset]], "ddpm")
        channels = config.vqvae.latent_channels

        def fresh(config=config, channels=channels) -> LatentModel:
            torch.manual_seed(0)
            return LatentModel(config.unet, channels).to(device)

        def row(what: str, batch: int, plain: float, graph: float, preset: str = preset) -> None:
            print(f"| `{preset}` | {what} | {batch} | {plain:.1f} | {graph:.1f} | {plain / graph:.1f} |", flush=True)

        for batch in TRAINED:
            x_0 = torch.randn(batch, channels, SIDE, SIDE, device=device)
            plain, graphed = fresh().train(), fresh().train()
            graph_training(graphed.unet, torch.zeros_like(x_0), torch.ones(batch, dtype=torch.long, device=device))
            row("training step", batch, *(median_ms(training_step(m, x_0), device) for m in (plain, graphed)))
        model = fresh().eval().requires_grad_(False)
        for batch in SCORED:
            x_t = torch.randn(batch, channels, SIDE, SIDE, device=device)
            t = torch.ones(batch, dtype=torch.long, device=device)
            with torch.no_grad():
                row("network pass", batch, *(median_ms(partial(m, x_t, t), device) for m in (model._run, model)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
