"""Slices of many scans, prepared once into memory-mapped stacks.

    <cache>/slices/<set>-<key>/images.npy, lesions.npy, brains.npy, ignores.npy   (N, 1, size, size)
                               index.json     written last, with the sizes of the stacks and its own hash
                               scans.json     how to bring maps back to each scan (`preprocessing.Placement`)
                               cases/<key>.npz   while it is made: one file a finished scan, so a kill loses little

Slices stand in an order in which everything that a split asks for is a contiguous range, so a split is a view:
healthy slices of validation, training and test subjects; then those near a lesion and with a lesion of test subjects;
then those with a lesion and near one of all other subjects. Nothing is loaded until it is read. While it is made,
the cache takes twice its space.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from adbench.contracts.dataset import DataRuntime
from adbench.contracts.splits import Split
from adbench.storage.files import write_atomic
from adbench.storage.holds import hold
from adbench.storage.leases import Lease
from adbench_datasets.imaging.placement import Placement
from adbench_datasets.imaging.preprocessing import Content
from adbench_datasets.imaging.shards import prepare_all, usable
from adbench_datasets.imaging.slice_jobs import GROUPS, Job, Make, key_of, writing
from adbench_datasets.imaging.stacks import assemble

VERSION = 4
"""Raise it when the layout of the files changes, or what is refused, said, or read of a mask."""


class _DamagedError(Exception):
    """A cache that is there is not whole."""


class SliceCache:
    """Prepared slices of one dataset and config; `get` makes them where needed."""

    def __init__(self, folder: Path, index: Mapping[str, Any]) -> None:
        self.folder, self.index = folder, index
        self.cases: list[dict[str, Any]] = index["cases"]
        """One a used scan: subject, source, role, facts, hash, kinds (number of slices by content)."""
        self.skipped: list[tuple[str, str]] = [(file, why) for file, why, _ in index["skipped"]]
        """Scans that could not be used: file and reason."""
        self._starts = np.cumsum([0, *index["groups"]])

    @classmethod
    def get(cls, folder: Path, jobs: Sequence[Job], size: int, make: Make, runtime: DataRuntime) -> SliceCache:
        """Open what is in `folder`, or make it; another process that does the same waits.

        Raises DataError where the folder cannot be written or a worker process dies.
        """
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            hold(folder)
            lease, waits = Lease(Path(f"{folder}.lease")), f"Another process is preparing these slices in {folder}"
            lease.acquire(lambda: runtime.notify(f"{waits}: waiting for it."))
        with lease:
            found = cls._current(folder, jobs, make, runtime) or cls._made(folder, jobs, size, make, runtime)
            with suppress(OSError):
                os.utime(folder / "index.json")  # used now
            return found

    @classmethod
    def _current(cls, folder: Path, jobs: Sequence[Job], make: Make, runtime: DataRuntime) -> SliceCache | None:
        """What is in the folder; None where nothing is, or what is to be made again, which is said and removed."""
        try:
            found = cls._opened(folder)
            if found is None or not found._can_use_more(jobs, make):
                return found
            why = "A case that could not be used can be now: preparing all again."
        except _DamagedError as error:
            why = f"Prepared slices in {folder} are damaged ({error}): making them again."
        runtime.notify(why)
        with writing(folder):
            shutil.rmtree(folder)
        return None

    @classmethod
    def _opened(cls, folder: Path) -> SliceCache | None:
        try:
            index = json.loads((folder / "index.json").read_bytes())
            content = {name: value for name, value in index.items() if name != "sha256"}
            if key_of(content) != index["sha256"]:
                raise _DamagedError("index.json does not match its hash")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise _DamagedError(f"index.json cannot be read: {error}") from error
        for name, size in index["files"].items():
            found = (folder / name).stat().st_size if (folder / name).is_file() else "no"
            if found != size:
                raise _DamagedError(f"{name} has {found} bytes, not {size}")
        return cls(folder, index)

    @classmethod
    def _made(cls, folder: Path, jobs: Sequence[Job], size: int, make: Make, runtime: DataRuntime) -> SliceCache:
        shards = folder / "cases"
        with writing(folder):
            shards.mkdir(parents=True, exist_ok=True)
        why = prepare_all(jobs, shards, make, runtime)
        used = [job for job in jobs if job.key not in why]
        skipped = [(why[job.key][0] or job.source, why[job.key][1], job.key) for job in jobs if job.key in why]
        with writing(folder):
            index = assemble(folder, shards, used, size, runtime) | {"skipped": skipped, "version": VERSION}
            index["sha256"] = key_of(index)
            write_atomic(folder / "index.json", json.dumps(index, separators=(",", ":")).encode())
            shutil.rmtree(shards)
        opened = cls._opened(folder)
        assert opened is not None  # written just now
        return opened

    def _can_use_more(self, jobs: Sequence[Job], make: Make) -> bool:
        """Whether a case that was skipped can be used: permissions and links do not show in a file's size and time."""
        skipped = {key for _, _, key in self.index["skipped"]}
        return any(usable(job.case, make) for job in jobs if job.key in skipped)

    def split(self, first: tuple[str, Content], last: tuple[str, Content], truth: bool) -> Split:
        """The slices of all groups from `first` to `last`, with masks of lesions and ignored pixels if `truth`."""
        start, stop = self._starts[GROUPS.index(first)], self._starts[GROUPS.index(last) + 1]

        def stack(name: str) -> Any:
            """A view of a memory-mapped stack; None where no slice has such pixels."""
            there = f"{name}.npy" in self.index["files"]
            return np.load(self.folder / f"{name}.npy", mmap_mode="r")[start:stop] if there else None

        order = [(self.cases[c], z) for c, z in self.index["slices"][start:stop]]
        return Split(
            images=stack("images"),
            subjects=[case["subject"] for case, _ in order],
            hashes=self.index["hashes"][start:stop],
            lesions=stack("lesions") if truth else None,
            brains=stack("brains"),
            ignores=stack("ignores") if truth else None,
            sources=[f"{case['source']}[{z}]" for case, z in order],
            scans=[case["hash"] for case, _ in order],
        )

    def placements(self) -> dict[str, Placement]:
        """Source -> how to bring maps of its slices back to the scan (`preprocessing.restore`)."""
        placements = json.loads((self.folder / "scans.json").read_bytes())
        return {source: Placement.model_validate(placement) for source, placement in placements.items()}
