"""Records made by hand, for the tests of what reads them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from adbench.results import frame, pages
from adbench.results.method_card import MethodCard
from adbench.results.record import Record
from adbench.results.timing import TimingFile


def estimate(value: float | None, margin: float = 0.01) -> dict[str, float | None]:
    if value is None:
        return {"value": None}
    return {"value": value, "low": value - margin, "high": value + margin}


def metrics(best_dice: float | None = 0.9) -> dict[str, Any]:
    return {
        "best_dice": estimate(best_dice),
        "dice_1pct": estimate(0.7),
        "subject_dice_1pct": estimate(0.6),
        "auprc": estimate(0.8, 0.02),
        "auroc": estimate(0.99, 0.001),
        "image_auroc": {"value": 0.75},
        "image_auprc": {"value": None},
    }


def measurement(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "best_threshold": 0.5,
        "error_bound": {"auprc": 0.001},
        "interval_error_bound": {"auprc": 0.002, "dice_1pct": 0.0, "subject_dice_1pct": 0.0},
        "images_left_out": 0,
        "reference_images": 10,
        "reference_subjects": 10,
        "points": [],
        "froc": [],
        "bootstrap_resamples": 1000,
        "strata": [],
    }
    return {**values, **changes}


def timing(median_s: float = 2.0, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "slices": 100,
        "batch_size": 100,
        "warmups": 3,
        "repeats": 10,
        "median_s": median_s,
        "min_s": median_s * 0.9,
        "max_s": median_s * 1.5,
        "stages_s": {"encode": 0.25, "decode": 0.75},
        "passes": {"unet": 50},
        "flops": 1_230_000_000_000,
        "peak_memory_bytes": 300 * 2**20,
        "latency_s": 0.125,
        "image_scores_s": 2.5,
        "fit_s": 12.0,
        "cpu_s": {"score": median_s * 1.75, "image_scores": 2.75, "latency": 0.25},
        "others": {"score": 0.01, "image_scores": 0.02},
    }
    return {**values, **changes}


def dataset(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": "toy",
        "distribution": "toys",
        "version": "1",
        "config": {"n_test": 20},
        "fingerprint": "0123456789abcdef",
        "split_sizes": {"train": 100, "validation": 10, "test": 20},
        "subjects": {"train": 100, "validation": 10, "test": 5},
        "image_size": (64, 64),
        "region": "image",
        "prevalence": 0.0125,
        "manifest": "records/toy/manifest.json",
    }
    return {**values, **changes}


def trained_on(name: str = "healthy", **changes: Any) -> dict[str, Any]:
    values = {"name": name, "distribution": "toys", "version": "3", "config": {"size": 64}, "fingerprint": "a" * 16}
    return {**values, **changes}


def strata(found: float | None = 0.5) -> list[dict[str, Any]]:
    """Four ranges of sizes, of which the third has no lesion."""
    ends = (0.0, 0.001, 0.005, 0.02, None)
    return [
        {
            "from_fraction": low,
            "to_fraction": high,
            "lesions": 0 if low == 0.005 else 5 + i,
            "pixels": 0 if low == 0.005 else 50 + i,
            "lesion_recall": {
                "5pct": estimate(None if low == 0.005 else found),
                "1pct": estimate(None if low == 0.005 else 0.375),
            },
            "sensitivity": {
                "5pct": estimate(None if low == 0.005 else 0.25),
                "1pct": estimate(None if low == 0.005 else 0.125),
            },
        }
        for i, (low, high) in enumerate(pairwise(ends))
    ]


def environment(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "python": "3.11.7",
        "platform": "Linux",
        "device": "cpu",
        "device_name": "Some CPU",
        "threads": 2,
        "precision": "float32",
        "packages": {"torch": "2.13.0"},
        "git_commit": None,
        "git_dirty": None,
    }
    return {**values, **changes}


def make(method: str = "ddpm", **changes: Any) -> Record:
    """A successful record; `preset`, `config` and `parameters` go to the detector, the rest to the record."""
    detector: dict[str, Any] = {
        "name": method,
        "distribution": "toys",
        "version": "0.1.0",
        "code_version": "1",
        "preset": changes.pop("preset", "small"),
        "config": changes.pop("config", {"steps": 10}),
        "parameters": changes.pop("parameters", 4_600_000),
        "artifacts": {},
    }
    values: dict[str, Any] = {
        "status": "ok",
        "config_hash": "abcdef012345",
        "seed": 0,
        "detector": detector,
        "dataset": dataset(),
        "protocol": {"version": 2, "region": "image"},
        "metrics": metrics(),
        "measurement": measurement(),
        "environment": environment(),
        "created": "2024-01-01T00:00:00+00:00",
    }
    return Record.model_validate({**values, **changes})


def timed(record: Record, median_s: float = 2.0, on: dict[str, Any] | None = None, **changes: Any) -> TimingFile:
    """The time of a record on a device."""
    values = {
        "record": record.path.as_posix(),
        "environment": on or environment(),
        "timing": timing(median_s, **changes),
        "created": "2024-01-02T00:00:00+00:00",
    }
    return TimingFile.model_validate(values)


def failed(method: str = "broken", reason: str = "it broke", **changes: Any) -> Record:
    return make(method, status="failed", reason=reason, metrics={}, measurement=None, **changes)


def card(family: str | None, knowledge: str = "nothing") -> MethodCard:
    return MethodCard(summary="a toy", source="control", family=family, knowledge=knowledge)


def render(
    records: Iterable[Record], times: Iterable[TimingFile] = (), *given: Any, cards: Any = None, **more: Any
) -> dict[Path, str]:
    """The pages of records and their times; cards are by method."""
    records = list(records)
    return pages.render(frame.frame(records, times, cards or {}), frame.strata(records), *given, **more)
