"""Tuned settings against the defaults on the test split, with the interval of the paired difference.

    python benchmarks/tuned_against_default.py --method kl-map --dataset headct-sprites --tuned STUDY --data-root DATA

Both are fitted on the same healthy images and scored on the same test images; the intervals are over the same resamples
of test subjects. Scored batches are kept in the cache, so that a run that is cut off goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from adbench.cli.progress import LineReporter
from adbench.config.options import RunOptions, default_cache
from adbench.metrics.differences import pooled_differences
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.intervals import Bounded, resample_weights
from adbench.metrics.maps import Maps
from adbench.metrics.pixels import PixelMetrics, pixel_metrics
from adbench.protocol.cell import Cell, build_cells
from adbench.protocol.data import check_same_images
from adbench.protocol.scoring import Scorer, scored_pixels
from adbench.results import formats
from adbench.tuning.tuned import settings_for_run

METRICS = {"best_dice": "⌈DICE⌉", "auprc": "AUPRC", "auroc": "AUROC"}


def measured(cell: Cell) -> tuple[ScoreHistogram, PixelMetrics]:
    """Fit, score the test images, and return the counts and the exact metrics."""
    reporter = LineReporter(sys.stderr)
    store = cell.store(reporter)
    detector = cell.detector(store, reporter)
    scorer, test = Scorer(cell, detector, store, reporter), cell.data.splits.test.pixel_level()
    with cell.computing():
        detector.fit(*cell.data.healthy())
        maps = scorer.maps(test, "test")

    def pixels() -> Iterator[Maps]:
        yield from scored_pixels(test, maps, cell.protocol)

    histogram = ScoreHistogram.of(pixels)
    return histogram, pixel_metrics(pixels, histogram)


def table(tuned: PixelMetrics, default: PixelMetrics, intervals: dict[str, Bounded]) -> str:
    lines = ["| metric | default | tuned | tuned - default, 95 % |", "| --- | ---: | ---: | --- |"]
    for name, shown in METRICS.items():
        values = [getattr(side, name) for side in (default, tuned)]
        interval = intervals[name].interval
        between = f"{interval[0]:+.3f} to {interval[1]:+.3f}" if interval else formats.NONE
        lines.append(f"| {shown} | {formats.number(values[0])} | {formats.number(values[1])} | {between} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--tuned", required=True, metavar="STUDY[#TRIAL]")
    parser.add_argument("--storage")
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--set", nargs="*", default=[], help="settings of both, as for `adbench run`")
    parser.add_argument("--cache", type=Path, default=default_cache())
    args = parser.parse_args()
    options = RunOptions(preset=args.preset, settings=tuple(args.set), cache=args.cache, data_root=args.data_root)
    texts, tuning = settings_for_run(args.tuned, args.storage, options, [args.method], [args.dataset])
    (default,) = build_cells([args.method], args.dataset, options)
    (tuned,) = build_cells([args.method], args.dataset, replace(options, settings=texts, tuning=tuning))
    check_same_images(tuning, tuned.data.splits.train, tuned.data.splits.validation)
    (tuned_counts, of_tuned), (default_counts, of_default) = measured(tuned), measured(default)
    found = pooled_differences([tuned_counts], [default_counts], resample_weights(tuned_counts.subjects))
    intervals = {key: difference.bounded for key, difference in found.items()}
    print(f"{args.method} on {args.dataset}: trial {tuning['trial']} of {tuning['trials']} of study {tuning['study']},")
    print(f"{', '.join(f'{key}={formats.short(value)}' for key, value in tuning['values'].items())}\n")
    print(table(of_tuned, of_default, intervals))
    return 0


if __name__ == "__main__":
    sys.exit(main())
