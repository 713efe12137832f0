"""A table of texts, whose best cells are known, for Markdown, LaTeX and the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from adbench.results import markdown


@dataclass(frozen=True)
class Table:
    """Cells are plain text with Markdown's backticks and links."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int
    """The first columns, which are aligned left; the others are numbers."""
    best: Collection[tuple[int, int]] = field(default_factory=frozenset)
    """(row, column) of the best values."""

    def markdown(self) -> str:
        """With the best values bold."""
        rows = [[self._bold(i, j, "**") for j in range(len(self.header))] for i in range(len(self.rows))]
        return markdown.table(self.header, rows, self.left)

    def _bold(self, row: int, column: int, mark: str) -> str:
        text = self.rows[row][column]
        return f"{mark}{text}{mark}" if (row, column) in self.best else text
