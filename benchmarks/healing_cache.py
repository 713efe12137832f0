"""Heal tokens with and without the key-value cache: the same tokens, at a fraction of the token-evaluations.

    python benchmarks/healing_cache.py [--quick] [--preset small] [--slices 100] [--rate 0.01] [--device auto]

A token-evaluation is one place of one image going through the network in one call; looking at kept keys and values is
none. The cache takes the prefix and every later place once; the reference runs the whole prefix again for each place,
as MONAI's sampling does. Both begin at the first place that is masked in any image of the minibatch and end at the
last. The network has the preset's size and fresh weights, and masks are random tokens at about the rate of unlikely
ones, so that no data and no training are needed. How much the cache saves depends on where masks begin and end, which
is printed: with more images or a higher rate they soon span all places.

Exit code 1 where the healed tokens differ, or the cache takes fewer than 20 times fewer token-evaluations.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from adbench_baselines.tokens.healing import heal, span
from adbench_baselines.tokens.model import TokenModel, TokenModelConfig
from adbench_baselines.transformer import TRANSFORMER_SIZES
from torch import Tensor

from adbench.config.options import default_cache
from adbench.devices.clock import clocked
from adbench.devices.device import computing, pick_device
from adbench.devices.precision import decide

LEAST = 20
LENGTHS = (64, 256)
"""Tokens of a 64 x 64 image at f = 8 and at f = 4."""
CODES = 64


def fresh(preset: str, length: int, device: torch.device) -> TokenModel:
    """A network of a preset's size, with fresh weights whose logits differ between codes."""
    torch.manual_seed(0)
    model = TokenModel(TokenModelConfig(**TRANSFORMER_SIZES[preset]), CODES, length)
    torch.nn.init.normal_(model.head.weight, std=0.2)
    return model.to(device).eval().requires_grad_(False)


@contextmanager
def counted(model: TokenModel) -> Iterator[list[int]]:
    """Collect the token-evaluations of each call of the network."""
    counts: list[int] = []

    def count(layer: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        counts.append(given[0].shape[0] * given[0].shape[1])

    hook = model.layers[0].register_forward_pre_hook(count)
    try:
        yield counts
    finally:
        hook.remove()


def measure(model: TokenModel, slices: int, rate: float) -> bool:
    """Print what healing costs with and without the cache; return whether the promise holds."""
    generator, device = torch.Generator().manual_seed(1), model.positions.device
    tokens = torch.randint(CODES, (slices, model.length), generator=generator).to(device)
    mask = (torch.rand(tokens.shape, generator=generator) < rate).to(device)
    places = span(mask)
    print(
        f"{model.length} tokens, {slices} slices: {int(mask.sum())} masked, places {places.start} to {places.stop - 1}"
    )
    heal(model, tokens[:, :2], mask[:, :2] | True, seed=0)  # warm-up
    evaluations, seconds, healed = [], [], []
    for cache in (True, False):
        with counted(model) as counts:
            seconds.append(clocked(lambda c=cache: healed.append(heal(model, tokens, mask, 0, cache=c)), device))
        evaluations.append(sum(counts))
        name = "with the cache" if cache else "whole prefix"
        print(f"  {name}: {seconds[-1]:.2f} s, {len(counts)} calls, {evaluations[-1]:,} token-evaluations", flush=True)
    ratio, same = evaluations[1] / evaluations[0], torch.equal(*healed)
    print(f"  {ratio:.1f} times fewer token-evaluations (at least {LEAST}), {seconds[1] / seconds[0]:.1f} times faster")
    print(f"  healed tokens {'agree' if same else 'DIFFER'}", flush=True)
    return same and ratio >= LEAST


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the network of the preset smoke")
    parser.add_argument("--preset", default="small", choices=TRANSFORMER_SIZES, help="size of the network")
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0.01, help="share of tokens that are masked")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device, preset = pick_device(args.device), "smoke" if args.quick else args.preset
    load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{device.type}, {torch.get_num_threads()} threads, preset {preset}, load average {load}")
    with computing(device, decide(device, "auto", default_cache(), print)):
        kept = [measure(fresh(preset, length, device), args.slices, args.rate) for length in LENGTHS]
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
