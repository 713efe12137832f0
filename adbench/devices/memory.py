"""The most memory that a piece of work takes."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch


@contextmanager
def peak_memory(device: torch.device, peak: list[int]) -> Iterator[None]:
    """Append to `peak` the most bytes in use during the block above those in use before it."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield
        peak.append(torch.cuda.max_memory_allocated(device) - before)
        return
    _return_free_memory()
    process, done, most = psutil.Process(), threading.Event(), [0]
    before = process.memory_info().rss

    def sample() -> None:
        while not done.wait(0.005):
            most[0] = max(most[0], process.memory_info().rss)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        peak.append(max(0, most[0] - before))


def _return_free_memory() -> None:
    """Give freed pages back to the system: glibc keeps them, and their reuse would not show as growth."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim:
        trim(0)
