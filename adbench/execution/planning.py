"""What a suite takes, found out without doing it: its jobs in order, what they share, and what cannot be run here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import TypeVar

from pydantic import BaseModel

from adbench.config.options import Reporter
from adbench.config.settings import keys
from adbench.contracts.registry import load_detector
from adbench.errors import AdbenchError
from adbench.execution.job import Folders, Job
from adbench.protocol import data
from adbench.protocol.cell import Cell, build_cells
from adbench.protocol.forecast import CellForecast, Known, PartForecast, of_cell
from adbench.tuning.tuned import settings_for_run

N = TypeVar("N", int, float)
THERE = ("reuse", "fetch")
"""Statuses of parts that are not made by a run."""


@dataclass(frozen=True)
class PlannedJob:
    """A job and its cells, or the reason why it cannot be run here."""

    job: Job
    own: Job
    """The same with those of its grid's settings alone that reach its method and its datasets."""
    cells: Sequence[CellForecast] = ()
    reason: str = ""

    @property
    def status(self) -> str:
        """done, to do, or cannot run."""
        if self.reason:
            return "cannot run"
        return "done" if all(cell.record_exists for cell in self.cells) else "to do"

    @cached_property
    def to_make(self) -> dict[str, PartForecast]:
        """Key -> the parts that it makes, unless another job has made them by then; none where it is done."""
        cells = [cell for cell in self.cells if not cell.record_exists]
        return {part.key: part for cell in cells for part in cell.parts if part.status not in THERE}


@dataclass(frozen=True)
class Costs:
    """What a job takes besides those before it in a plan, or all of them; None where that is not known."""

    parts: Sequence[PartForecast]
    """That are made, each once."""
    training_s: float | None
    scoring_s: float | None
    """Of network passes over all images."""
    memory_bytes: int | None
    """Most of one step of training or scoring, as measured; of all jobs that of the greatest."""
    disk_bytes: int | None
    """Of parts and score maps, as far as they are known."""

    @property
    def seconds(self) -> float | None:
        """Of training and scoring on this device, one after another."""
        return _total([self.training_s, self.scoring_s])


def plan(
    jobs: Sequence[Job], folders: Folders, device: str, reporter: Reporter, measured: bool = False
) -> list[PlannedJob]:
    """Plan jobs in their order; costs are known where they are `measured`, which takes some seconds a network.

    Raises nothing on the input of single jobs: those that a run would refuse have the reason.
    """
    known = Known(measured)
    groups = groupby(jobs, key=lambda job: job._replace(method="", seed=0))
    return [each for _, group in groups for each in _planned(list(group), folders, device, reporter, known)]


def _planned(jobs: Sequence[Job], folders: Folders, device: str, reporter: Reporter, known: Known) -> list[PlannedJob]:
    """Jobs that differ in their method and seed alone: together, or where a run of all would be refused by method."""
    methods = list(dict.fromkeys(job.method for job in jobs))
    try:
        return _together(jobs, methods, folders, device, reporter, known)
    except AdbenchError as error:
        if len(methods) == 1:
            return [PlannedJob(job, job, reason=" ".join(str(error).split())) for job in jobs]
    apart = ([job for job in jobs if job.method == method] for method in methods)
    by_job = {each.job: each for part in apart for each in _planned(part, folders, device, reporter, known)}
    return [by_job[job] for job in jobs]


def _together(
    jobs: Sequence[Job], methods: Sequence[str], folders: Folders, device: str, reporter: Reporter, known: Known
) -> list[PlannedJob]:
    """The data are loaded once."""
    dataset, options = jobs[0].dataset, jobs[0].options(folders, device)
    if tuned := jobs[0].tuned:
        settings, tuning = settings_for_run(tuned, jobs[0].storage, options, methods, [dataset])
        options = replace(options, settings=settings, tuning=tuning)
    cells: dict[str, list[Cell]] = {method: [] for method in methods}
    for cell in build_cells(methods, dataset, options, reporter):
        cells[cell.method].append(cell)
    own = {method: _own_settings(jobs[0]._replace(method=method)) for method in methods}
    return [
        PlannedJob(
            job,
            job._replace(settings=own[job.method]),
            [of_cell(cell.with_seed(job.seed), known) for cell in cells[job.method]],
        )
        for job in jobs
    ]


def _own_settings(job: Job) -> tuple[str, ...]:
    """Those of its grid's settings that reach the job: a run alone refuses one that nothing in it has."""
    reached: list[tuple[type[BaseModel], str]] = [(load_detector(job.method).cls.Config, "")]
    reached += [(plugin.cls.Config, "data.") for plugin in data.plugins([job.dataset], job.train_on)]
    known = {key for model, prefix in reached for key in keys(model, prefix)}
    own = (text for text in job.settings if text.startswith("protocol.") or text.partition("=")[0].strip() in known)
    return tuple(own)


def costs(planned: Iterable[PlannedJob]) -> list[Costs]:
    """Of each job; a part that several make counts for the first."""
    known: set[str] = set()
    each_costs = []
    for each in planned:
        each_costs.append(_costs(each, [part for key, part in each.to_make.items() if key not in known]))
        known |= each.to_make.keys()
    return each_costs


def _costs(planned: PlannedJob, parts: Sequence[PartForecast]) -> Costs:
    if planned.reason:
        return Costs(parts, None, None, None, None)
    cells = [cell for cell in planned.cells if not cell.record_exists]
    memory = [part.memory_bytes for part in planned.to_make.values()]
    disk = [part.disk_bytes for part in parts]
    return Costs(
        parts=parts,
        training_s=_total(part.estimated_s for part in parts),
        scoring_s=_total(cell.estimated_score_s for cell in cells),
        memory_bytes=_most([*memory, *(cell.estimated_memory_bytes for cell in cells)]),
        disk_bytes=_total([*disk, *(cell.estimated_disk_bytes for cell in cells)]),
    )


def in_all(each: Sequence[Costs]) -> Costs:
    """Of all jobs together, as far as it is known."""
    return Costs(
        parts=[part for one in each for part in one.parts],
        training_s=_total(one.training_s for one in each),
        scoring_s=_total(one.scoring_s for one in each),
        memory_bytes=_most(one.memory_bytes for one in each),
        disk_bytes=_total(one.disk_bytes for one in each),
    )


def _total(values: Iterable[N | None]) -> N | int | None:
    """The sum of those that are known; None where there is something and nothing is known of it."""
    values = list(values)
    known = [value for value in values if value is not None]
    return sum(known) if known or not values else None


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)
