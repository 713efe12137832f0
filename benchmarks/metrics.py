"""Time and memory of the pooled metrics against scikit-learn, on the same scores.

    python benchmarks/metrics.py [--scores 32000000] [--subjects 500] [--json FILE]

Each side computes ⌈DICE⌉, AUPRC and AUROC in a process of its own, on scores read from the same file
beforehand; extra memory is the peak resident memory above that at the start. Exit code 1 if ours is less than
50 times as fast by the clock or in processor time, takes 64 MB or more, or differs in ⌈DICE⌉ or its
threshold, or in AUPRC or AUROC by more than the bound it publishes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PREVALENCE = 0.02
MIN_RATIO, MAX_MEGABYTES = 50.0, 64.0
METRICS = ("best_dice", "auprc", "auroc")


def write_scores(folder: Path, n_scores: int, subjects: int) -> None:
    """Residual-like float32 scores: a half-normal background, on which lesions add a skewed excess."""
    rng = np.random.default_rng(0)
    size = n_scores // subjects
    prevalence = rng.beta(0.7, 0.7 / PREVALENCE - 0.7, subjects)  # most lesions small, a few large
    scores = np.lib.format.open_memmap(folder / "scores.npy", "w+", np.float32, (subjects, size))
    lesion = np.lib.format.open_memmap(folder / "lesion.npy", "w+", np.bool_, (subjects, size))
    for i in range(subjects):
        lesion[i] = rng.random(size) < prevalence[i]
        scores[i] = np.abs(rng.normal(0, 0.05, size)) + lesion[i] * rng.gamma(2, 0.05, size)


def ours(scores: np.ndarray, lesion: np.ndarray) -> dict[str, float]:
    from adbench.metrics.pixels import pixel_metrics

    names = [f"subject-{i:04d}" for i in range(len(scores))]
    found = pixel_metrics(lambda: ((n, s, m, None) for n, s, m in zip(names, scores, lesion, strict=True)))
    bounds = {"auprc_error_bound": found.auprc_error_bound, "auroc_error_bound": found.auroc_error_bound}
    return {name: getattr(found, name) for name in METRICS} | bounds | {"best_threshold": found.best_threshold}


def scikit_learn(scores: np.ndarray, lesion: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    scores, lesion = scores.reshape(-1), lesion.reshape(-1)
    precision, recall, thresholds = precision_recall_curve(lesion, scores)
    # back to whole counts, so that Dice is the same division as ours and can be compared exactly
    hits = np.rint(recall[:-1] * np.count_nonzero(lesion))
    flagged = np.rint(hits / np.where(hits > 0, precision[:-1], 1))
    dice = 2 * hits / (np.count_nonzero(lesion) + flagged)
    best = dice.max()
    threshold = thresholds[np.flatnonzero(dice == best)[-1]]
    del precision, recall, thresholds, hits, flagged, dice
    auprc, auroc = average_precision_score(lesion, scores), roc_auc_score(lesion, scores)
    return {"best_dice": best, "auprc": auprc, "auroc": auroc, "best_threshold": threshold}


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(side: str, folder: Path) -> None:
    """Run one side on loaded scores and print its metrics, seconds and extra bytes as JSON."""
    run = {"ours": ours, "scikit-learn": scikit_learn}[side]
    scores, lesion = np.load(folder / "scores.npy"), np.load(folder / "lesion.npy")
    run(scores[:2, :1000], lesion[:2, :1000])  # imports and first calls are not what is compared
    before, start, cpu_start = peak_bytes(), time.perf_counter(), time.process_time()
    found = run(scores, lesion)
    costs = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu_start}
    result = {name: float(value) for name, value in found.items()}
    print(json.dumps(result | costs | {"extra_bytes": peak_bytes() - before}))


def measured(side: str, folder: Path, repeats: int) -> dict[str, float]:
    """The fastest of the repeats, each in a fresh process."""
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    runs = [json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) for _ in range(repeats)]
    return min(runs, key=lambda run: run["seconds"]) | {"extra_bytes": max(run["extra_bytes"] for run in runs)}


def compare(mine: dict[str, float], theirs: dict[str, float]) -> tuple[dict[str, object], bool]:
    ratio, cpu_ratio = (theirs[unit] / mine[unit] for unit in ("seconds", "cpu_seconds"))
    exact = mine["best_dice"] == theirs["best_dice"] and mine["best_threshold"] == theirs["best_threshold"]
    inside = all(abs(mine[m] - theirs[m]) <= mine[f"{m}_error_bound"] + 1e-9 for m in ("auprc", "auroc"))
    summary: dict[str, object] = {
        "ratio": ratio,
        "cpu_ratio": cpu_ratio,  # less moved by what else the machine is doing
        "best_dice_exact": exact,
        "inside_bounds": inside,
        "difference": {m: abs(mine[m] - theirs[m]) for m in METRICS},
    }
    cheap = min(ratio, cpu_ratio) >= MIN_RATIO and mine["extra_bytes"] < MAX_MEGABYTES * 1e6
    return summary, bool(cheap and exact and inside)


def print_table(mine: dict[str, float], theirs: dict[str, float], summary: dict[str, object]) -> None:
    print(f"{'':16}{'ours':>16}{'scikit-learn':>16}{'|difference|':>16}{'bound':>12}")
    for name in METRICS:
        bound = mine.get(f"{name}_error_bound", 0.0)
        gap = abs(mine[name] - theirs[name])
        print(f"{name:16}{mine[name]:16.9f}{theirs[name]:16.9f}{gap:16.2e}{bound:12.2e}")
    for unit in ("seconds", "cpu_seconds"):
        print(f"{unit:16}{mine[unit]:16.3f}{theirs[unit]:16.3f}")
    print(f"{'extra MB':16}{mine['extra_bytes'] / 1e6:16.1f}{theirs['extra_bytes'] / 1e6:16.1f}")
    ratios = f"ratio {summary['ratio']:.1f} by the clock, {summary['cpu_ratio']:.1f} in processor time"
    print(f"{ratios}; best Dice and threshold exact: {summary['best_dice_exact']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scores", type=int, default=32_000_000)
    parser.add_argument("--subjects", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours, of which the fastest counts")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--side", choices=["ours", "scikit-learn"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        measure(args.side, args.folder)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scores(folder, args.scores, args.subjects)
        mine, theirs = measured("ours", folder, args.repeats), measured("scikit-learn", folder, 1)
    summary, passed = compare(mine, theirs)
    print_table(mine, theirs, summary)
    if args.json:
        sizes = {"scores": args.scores, "subjects": args.subjects}
        args.json.write_text(json.dumps(sizes | {"ours": mine, "scikit_learn": theirs} | summary, indent=1) + "\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
