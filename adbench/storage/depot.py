"""A depot: a folder of parts elsewhere, named by a URL. Nothing that lies there is executed, or believed to be whole.

It is laid out as the parts of a cache folder are, so that `<cache>/artifacts`, served in whatever way, is one too:

<url>/<key>/part.json                   written last
<url>/<key>/part-<hash>.safetensors     named by its content: two that push the same part never write into each other's
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from adbench.config.urls import shown, shown_text
from adbench.errors import AdbenchError, ArtifactError
from adbench.storage.transports import TRANSPORTS, WEB

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*-[0-9a-f]{16}")
"""Of a part."""
LINK = re.compile(rf'href="(?:\./)?({KEY.pattern})/?"')
LISTING_BYTES = 16 << 20
CHUNK = 1 << 20


class Depot:
    """A folder of parts elsewhere."""

    def __init__(self, url: str) -> None:
        """Raises ArtifactError where the URL is of no kind that is read, or its library is missing."""
        scheme, separator, rest = url.partition("://")
        self.shown = shown(url).rstrip("/")
        if not separator:
            scheme, url = "file", _address(url)
            self.shown = _address(self.shown)
        if scheme not in TRANSPORTS or (separator and (not rest or "?" in rest or "#" in rest)):
            known = ", ".join(f"{name}://" for name in TRANSPORTS)
            raise ArtifactError(
                f"Parts lie in a folder, or at a URL of {known} without parameters, not at {self.shown!r}: correct it."
            )
        self._transport = TRANSPORTS[scheme]
        self.is_web = self._transport is WEB
        """Such a depot is only read, and may not list what it holds."""
        self._fs, self._root = self._opened(url)

    def _opened(self, url: str) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs

            with self._reaching("it"):
                fs, root = url_to_fs(url, **self._transport.options())
        except ImportError as error:
            raise ArtifactError(
                f"Parts at {self.shown} need a library that is not installed ({error.name or error}): "
                f"pip install 'brain-adbench[{self._transport.extra}]'."
            ) from error
        return fs, root.rstrip("/")

    def check(self) -> None:
        """Raise ArtifactError where nothing is there; a web server is only asked for parts, by name."""
        if self.is_web:
            return
        with self._reaching("it"):
            if not self._fs.exists(self._root):
                raise ArtifactError(f"Parts must lie at {self.shown}, but nothing does: correct the URL.")

    def listed(self) -> list[str]:
        """Keys of the parts that are there, sorted. Raises ArtifactError where they cannot be listed."""
        if self.is_web:
            return sorted(set(LINK.findall(self._listing())))
        try:
            with self._reaching("it"):
                names = [str(path).rstrip("/").rpartition("/")[2] for path in self._fs.ls(self._root, detail=False)]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if KEY.fullmatch(name))

    def _listing(self) -> str:
        try:
            return b"".join(self.pieces("", LISTING_BYTES)).decode(errors="replace")
        except FileNotFoundError:
            raise ArtifactError(
                f"{self.shown} does not list what it holds: name the keys of the parts, as 'adbench cache list' has "
                "them, or run with --parts."
            ) from None

    def pieces(self, name: str, limit: int) -> Iterator[bytes]:
        """Yield a file piece by piece, "" being the folder itself.

        Raises FileNotFoundError where there is none, and ArtifactError where it cannot be read, or goes on after
        `limit` bytes.
        """
        place, size = f"{self._root}/{name}", 0
        with self._reaching(name), self._fs.open(place, "rb", **self._transport.reading) as file:
            while piece := file.read(CHUNK):
                size += len(piece)
                if size > limit:
                    raise ArtifactError(
                        f"{self.shown}/{name} must end after {limit} bytes, but goes on: it is not what was pushed, "
                        "and nothing of it was kept."
                    )
                yield piece

    def has(self, name: str) -> bool:
        with self._reaching(name):
            return bool(self._fs.exists(f"{self._root}/{name}"))

    def put(self, name: str, source: Path | bytes) -> None:
        """Write a file so that a reader sees it whole or not at all. Raises ArtifactError where it cannot be."""
        if self.is_web:
            raise ArtifactError(f"A web server is only read, so nothing can be pushed to {self.shown}: name another.")
        target = f"{self._root}/{name}"
        try:
            with self._reaching(name):
                self._send(source, target) if self._transport.puts_whole else self._send_and_rename(source, target)
        except FileNotFoundError as error:
            raise ArtifactError(
                f"There is no place for parts at {self.shown} ({shown_text(str(error))}): make it, or correct it."
            ) from error

    def _send_and_rename(self, source: Path | bytes, target: str) -> None:
        self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        hidden = f"{target}.{uuid4().hex}"
        try:
            self._send(source, hidden)
            self._fs.mv(hidden, target)
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(hidden)
            raise

    def _send(self, source: Path | bytes, target: str) -> None:
        if isinstance(source, bytes):
            self._fs.pipe_file(target, source)
        else:
            self._fs.put_file(str(source), target)

    @contextmanager
    def _reaching(self, name: str) -> Iterator[None]:
        """Turn whatever a library raises into an ArtifactError, but for a file that is not there."""
        try:
            yield
        except (AdbenchError, FileNotFoundError, ImportError, GeneratorExit):
            raise
        except Exception as error:  # of whatever library
            cause = shown_text(" ".join(str(error).split()))[:200] or type(error).__name__
            raise ArtifactError(
                f"Parts at {self.shown} must be within reach, but {name or 'it'} is not ({cause}): check address and "
                "access."
            ) from error


def _address(folder: str) -> str:
    return f"file://{Path(folder).expanduser().absolute()}"
