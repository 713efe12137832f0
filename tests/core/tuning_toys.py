"""Detectors and a dataset to tune: quick, with test images that must not be looked at."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import optuna
import pytest
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from adbench.config.options import Silent
from adbench.contracts.dataset import Dataset, DatasetConfig, DatasetInfo
from adbench.contracts.detector import Detector, DetectorConfig, DetectorInfo, Images
from adbench.contracts.search import Choice, Integer, Real, SearchSpace
from adbench.contracts.splits import Split, Splits
from adbench.errors import AdbenchError, ConfigError, TuningError
from adbench.storage.kept import Kept
from adbench.testing import toy_split
from adbench.tuning import places, workers
from adbench.tuning.space import TuneOptions
from adbench.tuning.tuned import tuned_settings

DETECTORS = {"tuned": "Levels", "keeping": "Keeping", "fixed": "Fixed", "slow": "Slow"}


def install(site: Path, monkeypatch: Any) -> None:
    """Put a distribution with all of this on Python's path, and forget what earlier tests left."""
    Keeping.computed.clear()
    Levels.fitted.clear()
    info = site / "tuning_toys-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tuning-toys\nVersion: 1.0\n")
    points = [f"toy-{name} = tuning_toys:{cls}" for name, cls in DETECTORS.items()]
    sets = ["toy-heads = tuning_toys:Heads", "toy-sealed = tuning_toys:Sealed"]
    text = "\n".join(["[adbench.detectors]", *points, "[adbench.datasets]", *sets, ""])
    (info / "entry_points.txt").write_text(text)
    monkeypatch.syspath_prepend(str(site))


def options(folder: Path, method: str = "toy-tuned", **changes: Any) -> TuneOptions:
    """A small study; `settings` are added to."""
    usual: dict[str, Any] = {"trials": 4, "images": 10, "preset": "smoke", "cache": folder / "cache", "study": "s"}
    return TuneOptions(method, "toy-heads", **{**usual, **changes})


class Poison:
    """A test split that must not be touched."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"tuning looked at {name} of the test images")

    def __len__(self) -> int:
        raise AssertionError("tuning counted the test images")


class HeadsConfig(DatasetConfig):
    n_validation: int = Field(24, ge=1)
    subjects: int = Field(12, ge=1)
    data_seed: int = 0


class Heads(Dataset[HeadsConfig]):
    """Heads of 32 x 32 pixels, two images a subject, and poisoned test images."""

    Config = HeadsConfig
    info = DatasetInfo("toy", "CC0", "none", "none", "none needed", "1")

    def load(self) -> Splits:
        train, validation = toy_split(8, 32, 1 + self.config.data_seed), toy_split(self.config.n_validation, 32, 2)
        names = [f"subject-{i % self.config.subjects}" for i in range(len(validation))]
        object.__setattr__(validation, "subjects", names)
        return Splits(train, validation, Poison())  # type: ignore[arg-type]


class Sealed(Heads):
    """Gives healthy images alone: its test split cannot be asked for."""

    def load_healthy(self) -> tuple[Split, Split]:
        splits = super().load()
        return splits.train, splits.validation

    def load(self) -> Splits:
        raise AssertionError("tuning loaded all splits")

    def load_test(self) -> Split:
        raise AssertionError("tuning loaded the test split")


class NetConfig(BaseModel):
    rate: float = 0.1


class LevelsConfig(DetectorConfig):
    level: float = Field(0.9, ge=0, le=1)
    power: int = Field(1, ge=1)
    sign: Literal["both", "above"] = "both"
    width: int = 3
    depth: int | None = None
    net: NetConfig = NetConfig()
    trouble: Literal["none", "nan", "raise", "refuse", "above half", "refuse above half"] = "none"
    kill: str = ""


class Levels(Detector[LevelsConfig]):
    """|x - level| ^ power, or of values above the level alone."""

    Config = LevelsConfig
    info = DetectorInfo("toy", "control", "1")
    search_space: ClassVar[SearchSpace] = SearchSpace(
        inference={"level": Real(0.0, 1.0), "power": Integer(1, 3), "sign": Choice(("both", "above"))},
        training={"width": Integer(1, 9)},
    )
    fitted: ClassVar[list[tuple[int, int]]] = []

    def fit(self, healthy: Images, validation: Images) -> None:
        self.fitted.append((len(healthy), len(validation)))

    def score(self, images: Tensor) -> Tensor:
        c = self.config
        if c.kill and Path(c.kill).exists():
            Path(c.kill).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if c.trouble == "raise" or (c.trouble == "above half" and c.level > 0.5):
            raise RuntimeError("the toy\nbroke")
        if c.trouble == "refuse" or (c.trouble == "refuse above half" and c.level > 0.5):
            raise ConfigError("level and power do not go together.")
        apart = images - c.level if c.sign == "above" else (images - c.level).abs()
        return torch.full_like(images, torch.nan) if c.trouble == "nan" else apart.clamp(min=0) ** c.power


class Keeping(Levels):
    """Asks for its score by what it depends on."""

    kept: Kept | None = None
    computed: ClassVar[list[float]] = []

    def score(self, images: Tensor) -> Tensor:
        def make() -> Tensor:
            self.computed.append(self.config.level)
            return super(Keeping, self).score(images)

        key = [self.config.level, self.config.power, self.config.sign, images]
        return make() if self.kept is None else self.kept.once(key, make)


class Fixed(Levels):
    search_space: ClassVar[SearchSpace] = SearchSpace()


class Slow(Levels):
    """Takes its time, and says that it has begun by making the file `kill`."""

    def score(self, images: Tensor) -> Tensor:
        if self.config.kill:
            Path(self.config.kill).touch()
            time.sleep(60)
        return images.clone()


def counting(make: Callable[[list[int]], np.ndarray]) -> tuple[Callable[[list[int]], np.ndarray], list[int]]:
    """`make` and the list of what it was asked for."""
    asked: list[int] = []

    def counted(indices: list[int]) -> np.ndarray:
        asked.extend(indices)
        return make(indices)

    return counted, asked


def tune(given: TuneOptions, reporter=None) -> optuna.Study:
    return workers.tune(given, reporter or Silent())


def url_of(folder: Path) -> str:
    """The storage of the studies that `options(folder)` makes."""
    return places.default_storage(options(folder).cache)


def counts(found: optuna.Study) -> dict[str, int]:
    states = [trial.state.name for trial in found.get_trials()]
    return {name: states.count(name) for name in sorted(set(states))}


def fails(given: TuneOptions, match: str, error: type[AdbenchError] = TuningError) -> None:
    with pytest.raises(error, match=match):
        tune(given)


def use(tmp_path: Path, name: str = "s", method: str = "toy-tuned", dataset: str = "toy-heads", **given):
    return tuned_settings(name, None, tmp_path / "cache", method, dataset, given.pop("preset", "smoke"), **given)
