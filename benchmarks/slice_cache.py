"""Peak memory of preparing scans, and how fast prepared slices are read.

    python benchmarks/slice_cache.py [--quick] [--workers 2] [--json FILE]

Memory: generated scans of 120 x 120 x 40, prepared and assembled in a fresh process, first 10, then 200 of them (40
with --quick); the resident memory of that process and its workers is summed every 20 ms. Then scans as large as those
of BraTS. Then `adbench data check` of a file of 512 x 512 x 192 float32 with its mask: all memory of its process.
Reading: random batches of 64 slices of 128 x 128 by `Images`, as training reads them.

Exit code 1 where memory grows by more than a tenth, reaches 2 GiB or, for the file, 4 times its size, or less than
2,000 slices a second are read.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

MAX_GROWTH, MAX_BYTES, MIN_RATE = 1.1, 2 << 30, 2000.0
SMALL, LARGE = (120, 120, 40), (240, 240, 155)
FILE, MAX_TIMES = (512, 512, 192), 4.0
BATCH = 64


def dataset(shape: tuple[int, int, int], n: int, folder: Path, workers: int):
    """`n` generated scans with a lesion each; no file is read."""
    from adbench_datasets.imaging.cases import Case, FileRef, Scan
    from adbench_datasets.layouts.scan_config import ScanConfig
    from adbench_datasets.layouts.scans import ScanDataset

    from adbench.contracts.dataset import DataRuntime, DatasetInfo

    class Generated(ScanDataset[ScanConfig]):
        modality = "MRI"
        info = DatasetInfo("generated scans", "CC0-1.0", "generated", "MRI", "none needed", "1")

        def cases(self, root: Path) -> list[Case]:
            return [Case(f"g/{i}", FileRef(root / str(i)), FileRef(root / str(i))) for i in range(n)]

        def read(self, case: Case) -> Scan:
            x, y, z = (
                np.linspace(-1, 1, n, dtype=np.float32).reshape(np.roll((n, 1, 1), i)) for i, n in enumerate(shape)
            )
            brain = x**2 + y**2 + z**2 < 0.9
            lesion = (x - 0.3) ** 2 + (y - 0.3) ** 2 + (z - 0.3) ** 2 < 0.02
            seed = int(case.subject.removeprefix("g/"))
            image = np.random.default_rng(seed).normal(100, 10, shape).astype(np.float32) * brain + 80 * lesion
            unit = np.eye(4)
            return Scan(case.subject, image, lesion, None, None, (1.0, 1.0, 1.0), unit, case.subject, shape, unit)

    return Generated(ScanConfig(size=128), folder, DataRuntime(folder / "cache", workers))


def prepare(shape: tuple[int, int, int], n: int, folder: Path, workers: int) -> None:
    """Prepare in this process and its workers; print the peak of their resident memory, in bytes, and the seconds."""
    from adbench_datasets.imaging import shards

    shards.CASES_PER_WORKER = 1  # as many processes for few scans as for many
    made, peak, stop = dataset(shape, n, folder, workers), [0], threading.Event()
    own = psutil.Process()

    def watch() -> None:
        while not stop.wait(0.02):
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak[0] = max(peak[0], total)

    watcher, start = threading.Thread(target=watch), time.perf_counter()
    watcher.start()
    made.prepared()
    stop.set()
    watcher.join()
    print(json.dumps({"peak_bytes": peak[0], "seconds": time.perf_counter() - start}))


def measured(shape: tuple[int, int, int], n: int, folder: Path, workers: int) -> dict[str, float]:
    """What `prepare` prints, in a fresh process."""
    folder.mkdir()
    sizes = [str(v) for v in (*shape, n)]
    command = [sys.executable, __file__, "--prepare", *sizes, "--folder", str(folder), "--workers", str(workers)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def write_file(place: Path) -> None:
    """A table with one scan and its mask, stored as float32."""
    import nibabel as nib

    place.mkdir()
    x, y, z = (np.linspace(-1, 1, n, dtype=np.float32).reshape(np.roll((n, 1, 1), i)) for i, n in enumerate(FILE))
    noise = np.abs(np.random.default_rng(0).standard_normal(FILE, np.float32))
    image = np.where(x**2 + y**2 + z**2 < 0.7, np.float32(300), np.float32(0)) + 5 * noise
    lesion = ((x - 0.3) ** 2 + (y - 0.3) ** 2 + (z - 0.3) ** 2 < 0.02).astype(np.uint8)
    for name, values in (("image", image), ("lesion", lesion)):
        nib.save(nib.Nifti1Image(values, np.diag([0.45, 0.45, 0.9, 1])), place / f"{name}.nii.gz")
    (place / "cases.csv").write_text("image,lesion,brain,subject,split\nimage.nii.gz,lesion.nii.gz,,a,test\n")


CHECK = """
import atexit, pathlib, sys
from adbench.cli.app import app
atexit.register(lambda: print("\\n" + pathlib.Path("/proc/self/status").read_text()))
app(sys.argv[1:], prog_name="adbench")
"""


def file_peak(place: Path) -> int:
    """Peak memory of the process that checks the file, in bytes; `getrusage` would count what this one took too."""
    write_file(place)
    command = [sys.executable, "-c", CHECK, "data", "check", "folder", "--data-root", str(place)]
    options = ["--cache", str(place / "cache"), "--set", "data.size=128"]
    done = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
    status = dict(line.split(":", 1) for line in done.stdout.splitlines() if line.startswith("VmHWM"))
    return 1024 * int(status["VmHWM"].split()[0])


def reading_rate(folder: Path, n: int, repeats: int) -> float:
    """Slices a second in random batches, in the best of some seconds: others may use the machine too."""
    from adbench.contracts.detector import Images

    split = dataset(SMALL, n, folder, 1).load_test()
    images, rng = Images(split.images, "benchmark"), np.random.default_rng(0)
    best = 0.0
    for _ in range(repeats):
        read, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < 1:
            read += len(images[rng.integers(len(images), size=BATCH)])
        best = max(best, read / spent)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="40 scans instead of 200")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--prepare", type=int, nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.prepare:
        prepare((args.prepare[0], args.prepare[1], args.prepare[2]), args.prepare[3], args.folder, args.workers)
        return 0
    many = 40 if args.quick else 200
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        times = file_peak(place / "file") / (4 * np.prod(FILE))
        few_scans, many_scans = (measured(SMALL, n, place / str(n), args.workers) for n in (10, many))
        large_scans = measured(LARGE, 2, place / "large", args.workers)
        rate = reading_rate(place / str(many), many, 2 if args.quick else 5)
    growth = many_scans["peak_bytes"] / few_scans["peak_bytes"]
    for what, found in ((10, few_scans), (many, many_scans), ("large", large_scans)):
        print(f"{what!s:>6} scans: {found['peak_bytes'] / 2**20:6.0f} MiB at most, {found['seconds']:6.1f} s")
    print(f"  file: {times:.2f} times its size (at most {MAX_TIMES:g})")
    print(f"growth of memory {growth:.2f} (at most {MAX_GROWTH}); {rate:.0f} slices a second (at least {MIN_RATE:.0f})")
    if args.json:
        figures = {
            "few": few_scans,
            "many": many_scans,
            "large": large_scans,
            "slices_per_s": rate,
            "n_many": many,
            "file": times,
        }
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    most = max(found["peak_bytes"] for found in (few_scans, many_scans, large_scans))
    kept = growth <= MAX_GROWTH and most < MAX_BYTES and times <= MAX_TIMES and rate >= MIN_RATE
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
