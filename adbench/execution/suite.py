"""A suite: a TOML file of grids of methods, datasets and seeds.

extends = "base.toml"          # optional: what it says holds unless it is said here; one level
[defaults]                     # of every grid
preset = "standard"
[[grids]]
methods = ["ddpm", "ae"]
datasets = ["mslub", "brats"]
train_on = "tcga-lgg"
seeds = [0, 1, 2]
[limits]
hours = 8
memory_gb = 12
[slurm]                        # of jobs that SLURM runs, as submitit names them
partition = "gpu"
gpus_per_node = 1
[ray]                          # of tasks of Ray, as it names them
num_gpus = 1
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adbench.config.options import MAX_SEED, AskedPrecision
from adbench.config.presets import check_preset
from adbench.contracts import registry
from adbench.errors import SuiteError, first_fault
from adbench.execution.job import Job


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Grid(_Model):
    """Every method on every dataset with every seed."""

    methods: tuple[str, ...] = Field(min_length=1)
    datasets: tuple[str, ...] = Field(min_length=1)
    train_on: str | None = None
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    preset: str = "small"
    settings: tuple[str, ...] = ()
    precision: AskedPrecision = "auto"
    tuned: str | None = None
    storage: str | None = None

    def jobs(self) -> Iterator[Job]:
        """Dataset by dataset and seed by seed, so that methods that share parts stand together."""
        shared = self.model_dump(exclude={"methods", "datasets", "seeds"})
        for dataset, seed, method in product(self.datasets, self.seeds, self.methods):
            yield Job(method=method, dataset=dataset, seed=seed, **shared)


class Limits(_Model):
    """Of one job."""

    hours: float | None = Field(None, gt=0, description="ended after so long; it goes on when it is run again")
    memory_gb: float | None = Field(None, gt=0, description="a job waits until so much is free")


class Suite(_Model):
    """All that a file and the one that it extends say."""

    grids: tuple[Grid, ...] = Field(min_length=1)
    limits: Limits = Limits()
    slurm: dict[str, Any] = {}
    """Parameters of submitit's SlurmExecutor."""
    ray: dict[str, Any] = {}
    """Options of ray.remote."""

    def jobs(self) -> list[Job]:
        """Of all grids in their order, each once."""
        return list(dict.fromkeys(job for grid in self.grids for job in grid.jobs()))


def read_suite(path: Path, settings: Sequence[str] = ()) -> Suite:
    """Read a suite; `settings` are put after those of every grid.

    Raises:
        SuiteError: the file cannot be read, or is no suite.
        UnknownPluginError, ConfigError: a method, a dataset or a preset is none.
    """
    given = _with_base(path, _read(path))
    defaults = given.pop("defaults", {})
    grids = given.get("grids", [])
    if not isinstance(defaults, dict) or not isinstance(grids, list) or not all(isinstance(g, dict) for g in grids):
        raise SuiteError(f"A suite has one table [defaults] and tables [[grids]], but {path} has something else.")
    given["grids"] = [{**defaults, **grid} for grid in grids]
    try:
        suite = Suite.model_validate(given)
    except ValidationError as error:
        given = error.errors()[0]["input"]
        raise SuiteError(f"{path} is no suite: {first_fault(error)}, got {given!r}.") from error
    for grid in suite.grids:
        _check(grid, path)
    grids = [grid.model_copy(update={"settings": (*grid.settings, *settings)}) for grid in suite.grids]
    return suite.model_copy(update={"grids": tuple(grids)})


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"A suite must be a readable file, but {path} is not ({error}).") from error
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"A suite must be TOML, but {path} is not: {error}.") from error


def _with_base(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """What the file says over what the one that it extends says; tables field by field."""
    if "extends" not in given:
        return given
    name = given.pop("extends")
    if not isinstance(name, str):
        raise SuiteError(f"extends in {path} must be the name of a file, got {name!r}.")
    base = _read(path.parent / name)
    if "extends" in base:
        raise SuiteError(f"A suite extends one other alone, but {path.parent / name}, which {path} extends, does too.")
    merged = {**base, **given}
    for table in ("defaults", "limits", "slurm", "ray"):
        sides = [side.get(table, {}) for side in (base, given)]
        if all(isinstance(side, Mapping) for side in sides):
            merged[table] = {**sides[0], **sides[1]}
    return merged


def _check(grid: Grid, path: Path) -> None:
    check_preset(grid.preset)
    for name in grid.methods:
        registry.find(registry.DETECTORS, name)
    for name in (*grid.datasets, *([grid.train_on] if grid.train_on else [])):
        registry.find(registry.DATASETS, name)
    if wrong := [seed for seed in grid.seeds if not 0 <= seed <= MAX_SEED]:
        raise SuiteError(f"A seed is a whole number from 0 to {MAX_SEED}, but {path} has {wrong[0]}.")
