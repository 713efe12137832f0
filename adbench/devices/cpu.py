"""The processor as a device."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import psutil
import torch

from adbench.devices.backend import Backend


class Cpu(Backend):
    """All cores that PyTorch uses."""

    divisible = True

    @classmethod
    def missing(cls) -> None:
        """Every machine has one."""

    @property
    def name(self) -> str:
        return f"{_cpu_info().get('model name', platform.processor() or 'CPU')}, {os.cpu_count()} cores"

    @property
    def has_bf16(self) -> bool:
        return "avx512_bf16" in _cpu_info().get("flags", "").split()

    def synchronise(self) -> None:
        """Its calls return when their work is done."""

    @contextmanager
    def peak_memory(self, peak: list[int]) -> Iterator[None]:
        """Resident memory, sampled."""
        self.return_free_memory()
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

    def return_free_memory(self) -> None:
        """glibc keeps freed pages, and their reuse would not show as growth."""
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim:
            trim(0)

    def fork_rng(self) -> AbstractContextManager[None]:
        return torch.random.fork_rng([])


@cache
def _cpu_info() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo; empty where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
