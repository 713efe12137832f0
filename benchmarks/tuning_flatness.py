"""How flat the optimum is: the objective of tuning along the range of t and the threshold, all else at the defaults.

    python benchmarks/tuning_flatness.py --dataset headct-sprites --data-root DATA [--method ddpm] [--set KEY=VALUE ...]

⌈DICE⌉ on synthetic lesions, drawn on healthy validation images, as `adbench tune` counts it. The paper averages the KL
map over t = 400..600 and thresholds it at the 97.5th percentile of each position. Networks come from the cache where a
run of the same preset has left them, and KL maps are kept there too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adbench.cli.progress import LineReporter
from adbench.config.options import default_cache
from adbench.errors import ConfigError
from adbench.results import formats
from adbench.tuning.objective import Objective, prepare
from adbench.tuning.space import TuneOptions

WIDTH, STEP, LAST = 200, 100, 1000
WIDER = ((300, 700), (200, 800), (100, 900), (2, 1000))
PERCENTILES = (90.0, 95.0, 97.5, 99.0, 99.5, 99.9)
THRESHOLDS = ("position", "global")


def ranges() -> Iterator[tuple[int, int]]:
    """Windows of the paper's width over the whole chain, then wider ones around its middle."""
    yield from ((max(2, low), low + WIDTH) for low in range(0, LAST - WIDTH + 1, STEP))
    yield from WIDER


def scored(o: Objective, values: Mapping[str, Any]) -> str:
    try:
        dice = o.evaluate(values).values["dice"]
    except ConfigError:  # a percentile at each position needs more images than there are
        return formats.NONE
    print(f"{dict(values)}: {dice:.4f}", file=sys.stderr, flush=True)
    return formats.number(dice)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="ddpm")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--images", type=int, default=100, help="images with a synthetic lesion")
    parser.add_argument("--set", nargs="*", default=[], help="settings, as for `adbench tune`")
    parser.add_argument("--cache", type=Path, default=default_cache())
    args = parser.parse_args()
    o = prepare(
        TuneOptions(
            args.method,
            args.dataset,
            images=args.images,
            preset=args.preset,
            settings=tuple(args.set),
            data_root=args.data_root,
            cache=args.cache,
        ),
        LineReporter(sys.stderr),
    )
    print(f"{args.method} on {args.dataset}, defaults: ⌈DICE⌉ {scored(o, {})}\n")
    print("| t | ⌈DICE⌉ |\n| --- | ---: |")
    for low, high in ranges():
        print(f"| {low} to {high} | {scored(o, {'t_low': low, 't_high': high})} |", flush=True)
    if "percentile" in o.space:
        print(f"\n| percentile | {' | '.join(f'{threshold}' for threshold in THRESHOLDS)} |\n| ---: | ---: | ---: |")
    for percentile in PERCENTILES if "percentile" in o.space else ():
        row = (scored(o, {"percentile": percentile, "threshold": threshold}) for threshold in THRESHOLDS)
        print(f"| {percentile:g} | {' | '.join(row)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
