"""Seconds of work on a device: of one call, and of a detector's stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from adbench.devices.device import backend_of


@dataclass
class StageClock:
    """Accumulates seconds and network passes by stage while `running`; costs nothing otherwise."""

    running: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, device: torch.device, passes: int = 0) -> Iterator[None]:
        """Add the time of the block to `name`; stages must not be nested."""
        if not self.running:
            yield
            return
        backend_of(device).synchronise()
        start = time.perf_counter()
        yield
        backend_of(device).synchronise()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.passes[name] = self.passes.get(name, 0) + passes

    def reset(self) -> None:
        self.seconds, self.passes = {}, {}


def clocked(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, device work included."""
    backend_of(device).synchronise()
    start = time.perf_counter()
    run()
    backend_of(device).synchronise()
    return time.perf_counter() - start
