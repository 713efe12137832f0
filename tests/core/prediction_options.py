"""What the tests of predictions run with."""

from __future__ import annotations

from pathlib import Path

from adbench.config.options import RunOptions


def options(root: Path, **changes) -> RunOptions:
    """A run on the heads below `root`."""
    chosen = {"preset": "smoke", "device": "cpu", "precision": "float32", "cache": root / "cache"}
    return RunOptions(**{**chosen, "data_root": root / "set", "out": root / "results", **changes})
