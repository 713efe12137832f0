"""A table of texts, whose best cells are known, for Markdown, LaTeX and the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pandas as pd

from adbench.results import markdown

LATEX = {"±": r"$\pm$", "†": r"$\dagger$", "‡": r"$\ddagger$", "⌈": r"$\lceil$", "⌉": r"$\rceil$"}
"""Signs that a plain LaTeX font lacks."""


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

    def latex(self) -> str:
        r"""A `tabular` with the rules of booktabs, the best values bold; needs \usepackage{booktabs}."""
        cells = pd.DataFrame([[cell.replace("`", "") for cell in row] for row in self.rows], columns=self.header)
        bold = pd.DataFrame("", index=cells.index, columns=cells.columns)
        for i, j in self.best:
            bold.iat[i, j] = "textbf:--rwrap;"
        style = cells.style.hide(axis="index").apply(lambda _: bold, axis=None).format(escape="latex")
        style = style.format_index(escape="latex", axis="columns")
        columns = "l" * self.left + "r" * (len(self.header) - self.left)
        text: str = style.to_latex(hrules=True, column_format=columns)
        for sign, command in LATEX.items():
            text = text.replace(sign, command)
        return text

    def _bold(self, row: int, column: int, mark: str) -> str:
        text = self.rows[row][column]
        return f"{mark}{text}{mark}" if (row, column) in self.best else text
