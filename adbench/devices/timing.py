"""What a detector costs: wall time by stage, peak memory, network passes and FLOPs, by one protocol.

One minibatch of 100 slices already on the device; warm-ups, then synchronise, clock, run, synchronise. Slow methods get
fewer repeats and warm-ups, and the record says how many. Times are comparable only within one device.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adbench.devices.clock import StageClock, clocked
from adbench.devices.device import backend_of
from adbench.devices.flops import count_flops

Score = Callable[[Tensor], object]


@dataclass(frozen=True)
class TimingProtocol:
    """How scoring is timed."""

    slices: int = 100
    warmups: int = 3
    repeats: int = 10
    budget_s: float = 120.0
    """Repeats and warm-ups are cut to stay within it, for a very slow method down to its first call alone."""


@dataclass(frozen=True)
class Timing:
    """Seconds for `slices` images in one minibatch, and what went into them."""

    slices: int
    batch_size: int
    """The minibatch in use; smaller than `slices` only where that did not fit into memory."""
    warmups: int
    repeats: int
    median_s: float
    min_s: float
    max_s: float
    stages_s: dict[str, float]
    """Of the run in the middle, so that they add up to about the median."""
    passes: dict[str, int]
    flops: int
    """Of all `slices` images by PyTorch's formulas; over the budget, those of one image times their number."""
    peak_memory_bytes: int
    """Above what was in use before: allocated on CUDA, resident on the CPU (sampled)."""
    latency_s: float
    """Median seconds for a single image, over the first few images."""


def plan_repeats(first_s: float, protocol: TimingProtocol) -> tuple[int, int]:
    """Return (further warm-ups, repeats) after a first call of `first_s`, within the budget.

    No repeat at all where not even one fits: the first call is then the measurement.
    """
    fits = int(protocol.budget_s / max(first_s, 1e-9)) - 1
    if fits < 1:
        return 0, 0
    repeats = max(1, min(protocol.repeats, fits - (protocol.warmups - 1)))
    warmups = protocol.warmups - 1 if repeats == protocol.repeats else 0
    return warmups, repeats


def measure(score: Score, images: Tensor, clock: StageClock, protocol: TimingProtocol) -> Timing:
    """Time `score` on `images` (N, 1, H, W), on their device, in one minibatch where that fits into memory."""
    device = images.device
    clock.running = True
    clock.reset()
    batch_size, first_s, memory = _first_call(score, images)
    warmups, repeats = plan_repeats(first_s, protocol)
    alone = repeats == 0 and batch_size == len(images)
    quick = first_s <= protocol.budget_s  # one more call for the FLOPs is no matter

    def run() -> None:
        for start in range(0, len(images), batch_size):
            score(images[start : start + batch_size])

    runs = [_Run(first_s, clock.seconds, clock.passes)]
    if not alone:
        for _ in range(warmups):
            run()
        runs = [_timed(run, clock, device) for _ in range(max(1, repeats))]
    clock.running = False
    seconds = [timed.seconds for timed in runs]
    middle = sorted(runs, key=lambda timed: timed.seconds)[(len(runs) - 1) // 2]
    return Timing(
        slices=len(images),
        batch_size=batch_size,
        warmups=0 if alone else warmups + 1,
        repeats=len(seconds),
        median_s=statistics.median(seconds),
        min_s=min(seconds),
        max_s=max(seconds),
        stages_s=middle.stages_s,
        passes={name: n for name, n in middle.passes.items() if n},
        flops=count_flops(run) if quick else count_flops(lambda: score(images[:1])) * len(images),
        peak_memory_bytes=memory,
        latency_s=_latency(score, images, protocol),
    )


@dataclass(frozen=True)
class _Run:
    """One timed run and what its stages took."""

    seconds: float
    stages_s: dict[str, float]
    passes: dict[str, int]


def _timed(run: Callable[[], object], clock: StageClock, device: torch.device) -> _Run:
    clock.reset()
    return _Run(clocked(run, device), clock.seconds, clock.passes)


def _first_call(score: Score, images: Tensor) -> tuple[int, float, int]:
    """The first call: the largest batch that fits (halved until it does), its seconds and peak bytes."""
    batch_size, backend = len(images), backend_of(images.device)
    while True:
        peak: list[int] = []
        try:
            with backend.peak_memory(peak):
                first_s = clocked(lambda n=batch_size: score(images[:n]), images.device)  # type: ignore[misc]
            return batch_size, first_s * len(images) / batch_size, peak[0]
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise
            batch_size //= 2
            backend.return_free_memory()


def _latency(score: Score, images: Tensor, protocol: TimingProtocol) -> float:
    first = clocked(lambda: score(images[:1]), images.device)
    fits = int(0.25 * protocol.budget_s / max(first, 1e-9))
    chosen = [i % len(images) for i in range(min(protocol.repeats, fits))]
    repeats = [clocked(lambda i=i: score(images[i : i + 1]), images.device) for i in chosen]  # type: ignore[misc]
    return statistics.median(repeats or [first])
