"""What a process on this machine is started with, so that it computes where it should; imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping


def variables_of_worker(workers: int, gpu: str | None) -> Mapping[str, str]:
    """Environment of one of `workers` processes: the one GPU (name or number) it sees, and its share of the cores.

    That is no more threads than OMP_NUM_THREADS gives this process.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    given = os.environ.get("OMP_NUM_THREADS", "")
    share = min(max(1, cores // workers), int(given) if given.isdigit() and int(given) else cores)
    threads = {"OMP_NUM_THREADS": str(share)} if workers > 1 else {}
    return threads if gpu is None else {**threads, "CUDA_VISIBLE_DEVICES": gpu}
