"""Files of one case: opened only where they lie inside the data folder, never unpacked, and limited in size.

A fault of one case is a `CaseError`, so that a dataset may leave out the case, name it, and go on with the others.
"""

from __future__ import annotations

import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from adbench.errors import DataError
from adbench_datasets.imaging.cases import FileRef

MAX_BYTES = 1 << 30
"""1 GiB: a volume of 512 x 512 x 1024 float32 voxels. No more is unpacked, or reserved, for one file."""

DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What reading a damaged file raises, plain or compressed."""


class CaseError(DataError):
    """One case cannot be used; the others may be. `file` and `what` are the two halves of the message."""

    def __init__(self, file: object, what: str) -> None:
        super().__init__(str(file), what)  # both, so that the error can be sent between processes
        self.file = str(file)
        self.what = what

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@contextmanager
def open_file(ref: FileRef, root: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Yield a seekable stream of a file or of a member of a zip archive, and its size in bytes.

    Raises CaseError where it cannot be opened, and for whatever a damaged file raises inside the `with` block.
    """
    path = _locate(ref.path, root)
    try:
        with ExitStack() as stack:
            stream: IO[bytes] = stack.enter_context(path.open("rb"))
            size = os.fstat(stream.fileno()).st_size
            if ref.member is not None and size:
                stream, size = _open_member(ref, ref.member, stream, stack)
            if size == 0:
                raise CaseError(ref, "the file is empty. Fetch it again.")
            yield stream, size
    except PermissionError as error:
        raise CaseError(ref, f"may not be read ({error.strerror}). Change the permissions of the file.") from error
    except DAMAGE as error:
        raise CaseError(ref, f"cannot be read ({error}): it is damaged or cut short. Fetch it again.") from error


def _locate(path: Path, root: Path) -> Path:
    """Return the real path of a file inside `root`. Links may lead anywhere inside it, and `root` may be one."""
    try:
        real = path.resolve(strict=True)
    except FileNotFoundError as error:
        raise CaseError(path, "there is no such file. Complete the download, or leave out the case.") from error
    except PermissionError as error:
        raise CaseError(path, f"may not be read ({error.strerror}). Change the permissions of its folder.") from error
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle
        raise CaseError(path, f"cannot be found ({error}). Mend the link or the name.") from error
    if not real.is_relative_to(root.resolve()):
        raise CaseError(
            path,
            f"all files must lie inside the data folder, but this is a link to {real}, outside of {root}. "
            "Copy the file there, or make --data-root a folder that holds both.",
        )
    if not os.path.isfile(real):
        raise CaseError(path, "a file is needed, but this is a folder or a device. Extract or fetch the file again.")
    return real


def _open_member(ref: FileRef, member: str, stream: IO[bytes], stack: ExitStack) -> tuple[IO[bytes], int]:
    anchored = PurePosixPath(member).is_absolute() or PureWindowsPath(member).anchor
    if anchored or ".." in re.split(r"[\\/]", member):
        raise CaseError(ref, "the member's path leads out of the archive: it is not the official file. Fetch it again.")
    try:
        archive = stack.enter_context(zipfile.ZipFile(stream))
        info = archive.getinfo(member)
        opened = stack.enter_context(archive.open(info))
    except KeyError as error:
        raise CaseError(
            ref, "the archive has no such member. Fetch the archive again, or leave out the case."
        ) from error
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or an unknown compression
        raise CaseError(ref, f"cannot be unpacked ({error}). Make the archive anew without that.") from error
    if info.file_size > MAX_BYTES:
        raise CaseError(
            ref, f"the member has {info.file_size} bytes unpacked, more than the limit of {MAX_BYTES}. Leave it out."
        )
    return opened, info.file_size
