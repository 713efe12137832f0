"""What is in a file, by its content: SHA-256, read once and remembered as long as the file system says it is the same.

Names, sizes and times of change can be those of other content: archives are unpacked with fixed times, and files are
swapped for another release. Device, inode and the time of the last change of state (ctime) are the file system's own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from adbench.contracts.dataset import DataRuntime
from adbench.storage.files import write_atomic
from adbench_datasets.imaging.cases import FileRef
from adbench_datasets.imaging.files import CaseError, open_file

MEMORY = "file-hashes.json"
UNREADABLE = "cannot be read"
CHUNK = 1 << 20


def content_hashes(refs: Iterable[FileRef], root: Path, runtime: DataRuntime) -> dict[FileRef, str]:
    """SHA-256 (hex) of each file or member; one that cannot be read gets a word instead, and an error when it is read.

    With `runtime.verify` all are read again, whatever is remembered.
    """
    known = {} if runtime.verify else recall(runtime, MEMORY)
    states = {ref: state_of(ref) for ref in refs}
    new = [ref for ref, state in states.items() if state is not None and state not in known]
    with ThreadPoolExecutor(runtime.workers) as pool:
        for i, (ref, digest) in enumerate(zip(new, pool.map(lambda ref: _digest(ref, root), new), strict=True), 1):
            if i % 256 == 0 or i == len(new):
                runtime.progress("read files", i, len(new))
            if digest is not None:
                known[str(states[ref])] = digest
    if new:
        remember(runtime, MEMORY, known)
    return {ref: known.get(str(state), UNREADABLE) for ref, state in states.items()}


def state_of(ref: FileRef) -> str | None:
    """What the file system knows of a file's state; it changes whenever the content may have. None: no such file."""
    try:
        state = ref.path.stat()
    except OSError:
        return None
    numbers = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    return " ".join(map(str, numbers)) + (f" {ref.member}" if ref.member else "")


def _digest(ref: FileRef, root: Path) -> str | None:
    digest = hashlib.sha256()
    try:
        with open_file(ref, root) as (stream, _):
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    except CaseError:
        return None
    return digest.hexdigest()


def recall(runtime: DataRuntime, name: str) -> dict[str, Any]:
    """What earlier runs have noted in the cache; nothing where the file is missing or damaged."""
    if runtime.cache is None:
        return {}
    try:
        found = json.loads((runtime.cache / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(runtime: DataRuntime, name: str, known: dict[str, Any]) -> None:
    """Keep it for the next run; it only saves time, so a cache that cannot be written is left to others to name."""
    if runtime.cache is None:
        return
    with suppress(OSError):
        runtime.cache.mkdir(parents=True, exist_ok=True)
        write_atomic(runtime.cache / name, json.dumps(known).encode())
