"""What trials share: results of a detector's stages, filed by what they were made from.

A detector that has an attribute `kept` is given a `Kept` while an inference-only study scores it, and None when its
time is measured. It may then ask for a stage's result by a key that names everything the stage depends on: tensors in
a key count by their content, so that no key can mean two things. Small results stay in memory (`once`). Stacks of
planes, of which any subset may be asked for later, are memory-mapped files that processes share (`planes`).
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from adbench.config.options import Progress, Silent
from adbench.errors import ArtifactError
from adbench.storage.files import writing
from adbench.storage.holds import hold
from adbench.storage.leases import Lease
from adbench.storage.spec import canonical_hash

T = TypeVar("T")
Planes = NDArray[np.float32]
MEMORY_BYTES = 256 << 20
AT_ONCE = 32
"""Planes written together: what a kill can cost."""
WHAT = "Maps that trials share"
FILLING = "maps kept for later trials"
"""What progress says while more planes than that are computed."""


@runtime_checkable
class KeepsStages(Protocol):
    """A detector whose stages can be kept."""

    kept: Kept | None


def content(tensor: Tensor) -> str:
    """SHA-256 (hex) of a tensor's dtype, shape and bytes."""
    array = tensor.detach().cpu().contiguous().numpy()
    return hashlib.sha256(f"{array.dtype.str}{array.shape}".encode() + array.tobytes()).hexdigest()


class Kept:
    """Results by key: some in memory, some in files below `folder`."""

    def __init__(self, folder: Path, memory_bytes: int = MEMORY_BYTES, progress: Progress | None = None) -> None:
        """`memory_bytes` bounds the tensors in memory; the ones used longest ago go first."""
        self.folder, self._limit = folder, memory_bytes
        self._progress = progress or Silent().progress
        self._memory: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._files: dict[str, tuple[Planes, NDArray[np.bool_]]] = {}

    def once(self, key: Sequence[object], make: Callable[[], T]) -> T:
        """Return `make()`, or what it returned before for the same key. Nobody may change it in place."""
        name = _name(key)
        if name not in self._memory:
            made = make()
            self._memory[name] = made, made.nbytes if isinstance(made, Tensor) else 0
            self._forget()
        self._memory.move_to_end(name)
        value: T = self._memory[name][0]
        return value

    def _forget(self) -> None:
        used = sum(size for _, size in self._memory.values())
        for name, (_, size) in list(self._memory.items())[:-1]:  # what was just made is wanted now
            if used <= self._limit:
                return
            if size:
                del self._memory[name]
                used -= size

    def planes(
        self,
        key: Sequence[object],
        wanted: Sequence[int],
        shape: tuple[int, ...],
        make: Callable[[list[int]], Planes],
    ) -> Planes:
        """Return a read-only stack of `shape` (N, ...) float32 whose planes `wanted` are filled.

        `make(indices)` computes those that no process has filled before, (len(indices), ...).

        Raises:
            ArtifactError: the folder cannot be written.
        """
        name = _name(key)
        stack, have = self._files.get(name) or self._open(name, shape)
        if not have[list(wanted)].all():
            with writing(WHAT, self.folder), Lease(self.folder / f"{name}.lease"):
                have = self._read_have(name, shape[0])  # another process may have filled some
                missing = [int(i) for i in dict.fromkeys(wanted) if not have[i]]
                for start in range(0, len(missing), AT_ONCE):
                    self._fill(name, stack, have, missing[start : start + AT_ONCE], make)
                    if len(missing) > AT_ONCE:
                        self._progress(FILLING, min(start + AT_ONCE, len(missing)), len(missing))
        self._files[name] = stack, have
        return stack

    def _open(self, name: str, shape: tuple[int, ...]) -> tuple[Planes, NDArray[np.bool_]]:
        path = self.folder / f"{name}.npy"
        hold(path)
        with writing(WHAT, self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with Lease(self.folder / f"{name}.lease"):
                have = self._read_have(name, shape[0])
                if not path.is_file() or not have.any():  # nothing in it is known to be whole
                    np.lib.format.open_memmap(path, "w+", np.float32, shape).flush()
                os.utime(path)  # used now
        try:
            stack = np.load(path, mmap_mode="r")
        except ValueError as error:
            raise self._damaged(path) from error
        if stack.shape != shape or stack.dtype != np.float32:
            raise self._damaged(path)
        return stack, have

    @staticmethod
    def _damaged(path: Path) -> ArtifactError:
        return ArtifactError(f"Maps that trials share must be as they were kept, but {path} is not. Remove it.")

    def _read_have(self, name: str, n: int) -> NDArray[np.bool_]:
        """(N,) which planes are filled: one byte each, written after the planes themselves."""
        path = self.folder / f"{name}.have"
        data = path.read_bytes() if path.is_file() else b""
        return np.frombuffer(data, np.bool_).copy() if len(data) == n else np.zeros(n, np.bool_)

    def _fill(
        self,
        name: str,
        stack: Planes,
        have: NDArray[np.bool_],
        indices: list[int],
        make: Callable[[list[int]], Planes],
    ) -> None:
        """Compute and write planes, then say that they are there; those that another was first to write stay.

        They are written by calls and not through the map: a full disk is then an error and no SIGBUS.
        """
        planes = np.ascontiguousarray(make(indices), np.float32)
        have |= self._read_have(name, len(have))
        with open(self.folder / f"{name}.npy", "r+b") as file:
            for index, plane in zip(indices, planes, strict=True):
                if have[index]:
                    continue
                file.seek(stack.offset + index * plane.nbytes)  # type: ignore[attr-defined]  # a memmap
                file.write(plane.data)
        have[indices] = True
        (self.folder / f"{name}.have").write_bytes(have.tobytes())


def _name(key: Sequence[object]) -> str:
    parts = [content(part) if isinstance(part, Tensor) else part for part in key]
    return canonical_hash(parts)[:24]
