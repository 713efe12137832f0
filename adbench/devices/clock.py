"""Seconds of work on a device, by the clock and of the processor: of one call, and of a detector's stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from adbench.devices.device import backend_of


@dataclass(frozen=True)
class Seconds:
    """How long something took."""

    wall: float = 0.0
    cpu: float = 0.0
    """Of all threads of this process; what others do on the machine moves it less than the clock."""

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)

    def __mul__(self, factor: float) -> Seconds:
        return Seconds(self.wall * factor, self.cpu * factor)


def now(device: torch.device) -> Seconds:
    """The time once all work queued on the device is done; differences count."""
    backend_of(device).synchronise()
    return Seconds(time.perf_counter(), time.process_time())


@dataclass
class StageClock:
    """Accumulates seconds and network passes by stage while `running`; costs nothing otherwise."""

    running: bool = False
    seconds: dict[str, Seconds] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, device: torch.device, passes: int = 0) -> Iterator[None]:
        """Add the time of the block to `name`; stages must not be nested."""
        if not self.running:
            yield
            return
        start = now(device)
        yield
        self.seconds[name] = self.seconds.get(name, Seconds()) + (now(device) - start)
        self.passes[name] = self.passes.get(name, 0) + passes

    def reset(self) -> None:
        self.seconds, self.passes = {}, {}


def elapsed(run: Callable[[], object], device: torch.device) -> Seconds:
    """Seconds of one call, device work included."""
    start = now(device)
    run()
    return now(device) - start


def clocked(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call by the clock, device work included."""
    return elapsed(run, device).wall
