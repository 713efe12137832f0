"""Web servers on this machine that hold parts, honest ones and liars."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[[BaseHTTPRequestHandler], None]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def _served(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def serving(folder: Path) -> contextmanager[Iterator[str]]:
    """Serve a folder as it is; the URL within the block."""
    return _served(partial(_Quiet, directory=str(folder)))


def lying(folder: Path, about: str, answer: Answer) -> contextmanager[Iterator[str]]:
    """Serve a folder, but for paths with `about` in them what `answer` says."""

    class Liar(_Quiet):
        def do_GET(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):  # they have heard enough
                answer(self) if about in self.path else super().do_GET()

    return _served(partial(Liar, directory=str(folder)))


def body(handler: BaseHTTPRequestHandler, content: bytes, **headers: str) -> None:
    """Answer with a body."""
    handler.send_response(200)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Answer without end."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


def redirect(to: str) -> Answer:
    """Send whoever asks elsewhere."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.end_headers()

    return answer
