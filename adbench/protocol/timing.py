"""How long a fitted detector takes, by the timing rules of the protocol."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from adbench.config.options import Reporter
from adbench.contracts.detector import Detector
from adbench.devices.clock import clocked
from adbench.devices.timing import TimingProtocol, measure
from adbench.protocol.cell import Cell
from adbench.results.timing import TimingRecord


def time_scoring(cell: Cell, detector: Detector[Any], fit_s: float, reporter: Reporter) -> TimingRecord:
    """Time scoring on test images, repeated in order where there are fewer than the protocol's slices.

    Args:
        fit_s: seconds that fitting took, which are kept with the time.
    """
    p = cell.protocol
    reporter.message(f"{cell.method}: timing {p.timing_slices} slices in one minibatch")
    test = cell.data.splits.test.images
    chosen = np.resize(np.arange(len(test)), p.timing_slices)
    images = torch.from_numpy(np.array(test[chosen])).to(cell.device)
    protocol = TimingProtocol(repeats=p.timing_repeats, budget_s=p.timing_budget_s)
    timing = measure(detector.score, images, detector.runtime.clock, protocol)
    batches = images.split(timing.batch_size)  # that fits into memory
    image_scores_s = clocked(lambda: [detector.image_scores(batch) for batch in batches], cell.device)
    return TimingRecord(**asdict(timing), fit_s=fit_s, image_scores_s=image_scores_s)
