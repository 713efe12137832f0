"""Which executor carries out a suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adbench.errors import SuiteError
from adbench.execution.executor import Engine, Executor
from adbench.execution.local import LocalExecutor
from adbench.execution.suite import Suite


def executor(engine: Engine, suite: Suite, cache: Path, workers: int | None, gpus: Sequence[str]) -> Executor:
    """The executor of a name. Raises SuiteError where it cannot be used here as asked."""
    if engine == "local":
        return LocalExecutor(workers or 1, gpus)
    if gpus:
        raise SuiteError(
            "--gpus names those of this machine; those of SLURM jobs are asked for in [slurm] of the suite."
        )
    try:
        from adbench.execution.slurm import SlurmExecutor
    except ImportError as error:
        raise SuiteError(f"SLURM needs submitit ({error}): pip install 'brain-adbench[slurm]'.") from error
    return SlurmExecutor(cache / "suites" / "slurm" / "%j", suite.slurm, workers)
