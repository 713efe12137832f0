"""From the files of single cases to stacks in which every split is one range."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adbench.contracts.dataset import DataRuntime
from adbench.storage.files import write_atomic
from adbench_datasets.imaging.preprocessing import Content
from adbench_datasets.imaging.slice_jobs import CONTENTS, GROUPS, MASKS, PLACEMENT, Job, group_of


def assemble(folder: Path, shards: Path, jobs: Sequence[Job], size: int, runtime: DataRuntime) -> dict[str, Any]:
    """Copy all cases to their places in the stacks; return the index. One case at a time is in memory."""
    where = places_of(shards, jobs)
    total = sum(len(at) for places in where for at in places.values())
    stacks = {
        name: Stack(folder / f"{name}.npy", (total, 1, size, size), name == "images") for name in ("images", *MASKS)
    }
    slices: list[tuple[int, int]] = [(0, 0)] * total
    hashes, cases, placements = [""] * total, [], {}
    runtime.progress("write slices", 0, len(jobs))
    for c, (job, places) in enumerate(zip(jobs, where, strict=True)):
        with np.load(shards / f"{job.key}.npz") as shard:
            meta, contents = json.loads(shard["meta"].tobytes()), shard[CONTENTS]
            for name, stack in stacks.items():
                values = shard[name] if name == "images" else np.unpackbits(shard[name], axis=-1, count=size)
                for content, at in places.items():
                    stack.write(at, values[contents == content])
        for content, at in places.items():
            chosen = np.flatnonzero(contents == content)
            slices[at.start : at.stop] = [(c, meta[PLACEMENT]["z"][i]) for i in chosen]
            hashes[at.start : at.stop] = [meta["hashes"][i] for i in chosen]
        counts = np.bincount(contents, minlength=len(Content)).tolist()
        noted = {name: meta[name] for name in ("facts", "hash")}
        cases.append({"subject": job.subject, "source": job.source, "role": job.role, CONTENTS: counts, **noted})
        placements[job.source] = meta[PLACEMENT]
        runtime.progress("write slices", c + 1, len(jobs))
    write_atomic(folder / "scans.json", json.dumps(placements, separators=(",", ":")).encode())
    kept = [stack.close() for stack in stacks.values()]
    names = ["scans.json", *(name for name in kept if name)]
    groups = [
        sum(
            len(p.get(content, ()))
            for p, job in zip(where, jobs, strict=True)
            if group_of(job, content) == (part, content)
        )
        for part, content in GROUPS
    ]
    files = {name: (folder / name).stat().st_size for name in names}
    return {"files": files, "groups": groups, "slices": slices, "hashes": hashes, "cases": cases}


def places_of(shards: Path, jobs: Sequence[Job]) -> list[dict[Content, range]]:
    """Where each case's slices of each content stand in the stacks."""
    counts = []
    for job in jobs:
        with np.load(shards / f"{job.key}.npz") as shard:
            counts.append(np.bincount(shard[CONTENTS], minlength=len(Content)))
    places: list[dict[Content, range]] = [{} for _ in jobs]
    start = 0
    for group in GROUPS:
        for job, count, place in zip(jobs, counts, places, strict=True):
            content = group[1]
            if group_of(job, content) == group and count[content]:
                place[content] = range(start, start + int(count[content]))
                start = place[content].stop
    return places


class Stack:
    """A .npy file that is filled in any order, by plain writes: a memory map would count as this process's memory.

    Masks without a pixel are not written: such parts of the file take no space where the file system allows it, and a
    mask file without any pixel is removed.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], is_image: bool) -> None:
        self.path, self.is_image, self.empty = path, is_image, True
        dtype = np.dtype(np.float32 if is_image else np.bool_)
        self._bytes = dtype.itemsize * int(np.prod(shape[1:]))
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        self._file = path.open("wb")
        np.lib.format.write_array_header_1_0(self._file, header)
        self._offset = self._file.tell()
        self._file.truncate(self._offset + shape[0] * self._bytes)

    def write(self, at: range, values: NDArray[Any]) -> None:
        if self.is_image or values.any():
            self.empty = False
            self._file.seek(self._offset + at.start * self._bytes)
            self._file.write(np.ascontiguousarray(values).tobytes())

    def close(self) -> str:
        """Return the name of the file, or "" where it was removed."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self.empty and self.path.name not in ("images.npy", "lesions.npy"):
            self.path.unlink()
            return ""
        return self.path.name
