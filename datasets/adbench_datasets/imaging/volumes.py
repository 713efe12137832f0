"""Volumes of many lesion masks, read in parallel and remembered between runs."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np

from adbench.contracts.dataset import DataRuntime
from adbench.storage.files import write_atomic
from adbench_datasets.imaging.cases import FileRef
from adbench_datasets.imaging.files import CaseError
from adbench_datasets.imaging.nifti import read_nifti

KeyT = TypeVar("KeyT", bound=Hashable)
MEMORY = "lesion-volumes.json"


def mask_volumes(masks: Mapping[KeyT, FileRef], root: Path, runtime: DataRuntime) -> dict[KeyT, float]:
    """Volume of each mask in mm3: voxels that are not 0, times the size of a voxel.

    A mask that cannot be read has no volume: it is left out, and the user is told of the first. Volumes are kept in
    the runtime's cache folder, by name, size and time of the file.
    """
    known = _recall(runtime)
    stamps = {key: _stamp(ref) for key, ref in masks.items()}
    new = [key for key in masks if stamps[key] not in known]
    faults: list[CaseError] = []

    def measure(key: KeyT) -> float | None:
        try:
            return volume_mm3(masks[key], root)
        except CaseError as error:
            faults.append(error)
            return None

    with ThreadPoolExecutor(runtime.workers) as pool:
        for i, (key, volume) in enumerate(zip(new, pool.map(measure, new), strict=True), start=1):
            runtime.progress("lesion volumes", i, len(new))
            if volume is not None:
                known[stamps[key]] = volume
    if faults:
        runtime.notify(f"{len(faults)} lesion masks cannot be read and are left out of the ranking, first: {faults[0]}")
    if new:
        _remember(runtime, known)
    return {key: known[stamp] for key, stamp in stamps.items() if stamp in known}


def volume_mm3(mask: FileRef, root: Path) -> float:
    """Volume of one mask in mm3. Raises CaseError where it cannot be read, or holds NaN."""
    stored = read_nifti(mask, root)
    if not np.isfinite(stored.values).all():
        raise CaseError(mask, "the mask holds NaN or infinite values. Make it again, or leave out the case.")
    return float(np.count_nonzero(stored.values) * abs(np.linalg.det(stored.affine[:3, :3])))


def _stamp(ref: FileRef) -> str:
    try:
        state = ref.path.stat()
    except OSError:
        return f"{ref} cannot be read"
    return f"{ref} {state.st_size} {state.st_mtime_ns}"


def _recall(runtime: DataRuntime) -> dict[str, float]:
    """What earlier runs have measured; nothing where the file is missing or damaged."""
    if runtime.cache is None:
        return {}
    try:
        return {str(k): float(v) for k, v in json.loads((runtime.cache / MEMORY).read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _remember(runtime: DataRuntime, known: Mapping[str, float]) -> None:
    if runtime.cache is None:
        return
    with suppress(OSError):  # it only saves time; where slices cannot be kept their cache says so
        runtime.cache.mkdir(parents=True, exist_ok=True)
        write_atomic(runtime.cache / MEMORY, json.dumps(known).encode())
