"""The shipped `quick.toml`, with less data, on each executor: its records are those of one run after another."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path

import pytest
import slurm_node
from suite_processes import LIMIT_S, done, same_records

from adbench.execution.suite import read_suite

QUICK = Path(__file__).parents[3] / "leaderboards" / "suites" / "quick.toml"
DATA = [
    *("data.n_train=12", "data.n_validation=8", "data.n_test=8", "protocol.batch_size=8", "protocol.resamples=5"),
    *("protocol.timing_slices=1", "protocol.timing_budget_s=0.001"),
]
OWN = [["vqvae.steps=5", "unet.steps=5", "kl_timesteps=4", "healing_steps=4"], ["steps=5"]]
"""Settings of the methods of each grid: a run refuses one that none of its methods has, unlike a suite."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(6 * LIMIT_S)]


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> Path:
    """The records of its cells, one after another in one process a grid and seed."""
    root = tmp_path_factory.mktemp("serial")
    for grid, own in zip(read_suite(QUICK).grids, OWN, strict=True):
        given = ["--dataset", *grid.datasets, "--preset", grid.preset, "--precision", grid.precision]
        for seed in grid.seeds:
            folders = ["--seed", seed, "--out", root / "out", "--cache", root / "cache"]
            done("run", "--method", *grid.methods, *given, *folders, "--device", "cpu", "--set", *DATA, *own)
    return root / "out"


@pytest.mark.parametrize("engine", ["local", "ray", "slurm"])
def test_the_records_are_those_of_a_serial_run(tmp_path, serial, engine, request, monkeypatch):
    if engine == "ray":
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'brain-adbench[ray]'")
        monkeypatch.setenv("RAY_worker_niceness", "0")  # all other tests would go first
    if engine == "slurm":
        request.getfixturevalue("node")
    settings = [*DATA, *chain(*OWN)]
    folders = ["--out", tmp_path / "out", "--cache", tmp_path / "cache", "--device", "cpu"]
    done("suite", "run", QUICK, *folders, "--set", *settings, "--on", engine, "--workers", 2)
    same_records(serial, tmp_path, len(read_suite(QUICK).jobs()))


@pytest.fixture
def node(tmp_path_factory, monkeypatch):
    """SLURM's commands reach a node of this machine."""
    if why := slurm_node.missing():
        if os.environ.get("ADBENCH_SLURM_TESTS"):
            pytest.fail(f"ADBENCH_SLURM_TESTS is set, but {why}")
        pytest.skip(why)
    with slurm_node.slurm_node(tmp_path_factory.mktemp("slurm") / "node") as started:
        for name, value in started.found.items():
            monkeypatch.setenv(name, value)
        yield
