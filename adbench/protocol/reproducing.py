"""A record made once more, and whether its numbers come out again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from adbench.config.nested import flat
from adbench.config.options import Reporter, RunOptions
from adbench.devices.environment import environment
from adbench.errors import RecordError
from adbench.metrics.estimate import Estimate
from adbench.protocol.cell import Cell
from adbench.protocol.forecast import CellForecast, Known, of_cell
from adbench.protocol.harness import evaluate
from adbench.protocol.rebuilding import Rebuilder
from adbench.results.record import EnvironmentRecord, Record

TOLERANCE = 0.001
"""Largest difference at which a number agrees, unless another is asked for: the last digit that is shown."""
UNTIMED = {"timing_slices": 1, "timing_budget_s": 0.01}
"""Times are no part of what is made again: the least that a run measures."""
Verdict = Literal["the same", "agrees", "differs"]
VERDICTS: tuple[Verdict, ...] = ("the same", "agrees", "differs")


@dataclass(frozen=True)
class Number:
    """One metric, as it was and as it came out again; None where it is undefined."""

    metric: str
    was: float | None
    now: float | None
    verdict: Verdict
    """The same to the last bit, within the tolerance, or neither."""
    interval: Verdict
    """Of both ends of its interval."""


@dataclass(frozen=True)
class Plan:
    """A record's cell, and what making it again would take here."""

    record: Record
    cell: Cell
    forecast: CellForecast
    environment: dict[str, tuple[object, object]]
    """Where it differs: as it was, as it is now."""


@dataclass(frozen=True)
class Reproduction:
    """What came out."""

    again: Record
    numbers: Sequence[Number]
    environment: dict[str, tuple[object, object]]
    """Where it differs: as it was, as it is now."""

    @property
    def succeeded(self) -> bool:
        return all("differs" not in (number.verdict, number.interval) for number in self.numbers)


def plan(record: Record, options: RunOptions, reporter: Reporter) -> Plan:
    """What it takes to train and score a record's cell again below `options.out`; data are prepared there.

    Raises:
        AdbenchError: the record failed, its method or data are not here, or code or images have changed since.
    """
    if record.status != "ok":
        raise RecordError(f"{record.path} {record.status} and has no numbers: run its cell with 'adbench run'.")
    cell = Rebuilder(options, reporter).cell(record)
    cell = replace(cell, protocol=cell.protocol.model_copy(update=UNTIMED))
    with cell.computing():
        here = EnvironmentRecord(**environment(cell.device))
    return Plan(record, cell, of_cell(cell, Known()), environments(record.environment, here))


def reproduce(plan: Plan, reporter: Reporter, tolerance: float = TOLERANCE) -> Reproduction:
    """Train and score a cell again, where nothing of it is at hand from nothing.

    Raises RecordError where it fails.
    """
    (again,) = evaluate([plan.cell], reporter)
    if again.status != "ok":
        raise RecordError(f"{plan.record.path} could not be made again: {again.reason}")
    changed = environments(plan.record.environment, again.environment)
    return Reproduction(again, numbers(plan.record, again, tolerance), changed)


def numbers(record: Record, again: Record, tolerance: float) -> list[Number]:
    """The metrics that the record has, side by side."""
    numbers = []
    for key, was in record.metrics.items():
        now = again.metrics.get(key, Estimate(value=None))
        ends = [_verdict(was.low, now.low, tolerance), _verdict(was.high, now.high, tolerance)]
        verdict = _verdict(was.value, now.value, tolerance)
        numbers.append(Number(key, was.value, now.value, verdict, max(ends, key=VERDICTS.index)))
    return numbers


def _verdict(was: float | None, now: float | None, tolerance: float) -> Verdict:
    if was == now:
        return "the same"
    near = was is not None and now is not None and abs(was - now) <= tolerance
    return "agrees" if near else "differs"


def environments(was: EnvironmentRecord, now: EnvironmentRecord) -> dict[str, tuple[object, object]]:
    """Field -> its values, where they differ."""
    then, here = (flat(environment.model_dump()) for environment in (was, now))
    return {key: (then.get(key), here.get(key)) for key in sorted({**then, **here}) if then.get(key) != here.get(key)}
