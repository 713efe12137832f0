"""A job of a suite: one `adbench run` of one method on one dataset with one seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from adbench.config.options import AskedPrecision, RunOptions
from adbench.storage.spec import canonical_hash


@dataclass(frozen=True)
class Folders:
    """Where jobs read and write; the same for all jobs of a suite."""

    out: Path
    cache: Path
    data_root: Path | None = None

    @cached_property
    def resolved_out(self) -> str:
        """By which the jobs of one folder of records know each other, however it is named."""
        return str(self.out.resolve())


class Job(NamedTuple):
    """One method on one dataset with one seed; several regions and post-processings are measured in one job."""

    method: str
    dataset: str
    seed: int
    preset: str
    train_on: str | None = None
    settings: Sequence[str] = ()
    precision: AskedPrecision = "auto"
    tuned: str | None = None
    """A study, or one of its trials (`STUDY#7`), whose settings are used."""
    storage: str | None = None
    """Of the study."""

    @property
    def name(self) -> str:
        """`ddpm on mslub, trained on tcga-lgg, seed 0`."""
        elsewhere = f", trained on {self.train_on}" if self.train_on else ""
        return f"{self.method} on {self.dataset}{elsewhere}, seed {self.seed}"

    def key(self, folders: Folders) -> str:
        """12 hex digits of the job and the folder of its records: what is known of it is kept by them."""
        return canonical_hash({**self._asdict(), "out": folders.resolved_out})[:12]

    def options(self, folders: Folders, device: str) -> RunOptions:
        """Of its run; tuned settings are not in them."""
        return RunOptions(
            preset=self.preset,
            seed=self.seed,
            device=device,
            settings=self.settings,
            out=folders.out,
            cache=folders.cache,
            data_root=folders.data_root,
            train_on=self.train_on,
            precision=self.precision,
        )

    def arguments(self, folders: Folders, device: str) -> list[str]:
        """Of the command `adbench` that carries it out."""
        values = {
            "method": self.method,
            "dataset": self.dataset,
            "seed": self.seed,
            "preset": self.preset,
            "precision": self.precision,
            "device": device,
            "train-on": self.train_on,
            "tuned": self.tuned,
            "storage": self.storage,
            "out": folders.out,
            "cache": folders.cache,
            "data-root": folders.data_root,
        }
        given = [word for name, value in values.items() if value is not None for word in (f"--{name}", str(value))]
        return ["run", *given, *(word for setting in self.settings for word in ("--set", setting))]
