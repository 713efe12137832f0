"""What a detector costs: wall and processor time by stage, peak memory, network passes and FLOPs, by one protocol.

One minibatch of 100 slices already on the device. The first call finds how many fit into memory and how much they take,
and is not timed. Then each call is repeated as `repeats` says. Times are comparable only within one device, one
precision and one number of slices.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from adbench.devices.clock import StageClock
from adbench.devices.device import backend_of
from adbench.devices.flops import count_flops
from adbench.devices.repeats import Repeats, Rules, Run, Stopwatch
from adbench.devices.times import Call, Timing

CHAIN = 20
"""Network passes of a shortened chain."""


class Timed(Protocol):
    """What can be timed: a fitted detector."""

    def score(self, images: Tensor) -> Tensor: ...

    def image_scores(self, images: Tensor) -> Tensor: ...

    def shortened(self, passes: int) -> Timed | None: ...


def measure(
    detector: Timed,
    images: Tensor,
    clock: StageClock,
    rules: Rules,
    fit_s: float = 0.0,
    notify: Callable[[str], None] = lambda text: None,
) -> Timing:
    """Time a detector on `images` (N, 1, H, W), on their device, in one minibatch where that fits into memory.

    `clock` is the one that the detector reports its stages to; `fit_s` is kept with the times.
    """
    short = detector.shortened(CHAIN)
    batch_size, memory = _first_call((short or detector).score, images)
    batches = images.split(batch_size)
    singles = itertools.cycle(images.split(1))
    stopwatch = Stopwatch(images.device, clock, rules, notify)
    clock.running = True
    maps = stopwatch.repeats(_each(detector.score, batches), _each(short.score, batches) if short else None)
    detector.image_scores(batches[0])
    whole_levels = _each(detector.image_scores, batches)
    levels = stopwatch.repeats(whole_levels, _each(short.image_scores, batches) if short else None)
    detector.score(images[:1])
    latency = stopwatch.repeats(_next(detector.score, singles), _next(short.score, singles) if short else None)
    clock.running = False
    seconds = [call.seconds.wall for call in maps.calls]
    flops = count_flops(_each(detector.score, batches if maps.whole is None else [images[:1]]))
    timed: dict[Call, Repeats] = {"score": maps, "image_scores": levels, "latency": latency}
    return Timing(
        slices=len(images),
        batch_size=batch_size,
        warmups=2,
        repeats=len(seconds),
        median_s=maps.median_s,
        min_s=min(seconds),
        max_s=max(seconds),
        stages_s={name: seconds.wall for name, seconds in maps.middle.stages.items()},
        passes={name: n for name, n in maps.middle.passes.items() if n},
        flops=flops if maps.whole is None else flops * len(images),
        peak_memory_bytes=memory,
        latency_s=latency.median_s,
        image_scores_s=levels.median_s,
        fit_s=fit_s,
        cpu_s={name: repeats.cpu_s for name, repeats in timed.items()},
        others={name: repeats.others for name, repeats in timed.items() if repeats.others is not None},
        whole_s={name: repeats.whole.seconds.wall for name, repeats in timed.items() if repeats.whole is not None},
    )


def _each(function: Callable[[Tensor], Tensor], batches: Sequence[Tensor]) -> Run:
    def run() -> None:
        for batch in batches:
            function(batch)

    return run


def _next(function: Callable[[Tensor], Tensor], images: Iterator[Tensor]) -> Run:
    return lambda: function(next(images))


def _first_call(score: Callable[[Tensor], Tensor], images: Tensor) -> tuple[int, int]:
    """The largest batch that fits (halved until it does), and the peak bytes of its call."""
    batch_size, backend = len(images), backend_of(images.device)
    while True:
        peak: list[int] = []
        try:
            with backend.peak_memory(peak):
                score(images[:batch_size])
                backend.synchronise()
            return batch_size, peak[0]
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise
            batch_size //= 2
            backend.return_free_memory()
