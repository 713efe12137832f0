"""Which executor carries out a suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adbench.errors import SuiteError
from adbench.execution.executor import Engine, Executor
from adbench.execution.local import LocalExecutor
from adbench.execution.suite import Suite


def executor(
    engine: Engine, suite: Suite, cache: Path, workers: int | None, gpus: Sequence[str], address: str | None
) -> Executor:
    """The executor of a name, for Ray that of the cluster at an address. Raises SuiteError where it cannot be used."""
    if address and engine != "ray":
        raise SuiteError(f"--ray-address is that of a cluster of Ray, which --on {engine} does not use.")
    if engine == "local":
        return LocalExecutor(workers or 1, gpus)
    if gpus:
        raise SuiteError(f"--gpus names those of this machine; others are asked for in [{engine}] of the suite.")
    try:
        if engine == "slurm":
            from adbench.execution.slurm import SlurmExecutor

            return SlurmExecutor(cache / "suites" / "slurm" / "%j", suite.slurm, workers)
        from adbench.execution.ray import RayExecutor

        return RayExecutor(suite.ray, workers, address)
    except ImportError as error:
        raise SuiteError(f"--on {engine} needs a library ({error}): pip install 'brain-adbench[{engine}]'.") from error
