"""The environment of a run: device, versions and the state of the code."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from adbench.devices.device import backend_of, precision

CODE = (":/adbench", ":/baselines", ":/datasets", ":/pyproject.toml")
"""What decides the numbers, as paths from the root of the checkout: changes elsewhere leave a record clean."""

PACKAGES = ("brain-adbench", "monai", "numpy", "scikit-learn", "scipy", "torch")


def environment(device: torch.device) -> dict[str, Any]:
    """Describe device, versions and the state of the code, field by field of `EnvironmentRecord`.

    The precision is that of the present context (`device.computing`).
    """
    commit, dirty = _git_state()
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device.type,
        "device_name": backend_of(device).name,
        "threads": torch.get_num_threads(),
        "precision": "bf16 autocast" if precision(device) == "bf16" else "float32",
        "packages": {name: installed for name in PACKAGES if (installed := _version(name))},
        "git_commit": commit,
        "git_dirty": dirty,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


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
