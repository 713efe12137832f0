"""Small detectors and a small dataset, registered as a stranger's plugins are: by entry points."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from adbench.config.options import RunOptions
from adbench.contracts.dataset import Dataset, DatasetConfig, DatasetInfo, Findings, Problem
from adbench.contracts.detector import Detector, DetectorConfig, DetectorInfo, Images
from adbench.contracts.plan import PartPlan, Plan
from adbench.contracts.splits import Split, Splits, content_hash
from adbench.errors import DataError
from adbench.protocol.cell import Cell, build_cells
from adbench.storage.saved import Checkpoint
from adbench.storage.spec import PartSpec

DETECTORS = (
    *("constant", "brightness", "trained", "twin"),
    *("nan", "infinite", "misshapen", "list", "short", "raising", "leaving", "greedy", "dying", "sleeping"),
)
DATASETS = {"toy": "ToyData", "toy-sick": "ToySick", "toy-large": "ToyLarge", "toy-ct": "ToyCT", "toy-old": "ToyOld"}
LESION_PX = 16
"""Lesion pixels of a sick toy image; each has 256 pixels."""


def install(site: Path, monkeypatch: Any) -> None:
    """Put a distribution with all of this on Python's path."""
    info = site / "toys-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    points = [f"toy-{name} = toys:{name.title()}" for name in DETECTORS]
    sets = [f"{name} = toys:{cls}" for name, cls in DATASETS.items()]
    text = "\n".join(["[adbench.detectors]", *points, "[adbench.datasets]", *sets, ""])
    (info / "entry_points.txt").write_text(text)
    monkeypatch.syspath_prepend(str(site))


def cell(tmp_path: Path, method: str, *settings: str, seed: int = 0, dataset: str = "toy") -> Cell:
    """One run to do, in folders of its own."""
    return build_cells([method], dataset, options(tmp_path, *settings, seed=seed))[0]


def options(tmp_path: Path, *settings: str, **given: Any) -> RunOptions:
    """Options with quick defaults; later settings win."""
    quick = ("protocol.resamples=20", "protocol.timing_slices=2", "protocol.timing_budget_s=0.01")
    usual = {"preset": "smoke", "out": tmp_path / "out", "cache": tmp_path / "cache"}
    return RunOptions(settings=(*quick, *settings), **{**usual, **given})


class Diary:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.steps: list[tuple[str, int, int]] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def progress(self, what: str, done: int, total: int) -> None:
        self.steps.append((what, done, total))

    @property
    def text(self) -> str:
        return "\n".join(self.messages)


class ToyConfig(DatasetConfig):
    n_train: int = Field(6, ge=1)
    n_validation: int = Field(8, ge=1)
    n_test: int = Field(6, ge=1)


class ToyData(Dataset[ToyConfig]):
    """Noise in [0, 0.5] of 16 x 16 pixels; every other test image has a bright square of LESION_PX pixels."""

    Config = ToyConfig
    info = DatasetInfo("toy", "CC0", "none", "none", "none needed", "1")

    def load(self) -> Splits:
        c = self.config
        rng = np.random.default_rng(0)
        train, validation, test = (
            rng.random((n, 1, 16, 16), np.float32) / 2 for n in (c.n_train, c.n_validation, c.n_test)
        )
        hashes = [content_hash(image) for image in test]
        lesions = np.zeros(test.shape, bool)
        lesions[1::2, :, 4:8, 4:8] = True
        test[lesions] = 1
        return Splits(
            healthy(train, "train"),
            healthy(validation, "validation", brains=np.ones(validation.shape, bool)),
            healthy(test, "test", lesions=lesions, brains=np.ones(test.shape, bool), hashes=hashes),
        )


class SickConfig(DatasetConfig):
    size: int = Field(16, ge=8)
    n_test: int = Field(4, ge=2)
    shared: Literal["nothing", "subject", "image"] = "nothing"


class ToySick(Dataset[SickConfig]):
    """Test images alone: every other one has a bright square. `shared` is with the training images of `toy`."""

    Config = SickConfig
    info = DatasetInfo("toy", "CC0", "none", "none", "none needed", "1")

    def load(self) -> Splits:
        raise DataError("toy-sick has no healthy images: name a set that has with --train-on.")

    def load_test(self) -> Split:
        c = self.config
        images = np.random.default_rng(1).random((c.n_test, 1, c.size, c.size), np.float32) / 2
        split = healthy(images, "sick", sources=[f"scans/sick-{i}.nii[9]" for i in range(c.n_test)])
        if c.shared == "subject":
            split = replace(split, subjects=["train-0", *split.subjects[1:]])
        if c.shared == "image":
            split = replace(split, hashes=[ToyData(ToyConfig()).load().train.hashes[0], *split.hashes[1:]])
        lesions = np.zeros(images.shape, bool)
        lesions[1::2, :, 4:8, 4:8] = True
        return replace(split, images=np.where(lesions, np.float32(1), images), lesions=lesions)

    def inspect(self) -> Findings:
        self.runtime.progress("looking", 1, 1)
        n = 25 if self.config.n_test == 2 else 0
        problems = [Problem(f"b{i:02}.nii", "no mask", skipped=True) for i in range(n)]
        problems += [Problem("a.nii", "cannot be read", skipped=False)] if n else []
        return Findings({"subjects": str(self.config.n_test), "a fact": "second"}, problems)


class ToyLarge(ToySick):
    """Of another size by default."""

    class Config(SickConfig):
        size: int = Field(32, ge=8)


class ToyCT(ToySick):
    """Of another modality."""

    info = DatasetInfo("toy", "CC0", "none", "CT (made up)", "none needed", "1")


class ToyOld(ToyData):
    """Written when a dataset got a config and a data root alone."""

    def __init__(self, config: ToyConfig, data_root: Path | None = None) -> None:
        self.config, self.data_root = config, data_root


def healthy(images: np.ndarray, name: str, **fields: Any) -> Split:
    """A split of images, each a subject of its own."""
    hashes = [content_hash(image) for image in images]
    return replace(Split(images, [f"{name}-{i}" for i in range(len(images))], hashes), **fields)


class Brightness(Detector[DetectorConfig]):
    """The image itself."""

    info = DetectorInfo("toy", "control", "1")

    def fit(self, healthy: Images, validation: Images) -> None: ...

    def score(self, images: Tensor) -> Tensor:
        return images.clone()


class Constant(Brightness):
    def score(self, images: Tensor) -> Tensor:
        return torch.zeros_like(images)


class Nan(Brightness):
    def score(self, images: Tensor) -> Tensor:
        return images / (images - images)


class Infinite(Brightness):
    def score(self, images: Tensor) -> Tensor:
        return torch.full_like(images, torch.inf)


class Misshapen(Brightness):
    def score(self, images: Tensor) -> Tensor:
        return images[:, :, ::2]


class List(Brightness):
    def score(self, images: Tensor) -> Tensor:
        return images.tolist()


class Short(Brightness):
    def image_scores(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


class Raising(Brightness):
    def fit(self, healthy: Images, validation: Images) -> None:
        raise ValueError("the toy\nbroke")


class Leaving(Brightness):
    def score(self, images: Tensor) -> Tensor:
        raise SystemExit("the toy left")


class Greedy(Brightness):
    def score(self, images: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("tried to allocate 99 GiB")


class Dying(Brightness):
    """Takes a process that another one started with it, at the first image with a lesion."""

    def score(self, images: Tensor) -> Tensor:
        if multiprocessing.parent_process() and images.max() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return images.clone()


class SleepingConfig(DetectorConfig):
    folder: str = ""


class Sleeping(Detector[SleepingConfig]):
    """Leaves the number of its process in a folder, and sleeps."""

    Config = SleepingConfig
    info = DetectorInfo("toy", "control", "1")

    def fit(self, healthy: Images, validation: Images) -> None: ...

    def score(self, images: Tensor) -> Tensor:
        (Path(self.config.folder) / str(os.getpid())).touch()
        time.sleep(600)
        return images.clone()


class Inner(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(4, ge=1)
    rate: float = Field(0.5, gt=0)


class TrainedConfig(DetectorConfig):
    part: Inner = Inner()
    scale: float = 1.0


class Trained(Detector[TrainedConfig]):
    """Keeps the mean of the training images, found in `part.steps` steps with a checkpoint after each."""

    Config = TrainedConfig
    info = DetectorInfo("toy", "control", "1")
    family = "control"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": {"part.steps": 8}}

    def spec(self, healthy: Images) -> PartSpec:
        return PartSpec("toy", 1, self.config.part.model_dump(), healthy.fingerprint, self.runtime.seed)

    def plan(self, healthy: Images, validation: Images) -> Plan:
        return Plan([PartPlan(self.spec(healthy), self.config.part.steps)])

    def fit(self, healthy: Images, validation: Images) -> None:
        self._spec = self.spec(healthy)
        self.mean = self.runtime.store.get(self._spec, lambda checkpoint: self._train(healthy, checkpoint))["mean"]

    def _train(self, healthy: Images, checkpoint: Checkpoint) -> dict[str, Tensor]:
        found = checkpoint.load()
        total, done = (found[0]["total"], found[1]["step"]) if found else (torch.zeros(1), 0)
        steps = self.config.part.steps
        for step in range(done, steps):
            total = total + healthy[slice(step, step + 1)].mean()
            self.runtime.progress("toy training", step + 1, steps)
            checkpoint.save({"total": total}, {"step": step + 1})
        return {"mean": total / steps}

    def score(self, images: Tensor) -> Tensor:
        return self.config.scale * (images - self.mean.to(images.device)).abs()

    def artifacts(self) -> Mapping[str, str]:
        return {"toy": self._spec.key}


class Twin(Trained):
    """Another method with the same part."""

    overrides: ClassVar[Mapping[str, Any]] = {"scale": 2.0}
