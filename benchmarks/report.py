"""Turn many synthetic records into frame, pages and report, and measure seconds and memory.

    python benchmarks/report.py [--records 10000] [--sets 20] [--seeds 20]

The published records below leaderboards/ are varied: other names of datasets and methods, seeds, metrics with noise,
and times. They are written into a temporary folder, with the files of subjects and counts and the pictures of the
originals beside them; making them is not timed.

Exit code 1 where frame, pages and report together take 60 s or more, or the process 2 GB or more.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from adbench.devices.times import Timing
from adbench.results import pages
from adbench.results.counts import counts_path
from adbench.results.frame import read_frame
from adbench.results.pictures import picture_path
from adbench.results.record import Record, read_records, write_record
from adbench.results.report.site import write_report
from adbench.results.subjects import subjects_path
from adbench.results.timing import TimingFile, write_timing

LIMIT_S, LIMIT_BYTES = 60.0, 2e9
PUBLISHED = Path(__file__).parents[1] / "leaderboards"


def varied(original: Record, dataset: int, method: int, seed: int, rng: np.random.Generator) -> Record:
    """The record under other names, every metric moved a little."""
    shift = float(rng.normal(0, 0.02))

    def moved(value: float | None) -> float | None:
        return None if value is None else min(1.0, max(0.0, value + shift))

    metrics = {
        key: each.model_copy(update={end: moved(getattr(each, end)) for end in ("value", "low", "high")})
        for key, each in original.metrics.items()
    }
    name = f"set-{dataset:02d}"
    return original.model_copy(
        update={
            "seed": seed,
            "config_hash": f"{method:012x}",
            "detector": original.detector.model_copy(update={"name": f"method-{method:03d}"}),
            "dataset": original.dataset.model_copy(
                update={"name": name, "registered": original.dataset.plugin, "manifest": f"records/{name}/m.json"}
            ),
            "metrics": metrics,
        }
    )


def timed(record: Record, rng: np.random.Generator) -> TimingFile:
    seconds = float(rng.lognormal(1, 1))
    timing = Timing(
        slices=100,
        batch_size=100,
        warmups=3,
        repeats=10,
        median_s=seconds,
        min_s=seconds,
        max_s=seconds,
        stages_s={"score": seconds},
        passes={},
        flops=0,
        peak_memory_bytes=0,
        latency_s=seconds / 100,
        image_scores_s=0.0,
        fit_s=1.0,
    )
    return TimingFile(
        record=record.path.as_posix(), environment=record.environment, timing=timing, created=record.created
    )


def originals() -> list[Record]:
    """Published records of one table: those that share the rules of most."""
    records = [record for record in read_records(PUBLISHED) if record.status == "ok"]
    rules = [str((record.dataset.fingerprint, record.protocol)) for record in records]
    most = max(rules, key=rules.count)
    return [record for record, of in zip(records, rules, strict=True) if of == most]


def make(out: Path, records: int, sets: int, seeds: int) -> Iterator[Record]:
    """Write the synthetic results below `out`."""
    rng, known = np.random.default_rng(0), originals()
    for i in range(records):
        dataset, rest = i % sets, i // sets
        method, seed = rest // seeds, rest % seeds
        original = known[method % len(known)]
        record = varied(original, dataset, method, seed, rng)
        path, source = write_record(record, out), PUBLISHED / original.path
        write_timing(timed(record, rng), out)
        for beside in (subjects_path, counts_path, picture_path):
            shutil.copyfile(beside(source), beside(path))
        yield record


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "results"
        made = sum(1 for _ in make(out, args.records, args.sets, args.seeds))
        steps = {
            "frame": lambda: len(read_frame(out)),
            "pages": lambda: len(pages.write_pages(out)),
            "report": lambda: len(write_report(out, Path(folder) / "report", lambda record: "CC BY-SA 4.0")),
        }
        total = 0.0
        for name, step in steps.items():
            start = time.perf_counter()
            count = step()
            seconds = time.perf_counter() - start
            total += seconds
            print(f"{name}: {seconds:.1f} s ({count} {'rows' if name == 'frame' else 'files'})", flush=True)
        size = sum(path.stat().st_size for path in (Path(folder) / "report").rglob("*") if path.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{made} records: {total:.1f} s, at most {peak / 1e9:.2f} GB of memory, a report of {size / 1e6:.1f} MB")
    return int(total >= LIMIT_S or peak >= LIMIT_BYTES)


if __name__ == "__main__":
    sys.exit(main())
