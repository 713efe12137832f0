"""DDPM (c) against DDIM (d) on HeadCT, in one run: their times against their recorded network passes.

    python benchmarks/timing_ratio.py --data-root DATA [--preset smoke] [--seed 0] [--cache DIR] [--slices 100]
        [--budget-s 120]

Parts come from the cache, or are trained into it. Both methods are timed as `adbench time` times them. Exit code 1
where the ratio of their processor seconds (on other devices: of seconds by the clock) is not that of their network
passes within 10 %. Both ratios are printed, and what others used of the machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from adbench.cli.progress import LineReporter
from adbench.config.options import RunOptions, default_cache
from adbench.devices.times import Timing
from adbench.protocol.cell import build_cells
from adbench.protocol.fitting import fit
from adbench.protocol.timing import time_scoring

LIMIT = 0.10


def show(name: str, t: Timing) -> None:
    """Print what one method took."""
    passes = " + ".join(str(n) for n in t.passes.values())
    how = f"composed, a whole call {t.whole_s['score']:.2f} s" if t.composed else "whole calls"
    busy = ", ".join(f"{call} {100 * share:.0f} %" for call, share in t.others.items())
    print(
        f"{name}: {passes} passes, {t.slices} slices: {t.median_s:.3f} s by the clock ({t.min_s:.3f} to {t.max_s:.3f})"
    )
    print(f"  {t.cpu_s['score']:.3f} s of the processor; {t.repeats} repeats, {how}; others used {busy or 'unknown'}")
    stages = ", ".join(f"{stage} {seconds:.3f}" for stage, seconds in t.stages_s.items())
    print(f"  stages by the clock: {stages}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=None)
    parser.add_argument("--preset", default="smoke")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--slices", type=int, default=100)
    parser.add_argument("--budget-s", type=float, default=120.0, help="above it a call is composed")
    parser.add_argument("--set", nargs="*", default=[], help="settings, as for `adbench run`")
    given = parser.parse_args()
    timing = (f"protocol.timing_slices={given.slices}", f"protocol.timing_budget_s={given.budget_s}")
    options = RunOptions(
        preset=given.preset,
        seed=given.seed,
        device=given.device,
        settings=(*timing, *given.set),
        cache=given.cache,
        data_root=given.data_root,
    )
    reporter, times = LineReporter(sys.stderr), {}
    for cell in build_cells(["ddpm", "ddim"], "headct-sprites", options, reporter):
        with cell.computing():
            times[cell.method] = time_scoring(cell, fit(cell, reporter), reporter)
        show(cell.method, times[cell.method])
    ddpm, ddim = times["ddpm"], times["ddim"]
    passes = sum(ddpm.passes.values()) / sum(ddim.passes.values())
    wall, cpu = ddpm.median_s / ddim.median_s, ddpm.cpu_s["score"] / ddim.cpu_s["score"]
    print(f"ratio of passes {passes:.2f}; of seconds {wall:.2f} by the clock, {cpu:.2f} of the processor")
    decisive = cpu if cell.device.type == "cpu" else wall
    return int(abs(decisive / passes - 1) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
