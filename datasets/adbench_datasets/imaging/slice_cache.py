"""Slices of many scans, prepared once into memory-mapped stacks.

    <cache>/slices/<set>-<key>/images.npy, lesions.npy, brains.npy, ignores.npy   (N, 1, size, size)
                               index.json     written last, with the sizes of the stacks and its own hash
                               scans.json     how to bring maps back to each scan (`preprocessing.SlicePlan`)
                               cases/<key>.npz   while it is made: one file a finished scan, so a kill loses little

Slices stand in an order in which everything that a split asks for is a contiguous range, so a split is a view:
healthy slices of validation, training and test subjects; then those near a lesion and with a lesion of test subjects;
then those with a lesion and near one of all other subjects. Nothing is loaded until it is read. While it is made,
the cache takes twice its space.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from filelock import FileLock, Timeout
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from numpy.typing import NDArray

from adbench.contracts.dataset import DataRuntime
from adbench.contracts.splits import Split
from adbench.errors import DataError
from adbench.storage.files import write_atomic
from adbench_datasets.imaging.files import CaseError
from adbench_datasets.imaging.preprocessing import Kind, Prepared
from adbench_datasets.imaging.slice_plan import SlicePlan

VERSION = 2
"""Raise it when the layout of the files changes."""
MASKS = ("lesions", "brains", "ignores")
MAX_WORKERS = 6
"""Each needs about 260 MB for a scan of 240 x 240 x 155: so preparing stays below 2 GiB."""
CASES_PER_WORKER = 16
"""A process takes a second or more to start: not worth it for fewer."""
GROUPS = (
    ("validation", Kind.HEALTHY),
    ("train", Kind.HEALTHY),
    ("test", Kind.HEALTHY),
    ("test", Kind.NEAR),
    ("test", Kind.LESION),
    ("rest", Kind.LESION),
    ("rest", Kind.NEAR),
)
"""Order of the slices; "rest" is training and validation subjects."""


@dataclass(frozen=True)
class Job:
    """One case to prepare."""

    subject: str
    source: str
    """Path of the image relative to the data root."""
    role: str
    """train, validation or test."""
    case: Any
    key: str
    """Hash of all that decides what is made of it."""


Make = Callable[[Any], Prepared]
"""Reads and prepares one case. Raises DataError where it cannot be used. Runs in other processes."""


def key_of(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value. Not `artifacts.canonical_hash`: that would load torch into each worker."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class _DamagedError(Exception):
    """A cache that is there is not whole."""


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"Prepared slices must be kept, but {place} cannot be written ({error.strerror or error}). Free space "
            "there, or name another folder with --cache."
        ) from error


class SliceCache:
    """Prepared slices of one dataset and config; `get` makes them where needed."""

    def __init__(self, folder: Path, index: Mapping[str, Any]) -> None:
        self.folder, self.index = folder, index
        self.cases: list[dict[str, Any]] = index["cases"]
        """One a used scan: subject, source, role, facts, hash, kinds (number of slices of each kind)."""
        self.skipped: list[tuple[str, str]] = [(file, why) for file, why, _ in index["skipped"]]
        """Scans that could not be used: file and reason."""
        self._starts = np.cumsum([0, *index["groups"]])

    @classmethod
    def get(cls, folder: Path, jobs: Sequence[Job], size: int, make: Make, runtime: DataRuntime) -> SliceCache:
        """Open what is in `folder`, or make it; another process that does the same waits.

        Raises DataError where the folder cannot be written or a worker process dies.
        """
        with _writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{folder}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                runtime.notify(f"Another process is preparing these slices in {folder}: waiting for it.")
                lock.acquire()
        try:
            return cls._current(folder, jobs, make, runtime) or cls._made(folder, jobs, size, make, runtime)
        finally:
            lock.release()

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
        with _writing(folder):
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
        with _writing(folder):
            shards.mkdir(parents=True, exist_ok=True)
        why = _prepare_all(jobs, shards, make, runtime)
        used = [job for job in jobs if job.key not in why]
        skipped = [(why[job.key][0] or job.source, why[job.key][1], job.key) for job in jobs if job.key in why]
        with _writing(folder):
            index = _assemble(folder, shards, used, size, runtime) | {"skipped": skipped, "version": VERSION}
            index["sha256"] = key_of(index)
            write_atomic(folder / "index.json", json.dumps(index, separators=(",", ":")).encode())
            shutil.rmtree(shards)
        opened = cls._opened(folder)
        assert opened is not None  # written just now
        return opened

    def _can_use_more(self, jobs: Sequence[Job], make: Make) -> bool:
        """Whether a case that was skipped can be used: permissions and links do not show in a file's size and time."""
        skipped = {key for _, _, key in self.index["skipped"]}
        return any(_usable(job.case, make) for job in jobs if job.key in skipped)

    def split(self, first: tuple[str, Kind], last: tuple[str, Kind], truth: bool) -> Split:
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

    def plans(self) -> dict[str, SlicePlan]:
        """Source -> how to bring maps of its slices back to the scan (`preprocessing.restore`)."""
        plans = json.loads((self.folder / "scans.json").read_bytes())
        return {source: SlicePlan.model_validate(plan) for source, plan in plans.items()}


def _prepare_all(jobs: Sequence[Job], shards: Path, make: Make, runtime: DataRuntime) -> dict[str, tuple[str, str]]:
    """Make a file of each case that has none. Returns key -> (file, reason) for those that cannot be used."""
    todo = [job for job in jobs if not _whole(shards / f"{job.key}.npz")]
    what, done = "prepare scans", len(jobs) - len(todo)
    runtime.progress(what, done, len(jobs))
    workers = min(runtime.workers, MAX_WORKERS, -(-len(todo) // CASES_PER_WORKER))
    why: dict[str, tuple[str, str]] = {}
    try:
        with (
            joblib.parallel_config(backend="loky", inner_max_num_threads=1) if workers > 1 else joblib.parallel_config()
        ):
            pool = joblib.Parallel(n_jobs=max(workers, 1), return_as="generator_unordered", pre_dispatch="2*n_jobs")
            for key, reason in pool(joblib.delayed(_make_shard)(make, job.case, job.key, shards) for job in todo):
                done += 1
                runtime.progress(what, done, len(jobs))
                if reason:
                    why[key] = reason
    except TerminatedWorkerError as error:
        raise DataError(
            "Scans are prepared in several processes, but one was ended, most likely for lack of memory. Run it again "
            "with fewer workers; what is done is kept."
        ) from error
    finally:
        if workers > 1:
            get_reusable_executor().shutdown(wait=True)  # else idle processes keep their memory for minutes
    return why


def _usable(case: Any, make: Make) -> bool:
    try:
        make(case)
    except DataError:
        return False
    return True


def _make_shard(make: Make, case: Any, key: str, shards: Path) -> tuple[str, tuple[str, str] | None]:
    """Prepare one case and write its file; return its key and, where it cannot be used, the file and the reason."""
    try:
        made = make(case)
    except CaseError as error:
        return key, (error.file, error.what)
    except DataError as error:
        return key, ("", str(error))
    meta = {
        "plan": made.plan.model_dump(mode="json"),
        "hashes": made.hashes,
        "hash": made.scan_hash,
        "facts": made.facts,
    }
    buffer = io.BytesIO()
    masks: dict[str, Any] = {name: np.packbits(getattr(made, name), axis=-1) for name in MASKS}
    note = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(buffer, images=made.images, kinds=made.kinds, meta=note, **masks)
    with _writing(shards):
        write_atomic(shards / f"{key}.npz", buffer.getvalue())
    return key, None


def _whole(shard: Path) -> bool:
    try:
        with zipfile.ZipFile(shard) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _assemble(folder: Path, shards: Path, jobs: Sequence[Job], size: int, runtime: DataRuntime) -> dict[str, Any]:
    """Copy all cases to their places in the stacks; return the index. One case at a time is in memory."""
    where = _places(shards, jobs)
    total = sum(len(at) for places in where for at in places.values())
    stacks = {
        name: _Stack(folder / f"{name}.npy", (total, 1, size, size), name == "images") for name in ("images", *MASKS)
    }
    slices: list[tuple[int, int]] = [(0, 0)] * total
    hashes, cases, plans = [""] * total, [], {}
    runtime.progress("write slices", 0, len(jobs))
    for c, (job, places) in enumerate(zip(jobs, where, strict=True)):
        with np.load(shards / f"{job.key}.npz") as shard:
            meta, kinds = json.loads(shard["meta"].tobytes()), shard["kinds"]
            for name, stack in stacks.items():
                content = shard[name] if name == "images" else np.unpackbits(shard[name], axis=-1, count=size)
                for kind, at in places.items():
                    stack.write(at, content[kinds == kind])
        for kind, at in places.items():
            chosen = np.flatnonzero(kinds == kind)
            slices[at.start : at.stop] = [(c, meta["plan"]["z"][i]) for i in chosen]
            hashes[at.start : at.stop] = [meta["hashes"][i] for i in chosen]
        counts = np.bincount(kinds, minlength=len(Kind)).tolist()
        noted = {name: meta[name] for name in ("facts", "hash")}
        cases.append({"subject": job.subject, "source": job.source, "role": job.role, "kinds": counts, **noted})
        plans[job.source] = meta["plan"]
        runtime.progress("write slices", c + 1, len(jobs))
    write_atomic(folder / "scans.json", json.dumps(plans, separators=(",", ":")).encode())
    kept = [stack.close() for stack in stacks.values()]
    names = ["scans.json", *(name for name in kept if name)]
    groups = [
        sum(len(p.get(kind, ())) for p, job in zip(where, jobs, strict=True) if _group(job, kind) == (part, kind))
        for part, kind in GROUPS
    ]
    files = {name: (folder / name).stat().st_size for name in names}
    return {"files": files, "groups": groups, "slices": slices, "hashes": hashes, "cases": cases}


def _group(job: Job, kind: Kind) -> tuple[str, Kind]:
    return (job.role if kind == Kind.HEALTHY or job.role == "test" else "rest"), kind


def _places(shards: Path, jobs: Sequence[Job]) -> list[dict[Kind, range]]:
    """Where each case's slices of each kind stand in the stacks."""
    counts = []
    for job in jobs:
        with np.load(shards / f"{job.key}.npz") as shard:
            counts.append(np.bincount(shard["kinds"], minlength=len(Kind)))
    places: list[dict[Kind, range]] = [{} for _ in jobs]
    start = 0
    for group in GROUPS:
        for job, count, place in zip(jobs, counts, places, strict=True):
            kind = group[1]
            if _group(job, kind) == group and count[kind]:
                place[kind] = range(start, start + int(count[kind]))
                start = place[kind].stop
    return places


class _Stack:
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

    def write(self, at: range, content: NDArray[Any]) -> None:
        if self.is_image or content.any():
            self.empty = False
            self._file.seek(self._offset + at.start * self._bytes)
            self._file.write(np.ascontiguousarray(content).tobytes())

    def close(self) -> str:
        """Return the name of the file, or "" where it was removed."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self.empty and self.path.name not in ("images.npy", "lesions.npy"):
            self.path.unlink()
            return ""
        return self.path.name
