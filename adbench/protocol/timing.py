"""How long a fitted detector takes, by the timing rules of the protocol."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from adbench.config.options import Reporter
from adbench.devices.repeats import Rules
from adbench.devices.times import Timing
from adbench.devices.timing import measure
from adbench.protocol.cell import Cell
from adbench.protocol.fitting import Fitted


def time_scoring(cell: Cell, fitted: Fitted, reporter: Reporter) -> Timing:
    """Time scoring on test images, repeated in order where there are fewer than the protocol's slices."""
    p, detector = cell.protocol, fitted.detector
    _say(cell, reporter, f"timing {p.timing_slices} slices in one minibatch")
    test = cell.data.splits.test.images
    chosen = np.resize(np.arange(len(test)), p.timing_slices)
    images = torch.from_numpy(np.array(test[chosen])).to(cell.device)
    rules = Rules(p.timing_repeats, p.timing_budget_s)
    timing = measure(detector, images, detector.runtime.clock, rules, fitted.fit_s, partial(_say, cell, reporter))
    if timing.busy:
        shares = ", ".join(f"{100 * share:.0f} % while timing {name}" for name, share in timing.others.items())
        _say(cell, reporter, f"others used the machine ({shares}): the time is marked and not compared")
    return timing


def _say(cell: Cell, reporter: Reporter, text: str) -> None:
    reporter.message(f"{cell.method}: {text}")
