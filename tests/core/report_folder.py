"""A small folder of results with every file that stands beside a record, for the tests of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from record_factory import dataset, environment, estimate, failed, make, measurement, strata, timed

from adbench.metrics.histogram import ScoreHistogram
from adbench.results.counts import counts_path, write_counts
from adbench.results.pictures import Picture, picture_path, write_picture
from adbench.results.record import Record, write_record
from adbench.results.subjects import subjects_path, write_subjects
from adbench.results.timing import write_timing

HOSTILE = "<img src=x onerror=document.title='broken'>"
"""A name that does harm wherever it is not escaped."""
CLOSING = "</script><script>document.title='broken'</script>"
SUBJECTS = 24
PX = 16


def froc() -> list[dict[str, float]]:
    rates = (0.001, 0.01, 0.05, 0.2)
    return [
        {"rate": rate, "threshold": 0.9 - i * 0.2, "lesion_recall": 0.4 + i * 0.2, "false_components": 0.5 * i}
        for i, rate in enumerate(rates)
    ]


def record(method: str, quality: float, **changes: Any) -> Record:
    """A record whose metrics are of about this quality."""
    keys = ("best_dice", "auprc", "subject_auprc", "auroc", "dice_1pct")
    values = {key: estimate(quality, 0.05) for key in keys}
    measured = measurement(froc=froc(), strata=strata())
    return make(method, metrics=values, measurement=measured, parameters=changes.pop("parameters", 0), **changes)


def write_all(out: Path, of: Record, quality: float) -> None:
    """The record with the files beside it, all of the same made-up scores."""
    path = write_record(of, out)
    rng, own = np.random.default_rng(0), np.random.default_rng([len(of.detector.name), of.seed])
    names = [f"subject-{i:02d}" for i in range(SUBJECTS)]
    base = np.clip(quality + rng.normal(0, 0.05, SUBJECTS) + own.normal(0, 0.01, SUBJECTS), 0, 1)
    rows = pd.DataFrame({"subject": pd.array(names, dtype="string"), "images": 1, "auprc": base})
    write_subjects(rows.assign(**{"1pct:pixel_dice": base / 2}), subjects_path(path))
    lesion = np.zeros((SUBJECTS, PX, PX), bool)
    lesion[:, 4:9, 4:10] = True
    scores = (own.random(lesion.shape) * (1 - quality) + lesion * quality).round(2).astype(np.float32)  # few bins

    def maps() -> Any:
        return ((names[i], scores[i], lesion[i], None) for i in range(SUBJECTS))

    write_counts(ScoreHistogram.of(maps), counts_path(path))
    inputs = rng.random((6, PX, PX)).astype(np.float32)
    counted = np.ones((6, PX, PX), bool)
    write_picture(Picture.of(inputs, lesion[:6], counted, scores[:6], names[:6]), picture_path(path))


def write_folder(out: Path) -> Path:
    """Two datasets, one with two seeds of each method, a failure, times on two devices, and hostile names."""
    gpu = environment(device="cuda", device_name="Some GPU", precision="bfloat16")
    other = dataset(name="other", fingerprint="f" * 16, manifest="records/other/manifest.json")
    qualities = {"good": 0.9, "fair": 0.7, "poor": 0.3, HOSTILE: 0.5}
    for i, (method, quality) in enumerate(qualities.items()):
        for seed in (0, 1):
            of = record(method, quality, seed=seed, config={"note": CLOSING}, config_hash=f"{i:012x}")
            write_all(out, of, quality)
            write_timing(timed(of, 1.0 + i), out)
            write_timing(timed(of, 0.1 + i, gpu), out)
        write_all(out, record(method, quality, dataset=other, config_hash=f"{i + 16:012x}"), quality)
    write_record(failed("broken", reason=CLOSING), out)
    return out
