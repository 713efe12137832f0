"""Run the demo in empty folders and print its time by stage; what is installed is not part of it.

    python benchmarks/demo_stages.py [--preset demo] [--method M ...] [--limit-s 360]

A clock stands where the progress bars would: the time between two reports is charged to the stage that the later one
ends. Exit code 1 where a run failed or the whole took longer than the limit.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

METHODS = ("ddpm", "ddim", "kl-map", "vqvae-residual", "intensity", "random")
FITTING, TIMING = "fitting on", ": timing"
"""What the harness says before it fits, and before it times, a method."""


class StageReporter:
    """Charges seconds to stages, in the order in which they first end."""

    def __init__(self, stage: str) -> None:
        self.seconds: dict[str, float] = {}
        self._last, self._next = time.perf_counter(), stage

    def charge(self, stage: str, then: str) -> None:
        """Charge the time since the last report to `stage`; what follows is `then`, unless a report says more."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last, self._next = now, then

    def message(self, text: str) -> None:
        method = text.split()[0].rstrip(":")
        if FITTING in text:
            self.charge(self._next, f"{method}: fit")
        elif TIMING in text:
            self.charge(self._next, f"{method}: timing")

    def progress(self, what: str, done: int, total: int) -> None:
        method, colon, _ = what.partition(": ")
        self.charge(what, f"{method}: metrics" if colon else "loading parts")

    def finish(self, then: str) -> None:
        self.charge(self._next, then)


def run_demo(methods: Sequence[str], preset: str, folder: Path) -> tuple[dict[str, float], bool]:
    """Return seconds by stage, and whether every method ran."""
    clock = StageReporter("import")
    from adbench import harness, leaderboard

    clock.finish("data")
    options = harness.RunOptions(preset=preset, out=folder / "leaderboards", cache=folder / "cache")
    records = harness.run(methods, "phantom", options, clock)
    clock.finish("pages")
    leaderboard.write_pages(options.out)
    clock.finish("")
    for record in records:
        if record.status != "ok":
            print(f"{record.detector.name} {record.status}: {record.reason}")
    return clock.seconds, all(record.status == "ok" for record in records)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--method", nargs="+", default=METHODS)
    parser.add_argument("--limit-s", type=float, default=360.0)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        seconds, passed = run_demo(args.method, args.preset, Path(folder))
    total = sum(seconds.values())
    for stage, spent in seconds.items():
        print(f"{stage:36}{spent:8.1f} s {100 * spent / total:6.1f} %")
    print(f"{'total':36}{total:8.1f} s, limit {args.limit_s:.0f} s")
    print(f"preset {args.preset}; load average at the start {load:.1f} on {os.cpu_count()} cores")
    return int(total > args.limit_s or not passed)


if __name__ == "__main__":
    sys.exit(main())
