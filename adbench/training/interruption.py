"""Ctrl-C during a training: it ends after the step that it is in, when its state is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Hold back KeyboardInterrupt; yields whether one was asked for. A second signal raises it at once.

    Signals that raise none are left alone, and so are all where this is not the main thread, which alone hears them.
    """
    asked: list[int] = []

    def hear(signum: int, frame: FrameType | None) -> None:
        asked.append(signum)
        if len(asked) > 1:
            raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    held = [each for each in SIGNALS if main and signal.getsignal(each) is signal.default_int_handler]
    try:
        for each in held:
            signal.signal(each, hear)
        yield lambda: bool(asked)
    finally:
        for each in held:
            signal.signal(each, signal.default_int_handler)
