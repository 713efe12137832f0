"""A cell of the benchmark: one method with its config, on one dataset, with one seed, under one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import platformdirs
import torch
from pydantic import BaseModel, ConfigDict, Field

from adbench.artifacts import ArtifactStore, canonical_hash
from adbench.dataset import Dataset, Splits
from adbench.detector import Detector, DetectorConfig, Images, Runtime
from adbench.device import pick_device
from adbench.errors import ConfigError
from adbench.record import record_path
from adbench.registry import LoadedPlugin, check_preset, load_dataset, load_detector
from adbench.settings import Settings, check_known, keys, parse_settings, resolve


class MeasurementProtocol(BaseModel):
    """What is measured and how; part of every record's config hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(100, ge=1, description="test images scored together")
    region: Literal["image", "brain"] = Field("image", description="pixels that count")
    transferred_quantile: float = Field(
        0.99, gt=0, lt=1, description="quantile of healthy validation scores that fixes the transferred threshold"
    )
    transferred_images: int = Field(100, ge=1, description="healthy validation images scored for that (or all)")
    resamples: int = Field(1000, ge=1, description="bootstrap resamples of the 95 % intervals")
    timing_slices: int = Field(100, ge=1, description="slices in the timed minibatch")
    timing_repeats: int = Field(10, ge=1, description="timed repeats; fewer where the budget is spent")
    timing_budget_s: float = Field(120.0, gt=0, description="seconds for timing one method")


PROTOCOL_PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"transferred_images": 32, "resamples": 200, "timing_slices": 10, "timing_budget_s": 2.0},
    "demo": {"batch_size": 104, "transferred_images": 50, "timing_slices": 20, "timing_budget_s": 8.0},
}


def default_cache() -> Path:
    """The user's cache folder for trained parts."""
    return Path(platformdirs.user_cache_dir("adbench"))


@dataclass(frozen=True)
class RunOptions:
    """What a user chooses beside methods and dataset."""

    preset: str = "small"
    seed: int = 0
    device: str = "auto"
    settings: Sequence[str] = ()
    out: Path = Path("leaderboards")
    cache: Path = field(default_factory=default_cache)
    data_root: Path | None = None
    force: bool = False


class Reporter(Protocol):
    """Where a run says what it does; nothing here is a result."""

    def message(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Data:
    """A dataset as loaded for a run."""

    plugin: LoadedPlugin[Dataset[Any]]
    dataset: Dataset[Any]
    splits: Splits

    @property
    def name(self) -> str:
        return self.plugin.entry.name

    def healthy(self) -> tuple[Images, Images]:
        """Training and validation images, as a detector sees them."""
        train, validation = self.splits.train, self.splits.validation
        return Images(train.images, train.image_fingerprint), Images(validation.images, validation.image_fingerprint)


@dataclass(frozen=True)
class Cell:
    """One run to do."""

    plugin: LoadedPlugin[Detector[Any]]
    config: DetectorConfig
    data: Data
    protocol: MeasurementProtocol
    options: RunOptions
    device: torch.device

    @property
    def method(self) -> str:
        return self.plugin.entry.name

    @property
    def config_hash(self) -> str:
        """12 hex digits of everything that decides the numbers, but for seed and device."""
        dataset = self.data.dataset
        identity = {
            "method": self.method,
            "code": self.plugin.cls.info.version,
            "config": self.config.model_dump(mode="json"),
            "dataset": self.data.name,
            "dataset_version": dataset.info.version,
            "dataset_config": dataset.config.model_dump(mode="json"),
            "fingerprint": self.data.splits.fingerprint,
            "protocol": self.protocol.model_dump(mode="json"),
        }
        return canonical_hash(identity)[:12]

    @property
    def record_path(self) -> Path:
        return self.options.out / record_path(self.data.name, self.method, self.config_hash, self.options.seed)

    def detector(self, store: ArtifactStore, reporter: Reporter) -> Detector[Any]:
        """A fresh detector of this cell, not fitted."""
        runtime = Runtime(device=self.device, seed=self.options.seed, store=store, progress=reporter.progress)
        return self.plugin.cls(self.config, runtime)


def build_cells(methods: Sequence[str], dataset: str, options: RunOptions) -> list[Cell]:
    """Check every name and setting, load the data once, and return a cell for each method.

    Raises:
        AdbenchError: anything is wrong with what the user gave; nothing has been written then.
    """
    check_preset(options.preset)
    device = pick_device(options.device)
    settings = parse_settings(options.settings)
    plugins = [load_detector(name) for name in methods]
    source = load_dataset(dataset)
    _check_settings(settings, plugins, source)
    configs = _detector_configs(plugins, settings, options.preset)
    preset = PROTOCOL_PRESETS.get(options.preset, {})
    protocol = resolve(MeasurementProtocol, [preset, settings.protocol], "protocol", "protocol.")
    data = _load_data(source, settings, options)
    _check_region(protocol, data)
    return [Cell(p, c, data, protocol, options, device) for p, c in zip(plugins, configs, strict=True)]


def _check_settings(
    settings: Settings, plugins: Sequence[LoadedPlugin[Detector[Any]]], source: LoadedPlugin[Dataset[Any]]
) -> None:
    """Raise ConfigError for a key that no receiver has, with the nearest key of any."""
    names, dataset = [plugin.entry.name for plugin in plugins], source.entry.name
    detector = sorted({key for plugin in plugins for key in keys(plugin.cls.Config)})
    data = list(keys(source.cls.Config, "data."))
    protocol = list(keys(MeasurementProtocol, "protocol."))
    advice = f"'adbench info {names[0]}' lists them."
    check_known(settings.detector, detector, " or ".join(names), advice, [*data, *protocol])
    check_known((f"data.{key}" for key in settings.data), data, dataset, f"'adbench info {dataset}' lists them.")
    advice = f"They are {', '.join(protocol)}."
    check_known((f"protocol.{key}" for key in settings.protocol), protocol, "the protocol", advice)


def _check_region(protocol: MeasurementProtocol, data: Data) -> None:
    measured = (data.splits.validation, data.splits.test)
    if protocol.region == "brain" and any(split.brains is None for split in measured):
        raise ConfigError(f"protocol.region=brain needs brain masks, but {data.name} has none: use region=image.")


def _detector_configs(
    plugins: Sequence[LoadedPlugin[Detector[Any]]], settings: Settings, preset: str
) -> list[DetectorConfig]:
    """A setting goes to every method that has it."""
    configs = []
    for plugin in plugins:
        own = {k: v for k, v in settings.detector.items() if _has(plugin.cls.Config, k)}
        layers = [plugin.cls.overrides, plugin.cls.presets.get(preset, {}), own]
        configs.append(resolve(plugin.cls.Config, layers, plugin.entry.name))
    return configs


def _has(model: type[BaseModel], key: str) -> bool:
    return key in set(keys(model))


def _load_data(plugin: LoadedPlugin[Dataset[Any]], settings: Settings, options: RunOptions) -> Data:
    layers = [plugin.cls.presets.get(options.preset, {}), settings.data]
    dataset = plugin.cls(resolve(plugin.cls.Config, layers, plugin.entry.name, "data."), options.data_root)
    splits = dataset.load()
    splits.check()
    return Data(plugin, dataset, splits)
