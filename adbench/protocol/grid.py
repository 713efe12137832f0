"""What a run of several cells says while it goes on: which cell, which stage of it, and how long all will take."""

from __future__ import annotations

from dataclasses import dataclass

from adbench.config.options import Reporter

ALL = "all cells"
"""The task whose progress is that of the whole grid."""


@dataclass
class GridReporter:
    """Names the cell before each stage, and tells how many of the cells to run are done; a single cell has no grid."""

    inner: Reporter
    cells: int
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
        if self.cells > 1:
            self.inner.progress(ALL, self.done, self.cells)
