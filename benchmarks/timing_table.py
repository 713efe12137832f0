"""Time every method on one device in one run: 100 slices in one minibatch, and one slice.

    python benchmarks/timing_table.py --data-root DATA [--preset small] [--method ...] [--budget-s 120] [--device auto]

`adbench time` measures the times of records; this needs none.

Weights come from the cache (`--cache`) where an `adbench run` of the same preset has left them, and are trained
otherwise. Prints a Markdown table, fastest first; the last column is the time relative to `ddim`. `--uncached` adds the
transformers without their key-value cache, as MONAI would sample. A method that fails is named below the table, and the
exit code is 1 then.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from adbench.cli.progress import LineReporter
from adbench.config.options import RunOptions, default_cache
from adbench.contracts import registry
from adbench.devices.environment import environment
from adbench.devices.times import Timing
from adbench.protocol.cell import Cell, build_cells
from adbench.protocol.fitting import fit
from adbench.protocol.timing import time_scoring
from adbench.results import formats
from adbench.results.record import EnvironmentRecord
from adbench.results.timing import device_label

REFERENCE = "ddim"


def first_party() -> list[str]:
    """Names of the detectors of this distribution."""
    return [entry.name for entry in registry.names(registry.DETECTORS) if entry.distribution == "brain-adbench"]


def time_all(cells: Mapping[str, Cell]) -> tuple[dict[str, Timing], dict[str, str]]:
    """Return the timings by name, and of those that failed the reason."""
    timings, failed, reporter = {}, {}, LineReporter(sys.stderr)
    for name, cell in cells.items():
        try:
            with cell.computing():
                timings[name] = time_scoring(cell, fit(cell, reporter), reporter)
            print(f"{name}: {timings[name].median_s:.4f} s", file=sys.stderr, flush=True)
        except Exception as error:  # the others go on
            failed[name] = f"{type(error).__name__}: {error}"
    return timings, failed


def table(timings: dict[str, Timing]) -> str:
    """Return the Markdown table, fastest method first."""
    reference = timings[REFERENCE].median_s if REFERENCE in timings else None
    lines = [
        "| method | s / 100 slices | repeats | minibatch | latency s | stages | network passes | of `ddim` |",
        "| --- | ---: | ---: | ---: | ---: | --- | --- | ---: |",
    ]
    for name, t in sorted(timings.items(), key=lambda item: item[1].median_s):
        scale = 100 / t.slices
        stages = ", ".join(f"{stage} {formats.seconds(s * scale)}" for stage, s in t.stages_s.items())
        passes = ", ".join(f"{stage} {n}" for stage, n in t.passes.items()) or formats.NONE
        between = f"{formats.seconds(t.min_s * scale)} to {formats.seconds(t.max_s * scale)}"
        between += (", composed" if t.composed else "") + (", busy machine" if t.busy else "")
        ratio = f"{t.median_s / reference:.3g}" if reference else formats.NONE
        lines.append(
            f"| `{name}` | {formats.seconds(t.median_s * scale)} ({between}) | {t.repeats} | {t.batch_size} | "
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
    parser.add_argument("--budget-s", type=float, default=120.0, help="seconds for the repeats of a call")
    parser.add_argument("--uncached", action="store_true", help="the transformers without their cache, too")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", nargs="*", default=[], help="settings, as for `adbench run`")
    arguments = parser.parse_args()
    options = RunOptions(
        preset=arguments.preset,
        device=arguments.device,
        settings=(f"protocol.timing_budget_s={arguments.budget_s}", *arguments.set),
        cache=arguments.cache,
        data_root=arguments.data_root,
    )
    methods = arguments.method or first_party()
    cells = {cell.method: cell for cell in build_cells(methods, arguments.dataset, options)}
    if arguments.uncached:
        slow = [name for name in methods if name.startswith("transformer")]
        uncached = build_cells(slow, arguments.dataset, replace(options, settings=(*options.settings, "cache=false")))
        cells |= {f"{cell.method} (cache=false)": cell for cell in uncached}
    timings, failed = time_all(cells)
    cell = next(iter(cells.values()))
    with cell.computing():
        env = EnvironmentRecord(**environment(cell.device))
    print(f"{device_label(env)}, PyTorch {env.packages['torch']}; ", end="")
    print(f"`{arguments.dataset}`, preset `{arguments.preset}`\n\n{table(timings)}")
    print(f"\nLoad average over the last minute at the end: {os.getloadavg()[0]:.1f}")
    for name, reason in failed.items():
        print(f"\n`{name}` failed: {reason}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
