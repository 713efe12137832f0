"""A fitted detector of a cell, from trained parts or with training."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from adbench.config.options import Reporter
from adbench.contracts.detector import Detector
from adbench.protocol.cell import Cell


@dataclass(frozen=True)
class Fitted:
    """A fitted detector, and the seconds that fitting took in this run."""

    detector: Detector[Any]
    fit_s: float


def fit(cell: Cell, reporter: Reporter) -> Fitted:
    """Fit the detector of a cell; parts that the cache holds, or the depot of the run, are fetched."""
    detector = cell.detector(cell.store_of_parts(reporter), reporter)
    healthy, validation = cell.data.healthy()
    of = f" of {cell.data.train_on.source.name}" if cell.data.train_on else ""
    reporter.message(f"{cell.method} on {cell.data.name}: fitting on {len(healthy)} images{of}")
    start = time.perf_counter()
    detector.fit(healthy, validation)
    return Fitted(detector, time.perf_counter() - start)


def missing_part(cell: Cell) -> str | None:
    """Key of the first trained part that the cache does not hold."""
    store = cell.store()
    return next((part.spec.key for part in cell.plan.parts if not store.has(part.spec)), None)
