"""A distribution of somebody else, built and installed offline into a folder, and Python run with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

needs_pip = pytest.mark.skipif(
    not (find_spec("pip") and find_spec("setuptools")), reason="building a plugin needs pip and setuptools"
)


def python(*arguments: str, path: Path | None = None, cwd: Path | None = None) -> str:
    """Run this Python with `path` put first, fail with what it said, and return its standard output."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ADBENCH")}
    environment |= {"PYTHONPATH": str(path) if path else "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def install(source: Path, root: Path) -> Path:
    """Build the distribution in `source` below `root`, install its wheel, and return the folder to put on the path."""
    copy = shutil.copytree(source, root / "source")  # building leaves folders beside the source
    offline = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    python("-m", "pip", "wheel", str(copy), "--wheel-dir", str(root), "--no-build-isolation", *offline)
    (wheel,) = root.glob("*.whl")
    python("-m", "pip", "install", str(wheel), "--target", str(root / "site"), *offline)
    return root / "site"
