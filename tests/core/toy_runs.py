"""Runs of a toy method by the command line, as processes."""

from __future__ import annotations

import json
from pathlib import Path

from processes import Process

QUICK = ["protocol.timing_slices=1", "protocol.timing_budget_s=0.01", "protocol.resamples=20"]

TOY = ["part.steps=3", "data.n_test=4"]


def arguments(folder: Path, method: str, dataset: str, settings: list[str]) -> list[str]:
    folders = ["--out", str(folder / "out"), "--cache", str(folder / "cache")]
    run_it = ["run", "--method", method, "--dataset", dataset, "--preset", "smoke", "--json", *folders]
    return [*run_it, "--set", *QUICK, *settings]


def toy(folder: Path, method: str = "toy-trained") -> list[str]:
    return arguments(folder, method, "toy", TOY)


def metrics(process: Process) -> dict:
    assert process.end() == 0, process.err
    (record,) = json.loads(process.out)
    assert record["status"] == "ok"
    return record["metrics"]
