"""The threads of PyTorch in this process, and its share of them where several processes compute side by side."""

from __future__ import annotations

import torch


def threads_each(processes: int = 1) -> int:
    """Threads for each of so many processes that share those of this one; at least one."""
    return max(1, torch.get_num_threads() // processes)


def use_threads(threads: int) -> None:
    """Compute on so many threads in this process from now on."""
    torch.set_num_threads(threads)
