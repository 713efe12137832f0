"""Thresholds for one site: a model's operating points anew, from healthy scans of one's own, without training.

Each scan counts as one person. How well the points hold is estimated on scans that were left out: for each, thresholds
come from all others, and the rate is that of its own voxels above them.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adbench.config.options import Reporter
from adbench.contracts.scans import NewScan
from adbench.errors import ConfigError
from adbench.metrics.estimate import Estimate
from adbench.metrics.maps import Maps
from adbench.metrics.points import POINTS
from adbench.metrics.thresholds import healthy_thresholds
from adbench.prediction.card import CalibrationCard, ModelCard, described, point_cards
from adbench.prediction.many import content_of
from adbench.prediction.model import Model
from adbench.prediction.model_file import ModelFile, write_model

LEAST = 3
GRID, PIXELS = "grid", "pixels"
"""Scores on a scan's own grid, and at network size."""


def calibrate(file: ModelFile, model: Model, scans: Sequence[NewScan], path: Path, reporter: Reporter) -> ModelCard:
    """Write the model with operating points of these healthy scans, and return its card.

    Raises:
        ConfigError: there are fewer than 3 scans, or one of them twice.
        DataError: a scan cannot be scored.
    """
    if len(scans) < LEAST:
        raise ConfigError(f"Thresholds need healthy scans of {LEAST} people or more, got {len(scans)}: name more.")
    _check_each_once(scans)
    with tempfile.TemporaryDirectory(prefix="adbench-") as folder:
        place = Path(folder)
        for done, scan in enumerate(scans):
            reporter.progress("healthy scans", done, len(scans))
            for name, scores in zip((GRID, PIXELS), model.measured(scan), strict=True):
                np.save(place / f"{done}-{name}.npy", scores)
        reporter.progress("healthy scans", len(scans), len(scans))
        points = point_cards(*(partial(_maps, place, range(len(scans)), name) for name in (GRID, PIXELS)))
        held_out = _held_out(place, len(scans))
    card = file.card.model_copy(
        update={
            "points": points,
            "calibration": CalibrationCard(scans=len(scans), held_out=held_out),
            "measured_in": described(model.device, model.precision),
        }
    )
    write_model(path, card, file.tensors)
    return card


def _check_each_once(scans: Sequence[NewScan]) -> None:
    seen: dict[str, NewScan] = {}
    for scan in scans:
        if (same := seen.setdefault(content_of(scan.files), scan)) is not scan:
            raise ConfigError(
                f"Each healthy scan counts as a person, but {scan.files[0]} and {same.files[0]} are the same scan: "
                "name it once."
            )


def scans_needed(rate: float, held_out: Estimate, scans: int) -> int | None:
    """About how many scans give an interval no wider than the rate itself; None where it is not known."""
    if held_out.low is None or held_out.high is None:
        return None
    return max(scans, math.ceil(scans * ((held_out.high - held_out.low) / rate) ** 2))


def _held_out(place: Path, n: int) -> dict[str, Estimate]:
    """Of each point: the rate in scans that its thresholds do not come from, with its interval over scans."""
    rates: list[list[float]] = []
    for left_out in range(n):
        others = [i for i in range(n) if i != left_out]
        own = _read(place, left_out, GRID)
        thresholds = healthy_thresholds(partial(_maps, place, others, GRID), [point.rate for point in POINTS])
        rates.append([float(np.mean(own > each.threshold)) for each in thresholds])
    return {point.key: Estimate.of_mean([of[k] for of in rates]) for k, point in enumerate(POINTS)}


def _maps(place: Path, which: Iterable[int], name: str) -> Iterator[Maps]:
    for i in which:
        scores = _read(place, i, name)
        yield str(i), scores, np.zeros(scores.shape, bool), None


def _read(place: Path, i: int, name: str) -> NDArray[np.float32]:
    return np.asarray(np.load(place / f"{i}-{name}.npy"))
