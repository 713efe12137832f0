"""What `inspect` says about a set of scans, from what was noted while they were prepared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from adbench.errors import counted
from adbench_datasets.imaging.cases import Case
from adbench_datasets.imaging.preprocessing import Content
from adbench_datasets.imaging.slice_jobs import CONTENTS

CLASSES_ML = (0.0, 0.1, 1.0, 10.0, np.inf)
"""Edges of the classes of lesion volume."""


def facts(cases: Sequence[Mapping[str, Any]], size: int, tested: Sequence[Content], skipped: int) -> dict[str, str]:
    """Subjects, slices, lesions by size, spacing, intensities and splits, in the order to show them."""
    slices = np.sum([case[CONTENTS] for case in cases], axis=0) if cases else np.zeros(len(Content), int)
    stored = sum(case["facts"]["slices"] for case in cases)
    healthy, near, lesion, unclear = slices
    found = {
        "subjects": str(len({case["subject"] for case in cases})),
        "cases": f"{len(cases)}, and {skipped} that cannot be used",
        "slices": f"{slices.sum()} of {stored} kept: {healthy} healthy, {near} near a lesion, {lesion} with a lesion, "
        f"{unclear} left out whose lesion is outside or too small",
        "image size": f"{size} x {size}",
    }
    if cases:
        found["lesions"] = _lesions(cases)
        found["spacing"] = _spacing(cases)
        found["intensities"] = _intensities(cases)
    for role in ("train", "validation", "test"):
        found[f"{role} images"] = _split(cases, role, tested if role == "test" else (Content.HEALTHY,))
    return found


def strata_facts(cases: Iterable[Case]) -> dict[str, str]:
    """Stratum -> how many subjects are in which group; a subject with two scans may be in two."""
    groups: dict[str, dict[str, set[str]]] = {}
    for case in cases:
        for name, group in case.strata.items():
            groups.setdefault(name, {}).setdefault(group, set()).add(case.subject)
    return {
        name: ", ".join(f"{group}: {len(subjects)}" for group, subjects in sorted(found.items()))
        for name, found in groups.items()
    }


def _lesions(cases: Sequence[Mapping[str, Any]]) -> str:
    voxels = [(n, _spacing_mm(case)) for case in cases for n in case["facts"]["lesion_voxels"]]
    sick = sum(bool(case["facts"]["lesion_voxels"]) for case in cases)
    if any(spacing is None for _, spacing in voxels):
        sizes = f"median {np.median([n for n, _ in voxels]):.0f} voxels"
    elif voxels:
        volumes = np.array([n * np.prod(spacing) / 1000 for n, spacing in voxels if spacing])
        counts = np.histogram(volumes, CLASSES_ML)[0]
        names = ("below 0.1 ml", "0.1 to 1 ml", "1 to 10 ml", "10 ml and more")
        sizes = (
            ", ".join(f"{n} {name}" for n, name in zip(counts, names, strict=True)) + f"; {volumes.sum():.1f} ml in all"
        )
    else:
        sizes = "none"
    return f"{len(voxels)} in {counted(sick, 'case')}: {sizes}"


def _spacing_mm(case: Mapping[str, Any]) -> Sequence[float] | None:
    """None where it is unknown: a single slice has no thickness."""
    spacing: Sequence[float] | None = case["facts"]["spacing_mm"]
    return spacing if case["facts"]["slices"] > 1 else None


def _spacing(cases: Sequence[Mapping[str, Any]]) -> str:
    known = [case["facts"]["spacing_mm"] for case in cases if case["facts"]["spacing_mm"]]
    if not known:
        return "unknown"
    low, high = np.min(known, axis=0), np.max(known, axis=0)
    return " x ".join(f"{a:.3g}" if a == b else f"{a:.3g}-{b:.3g}" for a, b in zip(low, high, strict=True)) + " mm"


def _intensities(cases: Sequence[Mapping[str, Any]]) -> str:
    ranges = np.array([case["facts"]["range"] for case in cases])
    medians = np.median([case["facts"]["median"] for case in cases], axis=0)
    return (
        f"{ranges[:, 0].min():g} to {ranges[:, 1].max():g}, median within the brain or head {medians[0]:.4g}; "
        f"after preprocessing 0 to 1, median {medians[1]:.2f}"
    )


def _split(cases: Sequence[Mapping[str, Any]], role: str, used: Sequence[Content]) -> str:
    own = [case for case in cases if case["role"] == role]
    images = sum(case[CONTENTS][content] for case in own for content in used)
    return f"{images} of {counted(len({case['subject'] for case in own}), 'subject')}"
