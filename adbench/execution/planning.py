"""What a suite takes, found out without doing it: its jobs in order, what they share, and what cannot be run here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

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

    @property
    def scoring_s(self) -> float | None:
        """Seconds of network passes over all images; None where that is not known."""
        return _total(cell.estimated_score_s for cell in self.cells if not cell.record_exists)

    @property
    def memory_bytes(self) -> int | None:
        """Most bytes of one step of training or scoring, as measured; None where that is not known."""
        known = [part.memory_bytes for part in self.to_make.values()]
        known += [cell.estimated_memory_bytes for cell in self.cells if not cell.record_exists]
        return max((each for each in known if each is not None), default=None)


def plan(
    jobs: Sequence[Job], folders: Folders, device: str, reporter: Reporter, measured: bool = False
) -> list[PlannedJob]:
    """Plan jobs in their order; costs are known where they are `measured`, which takes some seconds a network.

    Raises nothing on the input of single jobs: those that a run would refuse have the reason.
    """
    known = Known(measured)
    groups = groupby(jobs, key=lambda job: replace(job, method="", seed=0))
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
    found = {each.job: each for part in apart for each in _planned(part, folders, device, reporter, known)}
    return [found[job] for job in jobs]


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
    own = {method: _own_settings(replace(jobs[0], method=method)) for method in methods}
    return [
        PlannedJob(
            job,
            replace(job, settings=own[job.method]),
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


def all_parts(planned: Iterable[PlannedJob]) -> dict[str, PartForecast]:
    """Key -> every part that is to be made, once."""
    return {key: part for each in planned for key, part in each.to_make.items()}


def seconds(planned: Sequence[PlannedJob]) -> float | None:
    """Of all jobs one after another on this device, as far as it is known; None where nothing is."""
    scoring = [each.scoring_s for each in planned if each.status == "to do"]
    return _total([*scoring, *(part.estimated_s for part in all_parts(planned).values())])


def _total(values: Iterable[float | None]) -> float | None:
    """The sum of those that are known; None where there is something and nothing is known of it."""
    values = list(values)
    known = [value for value in values if value is not None]
    return sum(known) if known or not values else None
