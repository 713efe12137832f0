"""Time every method on one device in one run: 100 slices in one minibatch, and one slice.

    python benchmarks/timing_table.py --data-root DATA [--preset small] [--method ...] [--budget-s 120] [--device auto]

Weights come from the cache (`--cache`) where an `adbench run` of the same preset has left them, and are trained
otherwise. Prints a Markdown table, fastest first; the last column is the time relative to `ddim`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from adbench import formats, registry
from adbench.artifacts import ArtifactStore
from adbench.cells import Cell, RunOptions, build_cells, default_cache
from adbench.device import environment
from adbench.progress import LineReporter
from adbench.timing import Timing, TimingProtocol, measure

REFERENCE = "ddim"


def first_party() -> list[str]:
    """Names of the detectors of this distribution."""
    return [entry.name for entry in registry.names(registry.DETECTORS) if entry.distribution == "brain-adbench"]


def timed(cell: Cell, protocol: TimingProtocol) -> Timing:
    """Fit from the cache and time scoring on test images."""
    reporter = LineReporter(sys.stderr)
    detector = cell.detector(ArtifactStore(cell.options.cache / "artifacts", reporter.message), reporter)
    detector.fit(*cell.data.healthy())
    test = cell.data.splits.test.images
    chosen = np.resize(np.arange(len(test)), protocol.slices)
    images = torch.from_numpy(np.array(test[chosen])).to(cell.device)
    return measure(detector.score, images, detector.runtime.clock, protocol)


def table(timings: dict[str, Timing]) -> str:
    """Return the Markdown table, fastest method first."""
    reference = timings[REFERENCE].median_s if REFERENCE in timings else None
    lines = [
        "| method | s / 100 slices | repeats | latency s | stages | network passes | of `ddim` |",
        "| --- | ---: | ---: | ---: | --- | --- | ---: |",
    ]
    for name, t in sorted(timings.items(), key=lambda item: item[1].median_s):
        scale = 100 / t.slices
        stages = ", ".join(f"{stage} {formats.seconds(s * scale)}" for stage, s in t.stages_s.items())
        passes = ", ".join(f"{stage} {n}" for stage, n in t.passes.items()) or formats.NONE
        spread = f"{formats.seconds(t.min_s * scale)} to {formats.seconds(t.max_s * scale)}"
        ratio = f"{t.median_s / reference:.3g}" if reference else formats.NONE
        lines.append(
            f"| `{name}` | {formats.seconds(t.median_s * scale)} ({spread}) | {t.repeats} | "
            f"{formats.seconds(t.latency_s)} | {stages} | {passes} | {ratio} |"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=None)
    parser.add_argument("--dataset", default="headct-sprites")
    parser.add_argument("--method", nargs="+", default=None, help="default: all of this distribution")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--budget-s", type=float, default=120.0, help="seconds for one method")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", nargs="*", default=[], help="settings, as for `adbench run`")
    arguments = parser.parse_args()
    options = RunOptions(
        preset=arguments.preset,
        device=arguments.device,
        settings=tuple(arguments.set),
        cache=arguments.cache,
        data_root=arguments.data_root,
    )
    protocol = replace(TimingProtocol(), budget_s=arguments.budget_s)
    cells = build_cells(arguments.method or first_party(), arguments.dataset, options)
    timings: dict[str, Timing] = {}
    for cell in cells:
        timings[cell.method] = timed(cell, protocol)
        print(f"{cell.method}: {timings[cell.method].median_s:.4f} s", file=sys.stderr, flush=True)
    env = environment(cells[0].device)
    threads = f", {env.threads} threads" if env.device == "cpu" else ""
    print(f"{env.device_name}{threads}, {env.precision}, PyTorch {env.packages['torch']}; ", end="")
    print(f"`{arguments.dataset}`, preset `{arguments.preset}`\n\n{table(timings)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
