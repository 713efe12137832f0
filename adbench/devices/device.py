"""The device that a run uses: which one, its precision, and when its work is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from adbench.errors import DeviceError


def pick_device(name: str) -> torch.device:
    """Return the device for auto, cpu or cuda. Raises DeviceError where CUDA is asked for and absent."""
    if name not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"A device is auto, cpu or cuda, got {name!r}.")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise DeviceError(
            "--device cuda needs a CUDA device, but this PyTorch "
            f"({torch.__version__}) sees none. Use --device auto, or install a CUDA build and driver."
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def synchronise(device: torch.device) -> None:
    """Wait until all work queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@cache
def has_bf16(device: torch.device) -> bool:
    """Whether the device has bfloat16 arithmetic of its own (emulation would be slower than float32)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and "avx512_bf16" in _cpu_flags()


def precision(device: torch.device) -> str:
    """What networks compute in on the device, in words."""
    return "bf16 autocast" if has_bf16(device) else "float32"


@contextmanager
def autocast(device: torch.device) -> Iterator[None]:
    """bf16 autocast where the device has it, else float32."""
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
        yield


@cache
def cpu_info() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo; empty where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _cpu_flags() -> list[str]:
    return cpu_info().get("flags", "").split()
