"""One call, timed often enough: after a warm-up, at least five times, again where the machine was busy.

A call that is too slow for that is composed, where it has chains of equal network passes: calls with shorter chains are
repeated, each stage with a chain counts by its number of passes, and one whole call must take as long within a tenth,
by the clock or in processor seconds (else whole calls are repeated; on a busy machine neither says much, and the row
is marked anyway).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from adbench.devices.clock import Seconds, StageClock, elapsed
from adbench.devices.load import others_share
from adbench.devices.times import BUSY, LEAST

MOST = 1000
"""Repeats of a very quick one."""
TRIES = 3
"""How often a call is timed on a machine that stays busy."""
AGREE = 0.1
"""How far a composed time may be from that of a whole call, as a fraction of it."""

Run = Callable[[], object]


@dataclass(frozen=True)
class Rules:
    """How often a call is repeated."""

    repeats: int = 10
    budget_s: float = 120.0
    """Repeats are cut to `LEAST`, and busy machines not tried again, where more would take longer."""

    def number(self, call_s: float) -> int:
        """How many repeats a call gets that takes this long; the quickest more, until their time can be told."""
        fits = int(self.budget_s / max(call_s, 1e-9))
        enough = int(min(0.5, self.budget_s / 4) / max(call_s, 1e-9))
        return min(MOST, max(LEAST, min(fits, self.repeats), enough))


@dataclass(frozen=True)
class Once:
    """One timed call, and what its stages took."""

    seconds: Seconds
    stages: Mapping[str, Seconds]
    passes: Mapping[str, int]

    def with_passes(self, passes: Mapping[str, int]) -> Once:
        """The call with longer chains: a stage whose passes are fewer here takes as many times longer."""
        factors = {name: n / self.passes[name] for name, n in passes.items() if self.passes.get(name)}
        stages = {name: seconds * factors.get(name, 1.0) for name, seconds in self.stages.items()}
        longer = sum((stages[name] - self.stages[name] for name in stages), Seconds())
        return Once(self.seconds + longer, stages, passes)


@dataclass(frozen=True)
class Repeats:
    """The timed calls of one series."""

    calls: Sequence[Once]
    others: float | None
    """Share of the machine that others used; None where the series was too short to tell."""
    whole: Once | None = None
    """Of a composed series: the one whole call."""

    @property
    def busy(self) -> bool:
        return self.others is not None and self.others > BUSY

    @property
    def median_s(self) -> float:
        return statistics.median(call.seconds.wall for call in self.calls)

    @property
    def cpu_s(self) -> float:
        return statistics.median(call.seconds.cpu for call in self.calls)

    def agrees_with(self, once: Once) -> bool:
        """Whether one call takes about as long, by the clock or in processor seconds, which others disturb less."""
        pairs = ((self.median_s, once.seconds.wall), (self.cpu_s, once.seconds.cpu))
        return any(abs(ours - theirs) <= AGREE * theirs for ours, theirs in pairs)

    @property
    def middle(self) -> Once:
        """The call in the middle."""
        return sorted(self.calls, key=lambda call: call.seconds.wall)[(len(self.calls) - 1) // 2]


@dataclass(frozen=True)
class Stopwatch:
    """Times calls on a device; `clock` is the one that the calls report their stages to."""

    device: torch.device
    clock: StageClock
    rules: Rules
    notify: Callable[[str], None]

    def repeats(self, whole: Run, short: Run | None) -> Repeats:
        """Time `whole`, which has been called once; `short` is the same with shorter chains, if it has any."""
        first = self._once(whole)
        slow = first.seconds.wall * LEAST > self.rules.budget_s
        if slow and short is not None:
            composed = self._composed(first, short)
            if composed.busy or composed.agrees_with(first):
                return composed
            self.notify(
                f"composed of shorter chains a call takes {composed.median_s:.3g} s, but a whole one took "
                f"{first.seconds.wall:.3g} s: whole calls are timed"
            )
        if slow:
            self.notify(f"a call takes {first.seconds.wall:.3g} s, and is timed {LEAST} times")
        return self._quiet(whole, self.rules.number(first.seconds.wall))

    def _composed(self, whole: Once, short: Run) -> Repeats:
        n = self.rules.number(self._once(short).seconds.wall)
        series = self._quiet(short, n)
        return replace(series, calls=[call.with_passes(whole.passes) for call in series.calls], whole=whole)

    def _quiet(self, run: Run, n: int) -> Repeats:
        """The series of `n` calls that others disturbed least: a busy machine is tried again within the budget."""
        began, series = time.perf_counter(), [self._series(run, n)]
        while series[-1].busy and len(series) < TRIES and time.perf_counter() - began < self.rules.budget_s:
            time.sleep(self.rules.budget_s / 20)
            series.append(self._series(run, n))
        return min(series, key=lambda each: each.others or 0.0)

    def _series(self, run: Run, n: int) -> Repeats:
        share: list[float] = []
        with others_share(share):
            calls = [self._once(run) for _ in range(n)]
        return Repeats(calls, share[0] if share else None)

    def _once(self, run: Run) -> Once:
        self.clock.reset()
        seconds = elapsed(run, self.device)
        # copied: a call that is not timed goes on counting into the same mappings
        return Once(seconds, dict(self.clock.seconds), dict(self.clock.passes))
