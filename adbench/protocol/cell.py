"""A cell of the benchmark: one method with its config, on one dataset, with one seed, under one protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import torch

from adbench.config.options import Precision, Reporter, RunOptions, Silent
from adbench.config.presets import check_preset
from adbench.config.settings import Settings, check_known, keys, parse_settings, resolve
from adbench.contracts.dataset import Dataset
from adbench.contracts.detector import Detector, DetectorConfig, Runtime
from adbench.contracts.plan import Plan
from adbench.contracts.registry import LoadedPlugin, load_detector
from adbench.devices.device import computing, pick_devices
from adbench.devices.precision import decide_for_all
from adbench.errors import ConfigError
from adbench.protocol import data
from adbench.protocol.data import ConfiguredDataset, Data
from adbench.protocol.identity import DatasetIdentity, config_hash
from adbench.protocol.planned import plan_of
from adbench.protocol.protocol import PROTOCOL_PRESETS, MeasurementProtocol
from adbench.results.record import record_path
from adbench.storage.depot import Depot
from adbench.storage.spec import canonical_hash, changed_fields
from adbench.storage.store import ArtifactStore
from adbench.storage.travel import fetch_or_say


@dataclass(frozen=True)
class Cell:
    """One run to do."""

    plugin: LoadedPlugin[Detector[Any]]
    config: DetectorConfig
    data: Data
    protocol: MeasurementProtocol
    options: RunOptions
    device: torch.device
    precision: Precision
    beside: Sequence[torch.device] = ()
    """Further devices, of the same type, which score beside the first."""

    @property
    def method(self) -> str:
        return self.plugin.entry.name

    @cached_property
    def plan(self) -> Plan:
        """What the detector will do. Raises AdbenchError naming the method where it cannot say (`plan_of`)."""
        with self.computing():
            runtime = self._runtime(ArtifactStore.below(self.options.cache), Silent())
            return plan_of(self.plugin, self.config, runtime, *self.data.healthy())

    @property
    def part_versions(self) -> dict[str, int]:
        """Kind -> code version of the parts that the method is made of."""
        return {part.spec.kind: part.spec.version for part in self.plan.parts}

    @cached_property
    def config_hash(self) -> str:
        """12 hex digits of everything that decides the numbers of a record, but for seed and device."""
        train_on = self.data.train_on
        return config_hash(
            self.method,
            self.plugin.cls.info.version,
            self.config,
            _identity(self.data, self.data.splits.fingerprint),
            self.protocol,
            self.part_versions,
            _identity(train_on.source, train_on.fingerprint) if train_on else None,
            self.options.tuning,
        )

    @cached_property
    def scores_hash(self) -> str:
        """12 hex digits of all that decides the score of an image, but for the image itself and the seed.

        Neither the rest of the protocol nor the names, versions and configs of datasets or of a study do: what they
        change is in the config, in the images or not in the scores.
        """
        healthy, validation = self.data.healthy()
        identity = {
            "method": self.method,
            "code": self.plugin.cls.info.version,
            "config": changed_fields(self.config),
            "parts": [part.spec.key for part in self.plan.parts],
            "fitted on": [healthy.fingerprint, validation.fingerprint],
            "protocol": self.protocol.deciding_scores(),
            "device": [self.device.type, self.precision],
        }
        return canonical_hash(identity)[:12]

    @cached_property
    def record_path(self) -> Path:
        return self.options.out / record_path(self.data.name, self.method, self.config_hash, self.options.seed)

    def with_seed(self, seed: int) -> Cell:
        """The same cell but for the seed, on the data that this one has loaded."""
        if seed == self.options.seed:
            return self
        other = replace(self, options=replace(self.options, seed=seed))
        other.__dict__["config_hash"] = self.config_hash
        return other

    def computing(self) -> AbstractContextManager[None]:
        """Within the block all is computed as this cell says, in its precision."""
        return computing(self.device, self.precision)

    def store(self, reporter: Reporter | None = None) -> ArtifactStore:
        """Where the parts and the scored batches of this cell are kept."""
        store = ArtifactStore.below(self.options.cache, (reporter or Silent()).message)
        return store.made_for(f"{self.method} on {self.data.name}")

    def store_of_parts(self, reporter: Reporter) -> ArtifactStore:
        """The same store, which asks the depot of the run for a part before it is made."""
        trained_on = self.data.train_on.source.name if self.data.train_on else self.data.name
        store = self.store(reporter).made_for(f"{self.method} on {trained_on}")
        if self.options.parts is None:
            return store
        depot = Depot(self.options.parts)
        return store.looking(lambda key: fetch_or_say(store, depot, key))

    def detector(self, store: ArtifactStore, reporter: Reporter) -> Detector[Any]:
        """A fresh detector of this cell, not fitted."""
        return self.plugin.cls(self.config, self._runtime(store, reporter))

    def _runtime(self, store: ArtifactStore, reporter: Reporter) -> Runtime:
        return Runtime(device=self.device, seed=self.options.seed, store=store, progress=reporter.progress)


def _identity(of: ConfiguredDataset, fingerprint: str) -> DatasetIdentity:
    return DatasetIdentity(of.name, of.dataset.info.version, of.dataset.config, fingerprint)


def build_cells(
    methods: Sequence[str],
    datasets: str | Sequence[str],
    options: RunOptions,
    reporter: Reporter | None = None,
    tested: bool = True,
) -> list[Cell]:
    """Check names and settings, load the data once, plan, return a cell for each dataset, method and region, in order.

    Unless it is `tested`, a dataset may have healthy images alone.

    Raises:
        AdbenchError: anything is wrong with what the user gave, a method does not suit the data, or its plan breaks;
            nothing has been written then.
    """
    check_preset(options.preset)
    if options.parts is not None:
        Depot(options.parts).check()
    device, *beside = devices = pick_devices(options.device)
    settings = parse_settings(options.settings)
    plugins = [load_detector(name) for name in methods]
    names = data.unique(datasets)
    involved = data.plugins(names, options.train_on)
    _check_settings(settings, plugins, involved)
    configs = _detector_configs(plugins, settings, options.preset)
    protocols = _protocols(settings.protocol, PROTOCOL_PRESETS.get(options.preset, {}))
    sources = [data.make(plugin, settings.data, options, reporter or Silent()) for plugin in involved]
    loaded = data.load(sources, names, options.train_on) if tested else [data.load_untested(each) for each in sources]
    for each, protocol in product(loaded, protocols):
        _check_region(protocol, each)
    pairs = zip(plugins, configs, strict=True)
    precision = decide_for_all(devices, options.precision, options.cache, (reporter or Silent()).message)
    whole = product(loaded, pairs, protocols)
    cells = [Cell(p, c, each, protocol, options, device, precision, beside) for each, (p, c), protocol in whole]
    for cell in cells:
        cell.data.reference  # noqa: B018
        cell.plan  # noqa: B018  # what it raises is said before hours are spent on the others
    return cells


def _protocols(given: Mapping[str, Any], preset: Mapping[str, Any]) -> list[MeasurementProtocol]:
    """One for each region and post-processing named: `protocol.region=image,brain` measures both on the same scores."""
    fields = MeasurementProtocol.model_fields
    named = {key: str(given.get(key, fields[key].default)).split(",") for key in ("region", "postprocess")}
    choices = [[(key, value.strip()) for value in dict.fromkeys(values)] for key, values in named.items()]
    layers = ([preset, given, dict(choice)] for choice in product(*choices))
    return [resolve(MeasurementProtocol, each, "protocol", "protocol.") for each in layers]


def _check_settings(
    settings: Settings, plugins: Sequence[LoadedPlugin[Detector[Any]]], involved: Sequence[LoadedPlugin[Dataset[Any]]]
) -> None:
    """Raise ConfigError for a key that no receiver has, with the nearest key of any."""
    names = [plugin.entry.name for plugin in plugins]
    detector = sorted({key for plugin in plugins for key in keys(plugin.cls.Config)})
    of_data = [key for plugin in involved for key in keys(plugin.cls.Config, "data.")]
    protocol = list(keys(MeasurementProtocol, "protocol."))
    advice = f"'adbench info {names[0]}' lists them."
    check_known(settings.detector, detector, " or ".join(names), advice, [*of_data, *protocol])
    data.check_data_settings(settings.data, involved)
    advice = f"They are {', '.join(protocol)}."
    check_known((f"protocol.{key}" for key in settings.protocol), protocol, "the protocol", advice)


def _check_region(protocol: MeasurementProtocol, data: Data) -> None:
    trained_on = data.train_on.source.name if data.train_on else data.name
    for name, split in ((trained_on, data.splits.validation), (data.name, data.splits.test)):
        if protocol.region == "brain" and split.brains is None:
            raise ConfigError(f"protocol.region=brain needs brain masks, but {name} has none: use region=image.")


def _detector_configs(
    plugins: Sequence[LoadedPlugin[Detector[Any]]], settings: Settings, preset: str
) -> list[DetectorConfig]:
    """A setting goes to every method that has it."""
    configs = []
    for plugin in plugins:
        own = {k: v for k, v in settings.detector.items() if data.has(plugin.cls.Config, k)}
        layers = [plugin.cls.overrides, plugin.cls.presets.get(preset, {}), own]
        configs.append(resolve(plugin.cls.Config, layers, plugin.entry.name))
    return configs
