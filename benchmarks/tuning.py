"""Trials a minute with kept KL maps and without, in one run, and that both give the same score.

    python benchmarks/tuning.py [--quick] [--preset small] [--images 100] [--trials 100] [--device auto]

Trials change the range of t (with 200 values in it, the paper's number), the threshold or the mask alone; healing is
set and not searched. With kept maps, `--trials` trials go through a study in a file, sampler and storage included,
after maps of all t of the space have been computed, which is timed apart. Without, a few of the same trials are scored
by the plain detector, its validation maps included. The networks have the preset's size and fresh weights, so that
nothing need be trained.

Exit code 1 where trials with kept maps are less than 100 times as many a minute, or a score differs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import torch
from adbench_baselines.diffusion.config import SIZES

from adbench.config.options import Silent
from adbench.contracts.search import Integer
from adbench.devices.device import pick_device
from adbench.tuning import places, studies
from adbench.tuning.objective import Objective, prepare
from adbench.tuning.space import TuneOptions
from adbench.tuning.trials import work

LEAST = 100.0
QUICK_IMAGES = 40
TOLERANCE = {"kl-map": 1e-4, "ddpm-b": 1e-3}
"""How far the Dice of both may be apart.

Passes of other batches round otherwise. That hardly moves a map, but may move a latent to the other side of the
threshold, with all the pixels that it stands for.
"""
FRESH = ("vqvae.steps=1", "unet.steps=1", "unet.augmented_copies=0", "unet.ema_decay=0", "vqvae.ema_decay=0")
TIMESTEPS = 200
"""Values of t of every map: the paper's number."""
HEALING = ("start_t=50", "sampler=ddim", "healing_steps=10", "healings=1", "requantise=false")
OTHERS = ("context=clean", "start=noised", "threshold=global")
FIXED: dict[str, tuple[str, ...]] = {"kl-map": (), "ddpm-b": (*HEALING, *OTHERS)}
"""Method -> settings that are not searched."""


def objective(method: str, preset: str, images: int, trials: int, cache: Path, device: str) -> Objective:
    """A study of the method with networks that take no training."""
    sizes = ("data.n_train=64", f"data.n_validation={images}")
    given = TuneOptions(
        method,
        "phantom",
        study="benchmark",
        trials=trials,
        images=images,
        preset=preset,
        settings=(*FRESH, *FIXED[method], f"kl_timesteps={TIMESTEPS}", *sizes),
        cache=cache,
        device=device,
    )
    return prepare(given, Silent())


def fill(o: Objective) -> float:
    """Seconds to load the networks and to compute the maps of every t that the space reaches."""
    low, high = o.space["t_low"], o.space["t_high"]
    assert isinstance(low, Integer)
    assert isinstance(high, Integer)
    start = time.perf_counter()
    for first in range(low.low, high.high, TIMESTEPS):
        o.evaluate({"t_low": first, "t_high": min(first + TIMESTEPS, high.high)})
    return time.perf_counter() - start


def studied(o: Objective) -> tuple[float, list[tuple[Mapping[str, Any], float]]]:
    """Seconds a trial of a study, none of them pruned, and the settings and Dice of each."""
    found = studies.open_study(places.default_storage(o.options.cache), "benchmark", o.identity, ["maximize"])
    found.sampler, found.pruner = optuna.samplers.TPESampler(multivariate=True, seed=0), optuna.pruners.NopPruner()
    start = time.perf_counter()
    work(found, o, None)
    seconds, trials = time.perf_counter() - start, studies.complete(studies.trials_of(found))
    return seconds / len(trials), [(trial.params, trial.values[0]) for trial in trials]


def plain(o: Objective, values: Mapping[str, Any]) -> tuple[float, float]:
    """Seconds and Dice of a trial that keeps nothing; networks were loaded before."""
    o.kept = None
    start = time.perf_counter()
    dice = o.evaluate(values).values["dice"]
    return time.perf_counter() - start, dice


def measure(method: str, args: argparse.Namespace, cache: Path) -> bool:
    """Print what trials cost with kept maps and without; return whether the promise holds."""
    images = QUICK_IMAGES if args.quick else args.images
    o = objective(method, args.preset, images, args.trials, cache / method, args.device)
    lesioned, validation = len(o.development.lesioned), len(o.development.validation)
    print(f"{method}: {lesioned} images with lesions, {validation} to find thresholds on", flush=True)
    filled = fill(o)
    kept, trials = studied(o)
    print(f"  kept maps: {60 / kept:,.0f} trials a minute ({1e3 * kept:.0f} ms), once {filled:.0f} s for all maps")
    n = 1 if args.quick else args.plain
    middle = [trials[(2 * i + 1) * len(trials) // (2 * n)] for i in range(n)]
    seconds, apart = [], []
    for values, dice in middle:
        took, plain_dice = plain(o, values)
        seconds.append(took)
        apart.append(abs(plain_dice - dice))
        print(
            f"  plain: {took:.1f} s with t from {values['t_low']} to {values['t_high']}, Dice apart {apart[-1]:.1e}",
            flush=True,
        )
    mean = statistics.fmean(seconds)
    ratio = mean / kept
    print(f"  computed anew: {60 / mean:.2f} trials a minute")
    print(f"  {ratio:,.0f} times as many with kept maps (at least {LEAST:.0f})", flush=True)
    return ratio >= LEAST and max(apart) <= TOLERANCE[method]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_IMAGES} images, and one trial computed anew")
    parser.add_argument("--preset", default="small", choices=SIZES, help="size of the networks")
    parser.add_argument("--images", type=int, default=100, help="images with a synthetic lesion")
    parser.add_argument("--trials", type=int, default=100, help="trials with kept maps")
    parser.add_argument("--plain", type=int, default=3, help="of them, trials that are computed anew")
    parser.add_argument("--method", choices=FIXED, nargs="+", default=list(FIXED))
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{pick_device(args.device).type}, {torch.get_num_threads()} threads, load average {load}")
    with tempfile.TemporaryDirectory() as folder:
        held = [measure(method, args, Path(folder)) for method in args.method]
    return int(not all(held))


if __name__ == "__main__":
    sys.exit(main())
