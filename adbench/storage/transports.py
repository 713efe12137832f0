"""How parts get here and away: the kinds of URL of a depot, each by a library of fsspec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from adbench.config.urls import shown
from adbench.errors import ArtifactError

CONNECT_S, SILENT_S = 30, 60
"""How long a web server may take to answer, and may say nothing."""


@dataclass(frozen=True)
class Transport:
    """How a kind of URL is read and written."""

    extra: str | None = None
    """Of the installation that brings its library."""
    puts_whole: bool = True
    """Whether a file that is put is seen whole or not at all; else it gets its name by a rename."""
    options: Callable[[], Mapping[str, Any]] = dict
    """Of its file system."""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """Options of reading a file."""


def _web() -> Mapping[str, Any]:
    """Redirects are not followed: a server could send us anywhere, to what only this machine can read too."""
    import aiohttp

    async def refuse_redirects(answer: aiohttp.ClientResponse) -> None:
        if 300 <= answer.status < 400:
            raise ArtifactError(
                f"Parts are read from where you say alone, but {shown(str(answer.url))} answers with a redirect "
                f"({answer.status}): give the address that they lie at."
            )

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENT_S)
    client = {"timeout": timeout, "trust_env": True, "raise_for_status": refuse_redirects}
    return {"allow_redirects": False, "client_kwargs": client}


def _fresh() -> Mapping[str, Any]:
    """What others have put there meanwhile is seen."""
    return {"use_listings_cache": False}


def _known_host() -> Mapping[str, Any]:
    """Only a host is trusted that the user's known hosts have: sshfs by itself trusts any."""
    import sshfs  # noqa: F401  # fsspec would take another library in its place

    return {"known_hosts": ()}


WEB = Transport("http", options=_web, reading={"block_size": 0, "size": 1})  # as a stream, whatever size is claimed
TRANSPORTS = {
    "file": Transport(puts_whole=False),
    "ssh": Transport("ssh", puts_whole=False, options=_known_host),
    "s3": Transport("s3", options=_fresh),
    "gs": Transport("gcs", options=_fresh),
    "http": WEB,
    "https": WEB,
}
