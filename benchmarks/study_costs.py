"""What a study costs: GPU hours, disk, files and jobs, from FLOPs and weights that `adbench suite plan --json` counted.

    adbench suite plan study.toml --json > plan.json     # one seed; protocol.batch_size=1 counts fast
    python benchmarks/study_costs.py plan.json [--scans 10000] [--slices 100] [--seeds 3] [--side 64] [--tflops 10]

FLOPs of training and of a network pass are counted by PyTorch, on any device. Hours follow from a rate that is assumed,
`--tflops`: measure yours. Bytes of records are those of the published ones, by subject.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PUBLISHED = Path(__file__).parents[1] / "leaderboards" / "records"
FLOAT_BYTES = 4
SLICE_BYTES = FLOAT_BYTES + 2
"""Of a pixel that is prepared: image, lesion and brain."""
SNAPSHOTS = 8
"""Weights that a part keeps beside the last ones."""
BATCH = 100
"""Slices whose score maps are one file and its index (`protocol.batch_size`)."""


@dataclass(frozen=True)
class Study:
    scans: int
    slices: int
    """Of a scan."""
    seeds: int
    side: int
    """Pixels."""
    tflops: float
    """Sustained, 10^12 a second."""

    @property
    def images(self) -> int:
        return self.scans * self.slices

    def hours(self, flops: float) -> float:
        return flops / (self.tflops * 1e12) / 3600


@dataclass(frozen=True)
class Costs:
    """Of all seeds, in FLOPs and bytes."""

    training: float
    scoring: dict[str, float]
    """By method, of those whose passes are counted."""
    parts: int
    weights: float


def costs(jobs: list[dict[str, Any]], study: Study) -> Costs:
    """Of the jobs of a plan of one seed; parts that methods share count once."""
    if unknown := [job["job"] for job in jobs if job["status"] != "to do"]:
        raise SystemExit(f"every job must be to do, but not {unknown[0]}: plan with an empty --out")
    cells = [cell for job in jobs for cell in job["cells"]]
    parts = {part["key"]: part for cell in cells for part in cell["parts"] if part["parameters"]}
    per_slice = {cell["method"]: cell["flops_per_100"] / 100 for cell in cells if cell["flops_per_100"]}
    return Costs(
        training=study.seeds * sum(part["flops"] for part in parts.values()),
        scoring={method: study.seeds * study.images * flops for method, flops in per_slice.items()},
        parts=study.seeds * len(parts),
        weights=study.seeds * sum(part["parameters"] for part in parts.values()) * FLOAT_BYTES * (1 + SNAPSHOTS),
    )


def record_bytes_per_subject() -> float:
    """Mean bytes of counts and subjects of the published records, by subject."""
    bytes_, subjects = 0, 0
    for record in PUBLISHED.glob("*/*/*-seed*.json"):
        if (table := record.with_suffix(".subjects.csv")).is_file():
            subjects += len(table.read_text(encoding="utf-8").splitlines()) - 1
            bytes_ += table.stat().st_size + record.with_suffix(".counts.npz").stat().st_size
    return bytes_ / subjects


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plan", type=Path)
    for name, default in (("scans", 10_000), ("slices", 100), ("seeds", 3), ("side", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--tflops", type=float, default=10.0)
    given = parser.parse_args()
    study = Study(given.scans, given.slices, given.seeds, given.side, given.tflops)
    jobs = json.loads(given.plan.read_text(encoding="utf-8"))["jobs"]
    total = costs(jobs, study)
    n_jobs = study.seeds * len(jobs)
    print(f"{n_jobs} jobs, {total.parts} parts to train, {study.images:,} slices of {study.side} px a cell")
    print(f"training: {total.training:.2e} FLOPs, {study.hours(total.training):,.1f} h")
    scoring = sum(total.scoring.values())
    print(f"scoring:  {scoring:.2e} FLOPs, {study.hours(scoring):,.1f} h")
    for method, flops in sorted(total.scoring.items(), key=lambda item: -item[1]):
        per_slice = flops / study.seeds / study.images / 1e9
        print(f"  {method:22} {per_slice:12,.3f} GFLOP a slice {study.hours(flops) / study.seeds:10,.2f} h a cell")
    if uncounted := sorted({cell["method"] for job in jobs for cell in job["cells"]} - total.scoring.keys()):
        print(f"  not counted: {', '.join(uncounted)}")
    maps = n_jobs * study.images * study.side**2 * FLOAT_BYTES
    files = 2 * n_jobs * math.ceil(study.images / BATCH)
    print(f"prepared slices: {study.images * study.side**2 * SLICE_BYTES / 1e9:,.1f} GB")
    print(f"weights and snapshots: {total.weights / 1e9:,.1f} GB")
    print(f"score maps, until they are pruned: {maps / 1e12:,.2f} TB in {files:,} files")
    print(f"records: {n_jobs * study.scans * record_bytes_per_subject() / 1e9:,.2f} GB in {5 * n_jobs:,} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
