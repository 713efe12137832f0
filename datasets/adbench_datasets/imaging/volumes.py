"""Volumes of many lesion masks, read in parallel and remembered between runs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from adbench.contracts.dataset import DataRuntime
from adbench_datasets.imaging.cases import FileRef
from adbench_datasets.imaging.file_hashes import recall, remember, state_of
from adbench_datasets.imaging.files import CaseError
from adbench_datasets.imaging.nifti import read_nifti

KeyT = TypeVar("KeyT", bound=Hashable)
MEMORY = "lesion-volumes.json"


def mask_volumes(masks: Mapping[KeyT, FileRef], root: Path, runtime: DataRuntime) -> dict[KeyT, float]:
    """Volume of each mask in mm3: voxels that are not 0, times the size of a voxel.

    A mask that cannot be read has no volume: it is left out, and the user is told of the first. Volumes are kept in
    the runtime's cache folder, as long as the file system says that the file is the same.
    """
    known = {} if runtime.verify else {k: v for k, v in recall(runtime, MEMORY).items() if isinstance(v, float)}
    stamps = {key: state_of(ref) or f"{ref} cannot be read" for key, ref in masks.items()}
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
        remember(runtime, MEMORY, known)
    return {key: known[stamp] for key, stamp in stamps.items() if stamp in known}


def volume_mm3(mask: FileRef, root: Path) -> float:
    """Volume of one mask in mm3. Raises CaseError where it cannot be read, or holds NaN."""
    stored = read_nifti(mask, root)
    if not np.isfinite(stored.values).all():
        raise CaseError(mask, "the mask holds NaN or infinite values. Make it again, or leave out the case.")
    return float(np.count_nonzero(stored.values) * abs(np.linalg.det(stored.affine[:3, :3])))
