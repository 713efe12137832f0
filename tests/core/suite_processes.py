"""Suites by real processes, and what their records are compared with: those of one run after another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from adbench.execution.ledger import Entry, Ledger
from adbench.results.merging import merge

METHODS = ["vqvae-residual", "patchcore", "ae"]
"""The first two share a part."""
SETTINGS = ["protocol.resamples=20", "protocol.timing_slices=1", "protocol.timing_budget_s=0.01"]
LIMIT_S = 600
TRAINED = re.compile(r"^(VQ-VAE|ae): (\d+)/\2, done in ", re.MULTILINE)


def adbench(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "adbench", *map(str, words)]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)


def done(*words: object) -> None:
    process = adbench(*words)
    _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, said


def serial_records(root: Path, methods: Sequence[str] = METHODS, *settings: str) -> Path:
    """The records of one run after another, made below a folder."""
    given = ["--dataset", "phantom", "--preset", "smoke", "--precision", "float32"]
    folders = ["--out", root / "out", "--cache", root / "cache"]
    done("run", "--method", *methods, *given, *folders, "--set", *SETTINGS, *settings)
    return root / "out"


def suite_words(folder: Path, tables: str = "", methods: Sequence[str] = METHODS, *settings: str) -> list[object]:
    """The words after `adbench suite run`, for a suite, a cache and records in a folder; `tables` end the file."""
    file = folder / "suite.toml"
    grid = f"methods = {list(methods)}\nsettings = {[*SETTINGS, *settings]}\n"
    given = "[[grids]]\npreset = 'smoke'\nprecision = 'float32'\ndatasets = ['phantom']\n"
    file.write_text(given + grid + tables, encoding="utf-8")
    return [file, "--out", folder / "out", "--cache", folder / "cache"]


def check(tmp_path: Path, serial: Path, methods: Sequence[str] = METHODS) -> None:
    """The records are those of the serial run but for date, environment and times, and no part was trained twice."""
    same_records(serial, tmp_path, len(methods))
    logs = [path.read_text(encoding="utf-8") for path in (tmp_path / "cache" / "suites" / "logs").glob("*.log")]
    parts = {"VQ-VAE", "ae"} if "vqvae-residual" in methods else {"ae"}
    assert Counter(what for log in logs for what, _ in TRAINED.findall(log)) == dict.fromkeys(parts, 1)


def same_records(serial: Path, tmp_path: Path, n: int) -> None:
    """The `n` records are those of the serial run but for date, environment and times."""
    found = merge([serial, tmp_path / "out"], tmp_path / "both")
    assert len(found.records) == n
    assert set(found.records.values()) == {serial}
    assert sum("the same result" in text for text in found.kept) == n


def entries(tmp_path: Path, status: str) -> list[Entry]:
    return [entry for entry in Ledger(tmp_path / "cache").entries().values() if entry.status == status]


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
