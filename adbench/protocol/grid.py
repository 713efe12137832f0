"""What a run of several cells says while it goes on: which cell, which stage of it, and how long all will take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adbench.config.options import Reporter
from adbench.protocol.cell import Cell
from adbench.protocol.forecast import Known, of_cell

ALL = "all cells"
"""The task whose progress is that of the whole grid."""
ESTIMATED = f"{ALL}, in estimated seconds"
"""The same where cells are weighed by how long they are estimated to take."""
WORTH_STEPS = 1000
"""Steps of a grid from which on an estimate, which takes a few, is worth it."""


def estimated_s(cells: Sequence[Cell]) -> list[float] | None:
    """Seconds that each cell would take, parts that it shares with an earlier one left out; None of short grids."""
    parts = {part.spec.key: part.steps for cell in cells for part in cell.plan.parts}
    if len(cells) < 2 or sum(parts.values()) < WORTH_STEPS:
        return None
    known, planned, seconds = Known(), set[str](), []
    for cell in cells:
        try:
            forecast = of_cell(cell, known)
        except Exception:  # a detector's fault, which is told when the cell is run
            seconds.append(1.0)
            continue
        new = [part.estimated_s or 0.0 for part in forecast.parts if part.key not in planned]
        planned.update(part.key for part in forecast.parts)
        seconds.append(1.0 + sum(new) + (forecast.estimated_score_s or 0.0))
    return seconds


@dataclass
class GridReporter:
    """Names the cell before each stage, and tells how much of the cells to run is done; a single cell has no grid."""

    inner: Reporter
    cells: int
    seconds: Sequence[float] | None = None
    """That each cell is estimated to take; None: all count alike."""
    done: int = 0
    method: str = ""
    dataset: str = ""

    def message(self, text: str) -> None:
        self.inner.message(text)

    def progress(self, what: str, done: int, total: int) -> None:
        if self.cells > 1:
            stage = what.removeprefix(f"{self.method}: ")
            what = f"cell {self.done + 1}/{self.cells}, {self.method} on {self.dataset}: {stage}"
        self.inner.progress(what, done, total)
        self._tell()

    def end_cell(self) -> None:
        self.done += 1
        self._tell()

    def _tell(self) -> None:
        if self.cells > 1 and self.seconds:
            self.inner.progress(ESTIMATED, round(sum(self.seconds[: self.done])), round(sum(self.seconds)))
        elif self.cells > 1:
            self.inner.progress(ALL, self.done, self.cells)
