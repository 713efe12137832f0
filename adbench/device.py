"""The device that a run uses, and the environment that its record names."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from adbench.errors import DeviceError
from adbench.record import EnvironmentRecord

CODE = (":/adbench", ":/baselines", ":/datasets", ":/pyproject.toml")
"""What decides the numbers, as paths from the root of the checkout: changes elsewhere leave a record clean."""
PACKAGES = ("brain-adbench", "monai", "numpy", "scikit-learn", "scipy", "torch")


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


@cache
def has_bf16(device: torch.device) -> bool:
    """Whether the device has bfloat16 arithmetic of its own (emulation would be slower than float32)."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and "avx512_bf16" in _cpu_flags()


@contextmanager
def autocast(device: torch.device) -> Iterator[None]:
    """bf16 autocast where the device has it, else float32."""
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device)):
        yield


def environment(device: torch.device) -> EnvironmentRecord:
    """Describe device, versions and the state of the code."""
    commit, dirty = _git_state()
    return EnvironmentRecord(
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=device.type,
        device_name=_device_name(device),
        threads=torch.get_num_threads(),
        precision="bf16 autocast" if has_bf16(device) else "float32",
        packages={name: found for name in PACKAGES if (found := _version(name))},
        git_commit=commit,
        git_dirty=dirty,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_info().get('model name', platform.processor() or 'CPU')}, {os.cpu_count()} cores"


@cache
def _cpu_info() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo; empty where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _cpu_flags() -> list[str]:
    return _cpu_info().get("flags", "").split()


@cache
def _git_state() -> tuple[str | None, bool | None]:
    """Commit of the checkout that this code runs from and whether it has changes; None where it is no checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # an installed copy inside another checkout is none
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no", *CODE))
    except (OSError, subprocess.CalledProcessError):
        return None, None
