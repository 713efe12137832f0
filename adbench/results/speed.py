"""The figure of quality by time: every method of a table a point, those that none beats in both joined by a line."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from adbench.metrics.catalogue import METRICS
from adbench.results.figures import KEY
from adbench.results.standing import PRIMARY, best_first
from adbench.results.summary import seconds_of

VERSION = "1"
"""Raise it when the same points give another figure."""
INCHES, DPI = (7.0, 4.2), 110


@dataclass(frozen=True)
class Speed:
    """Methods with their seconds for 100 slices and their quality."""

    conditions: str
    methods: Sequence[str]
    seconds: Sequence[float]
    quality: Sequence[float]

    @property
    def key(self) -> str:
        """SHA-256 (hex) of all that the figure shows."""
        shown = [VERSION, self.conditions, list(self.methods), list(self.seconds), list(self.quality)]
        return hashlib.sha256(json.dumps(shown).encode()).hexdigest()

    def undominated(self) -> list[int]:
        """Positions of the methods than which none is both faster and better, fastest first."""
        order = sorted(range(len(self.methods)), key=lambda i: (self.seconds[i], -self.quality[i]))
        front: list[int] = []
        for i in order:
            if not front or self.quality[i] > self.quality[front[-1]]:
                front.append(i)
        return front

    def png(self) -> bytes:
        """The file, with its key as text."""
        from matplotlib.figure import Figure  # it takes half a second

        figure = Figure(figsize=INCHES, dpi=DPI)
        axes = figure.add_axes((0.09, 0.11, 0.89, 0.86))  # a layout that fits itself to the text takes several draws
        front = self.undominated()
        axes.plot([self.seconds[i] for i in front], [self.quality[i] for i in front], color="#0072B2", linewidth=1)
        axes.scatter(self.seconds, self.quality, color="#0072B2", s=24, zorder=3)
        for name, x, y in zip(self.methods, self.seconds, self.quality, strict=True):
            axes.annotate(name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
        axes.set_xscale("log")
        axes.set_xlabel(f"seconds for 100 slices, on {self.conditions}", fontsize=8)
        axes.set_ylabel(METRICS[PRIMARY].title, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.margins(x=0.2)
        axes.grid(alpha=0.3)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={KEY: self.key, "Software": None})
        return buffer.getvalue()


def speed_of(rows: pd.DataFrame) -> Speed | None:
    """The figure of a variant's rows; each method by its best row. None where fewer than two were timed alike."""
    conditions, seconds = seconds_of(rows)
    timed = rows[rows["record"].isin(seconds)].drop_duplicates("record").dropna(subset=PRIMARY)
    best = best_first(timed).drop_duplicates("method")
    if len(best) < 2:
        return None
    return Speed(conditions, list(best["method"]), [seconds[r] for r in best["record"]], list(best[PRIMARY]))
