"""Writing files that are never half-written."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from adbench.errors import AdbenchError, ArtifactError

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
"""What disks say that have no hard links."""
ELSEWHERE = "Free space there, or name another folder with --cache."


@contextmanager
def writing(
    what: str, place: Path, advice: str = ELSEWHERE, error: type[AdbenchError] = ArtifactError
) -> Iterator[None]:
    """Raise `error` where a disk refuses what is written within the block, saying what it was, where, and why."""
    try:
        yield
    except OSError as fault:
        raise error(f"{what} must be written, but {place} cannot be written ({fault.strerror}). {advice}") from fault


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that a reader or a crash sees the old content or the new, never a part. Raises OSError."""
    _write(path, data, os.replace)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet; of several processes that do at once, one does.

    Raises FileExistsError for the others, and OSError.
    """
    _write(path, data, _link)


def _write(path: Path, data: bytes, put: Callable[[str, Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        put(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _link(source: str, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        if os.stat(source).st_nlink == 1:  # else NFS says so of the link that it has made itself, when asked twice
            raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        os.replace(source, target)
