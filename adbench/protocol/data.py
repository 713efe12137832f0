"""The datasets of a run: made, loaded and, with `--train-on`, put together from two.

Without `--train-on` each dataset is trained on its own healthy images (`load`). With it, the healthy images of that set
(`load_healthy`) stand beside the test images of each dataset (`load_test`), as one object, so that parts are trained
once. A dataset that is both trains on its own images as if `--train-on` were not given.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from adbench.config.options import Reporter, RunOptions
from adbench.config.settings import check_known, keys, resolve
from adbench.contracts import registry
from adbench.contracts.dataset import DataRuntime, Dataset, DatasetConfig
from adbench.contracts.registry import LoadedPlugin, load_dataset
from adbench.contracts.splits import Split, Splits, same_name
from adbench.errors import ConfigError, DataError, TuningError, counted
from adbench.protocol.halves import halved

if TYPE_CHECKING:
    from adbench.contracts.detector import Images

Plugin = LoadedPlugin[Dataset[Any]]
CONTRAST = re.compile(r"\b(flair|t1c?|t2|pd)\b")
"""Of MRI, as cards say it."""
FOLDER = "data"
"""Folder below the cache for what datasets prepare."""


@dataclass(frozen=True)
class ConfiguredDataset:
    """A dataset of a run, with its config."""

    plugin: Plugin
    dataset: Dataset[Any]

    @property
    def name(self) -> str:
        """What messages, records and pages call it."""
        return self.dataset.name

    @property
    def registered(self) -> str:
        """The name by which the plugin is found."""
        return self.plugin.entry.name

    @property
    def config(self) -> dict[str, Any]:
        config: DatasetConfig = self.dataset.config
        return config.model_dump(mode="json")


@dataclass(frozen=True)
class TrainedOn:
    """Another dataset that the healthy images come from."""

    source: ConfiguredDataset
    fingerprint: str
    """Of its training and validation images, 16 hex digits."""


@dataclass(frozen=True)
class Data(ConfiguredDataset):
    """A dataset with the images that a run uses."""

    splits: Splits
    train_on: TrainedOn | None = None
    """The other dataset that the healthy images come from; None: this one."""

    def healthy(self) -> tuple[Images, Images]:
        """Training images and the calibration half of the validation images, as a detector sees them."""
        from adbench.contracts.detector import Images  # loads torch, which looking at data does not need

        train, (calibration, _) = self.splits.train, self.halves
        return Images(train.images, train.image_fingerprint), Images(calibration.images, calibration.image_fingerprint)

    @property
    def reference(self) -> Split:
        """The other half, which no method sees before its images are scored: thresholds come from it."""
        return self.halves[1]

    @cached_property
    def halves(self) -> tuple[Split, Split]:
        return halved(self.splits.validation)


def unique(names: str | Sequence[str]) -> list[str]:
    """One name or several as a list, repetitions dropped."""
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))


def plugins(names: Sequence[str], train_on: str | None) -> list[Plugin]:
    """The plugins of all datasets of a run, the one to train on last. Raises PluginError as `load_dataset` does."""
    return [load_dataset(name) for name in unique([*names, *([train_on] if train_on else [])])]


def check_data_settings(settings: Mapping[str, Any], involved: Sequence[Plugin]) -> None:
    """Raise ConfigError for a setting that none of the datasets has, with the nearest key of any."""
    names = [plugin.entry.name for plugin in involved]
    known = sorted({key for plugin in involved for key in keys(plugin.cls.Config, "data.")})
    advice = f"'adbench info {names[0]}' lists them."
    check_known((f"data.{key}" for key in settings), known, " or ".join(names), advice)


def make(plugin: Plugin, settings: Mapping[str, Any], options: RunOptions, reporter: Reporter) -> ConfiguredDataset:
    """Return the dataset with those of the settings that it has. Raises ConfigError where a value is wrong."""
    own = {key: value for key, value in settings.items() if has(plugin.cls.Config, key)}
    layers = [plugin.cls.presets.get(options.preset, {}), own]
    config = resolve(plugin.cls.Config, layers, plugin.entry.name, "data.")
    cache = options.cache / FOLDER
    runtime = DataRuntime(cache=cache, verify=options.verify_data, progress=reporter.progress, notify=reporter.message)
    dataset = instance(plugin.cls, config, options.data_root, runtime)
    _name(dataset, plugin)
    return ConfiguredDataset(plugin, dataset)


def _name(dataset: Dataset[Any], plugin: Plugin) -> None:
    """Call a set by its registered name where its config names none. Raises ConfigError for the name of another."""
    dataset.name = dataset.name or plugin.entry.name
    others = {entry.name for entry in registry.names(registry.DATASETS)} - {plugin.entry.name}
    if dataset.name in others:
        raise ConfigError(
            f"A set of your own has a name of its own, but {dataset.name!r} is a dataset of adbench: give another with "
            f"--set data.name=..., such as {dataset.name}-slices."
        )


def has(model: type[BaseModel], key: str) -> bool:
    """Whether a config class has a dotted key."""
    return key in set(keys(model))


def instance(
    cls: type[Dataset[Any]], config: DatasetConfig, data_root: Path | None, runtime: DataRuntime
) -> Dataset[Any]:
    """Make a dataset; one whose own `__init__` takes config and data root alone gets its runtime afterwards."""
    try:
        inspect.signature(cls).bind(config, data_root, runtime)
    except TypeError:
        dataset = cls(config, data_root)
        dataset.runtime = runtime
        return dataset
    return cls(config, data_root, runtime)


@contextmanager
def naming(source: ConfiguredDataset) -> Iterator[None]:
    """Say of which set a DataError is, where its sentence does not begin with that."""
    try:
        yield
    except DataError as error:
        if str(error).startswith(source.name):
            raise
        raise DataError(f"{source.name}: {error}") from error


def load_untested(source: ConfiguredDataset) -> Data:
    """Load a dataset that is trained on; where it has nothing to test on, its healthy images alone.

    Raises:
        DataError: it has no healthy images, or splits share a subject or an image.
    """
    try:
        return _own(source)
    except DataError as error:
        with naming(source):
            train, validation = source.dataset.load_healthy()
            splits = Splits(train, validation, validation.take(slice(0, 0)))
            splits.check(tested=False)
        source.dataset.runtime.notify(f"{source.name}: its healthy images alone are used ({error})")
        return Data(source.plugin, source.dataset, splits)


def load(sources: Sequence[ConfiguredDataset], names: Sequence[str], train_on: str | None) -> list[Data]:
    """Load and check the data of a run, in the order of `names`; `sources` are all datasets involved.

    Raises:
        DataError: data are missing, or splits share a subject or an image.
        ConfigError: the set to train on has another modality, or images of another size.
    """
    by_name = {source.registered: source for source in sources}
    if train_on is None or set(names) == {train_on}:
        return [_own(by_name[name]) for name in names]
    elsewhere = by_name[train_on]
    for name in names:
        _check_modality(elsewhere, by_name[name])
    with naming(elsewhere):
        healthy = elsewhere.dataset.load_healthy()
    digest = hashlib.sha256("".join(split.fingerprint for split in healthy).encode()).hexdigest()[:16]
    trained = TrainedOn(elsewhere, digest)
    return [_own(elsewhere) if name == train_on else _combined(by_name[name], trained, healthy) for name in names]


def _own(source: ConfiguredDataset) -> Data:
    with naming(source):
        splits = source.dataset.load()
        splits.check()
    return Data(source.plugin, source.dataset, splits)


def _combined(source: ConfiguredDataset, trained: TrainedOn, healthy: tuple[Split, Split]) -> Data:
    with naming(source):
        splits = Splits(*healthy, _of_others(source, trained, healthy))
    _check_size(trained.source, source, splits)
    try:
        splits.check()
    except DataError as error:
        raise DataError(f"Trained on {trained.source.name}, tested on {source.name}: {error}") from error
    return Data(source.plugin, source.dataset, splits, trained)


def _of_others(source: ConfiguredDataset, trained: TrainedOn, healthy: tuple[Split, Split]) -> Split:
    """The test images of a set, but for those of patients that are trained on where both sets have the same ones.

    Raises DataError where none is left.
    """
    test = source.dataset.load_test()
    if trained.source.registered not in source.dataset.has_patients_of:
        return test
    known = {same_name(subject) for split in healthy for subject in split.subjects}
    kept = [i for i, subject in enumerate(test.subjects) if same_name(subject) not in known]
    if len(kept) == len(test):
        return test
    left_out = counted(len(set(test.subjects) - {test.subjects[i] for i in kept}), "subject")
    if not kept:
        raise DataError(f"Something must be left to test on, but {trained.source.name} has {left_out} too: add data.")
    source.dataset.runtime.notify(f"{left_out} left out, for {trained.source.name} has them too")
    return test.take(np.array(kept))


def _check_modality(train: ConfiguredDataset, test: ConfiguredDataset) -> None:
    """Raise ConfigError where one is MRI and the other CT, or both say their contrast and it is not the same."""
    ours, theirs = (source.dataset.info.modality for source in (train, test))
    first = [re.findall(r"\w+", text.casefold())[:1] for text in (ours, theirs)]
    contrasts = {match[0] for text in (ours, theirs) if (match := CONTRAST.search(text.casefold()))}
    if first[0] != first[1] or len(contrasts) > 1:
        raise ConfigError(
            f"Training and test images must be of one modality, but {train.name} is {ours!r} and {test.name} "
            f"{theirs!r}. Name another set with --train-on, set data.modality where one has it, or leave {test.name} "
            "out."
        )


def _check_size(train: ConfiguredDataset, test: ConfiguredDataset, splits: Splits) -> None:
    ours, theirs = splits.train.images.shape[2:], splits.test.images.shape[2:]
    if ours != theirs:
        raise ConfigError(
            f"Training and test images must have one size, but those of {train.name} have {ours[0]} x {ours[1]} pixels "
            f"and those of {test.name} {theirs[0]} x {theirs[1]}. {_mend_size(train, test, ours[0], theirs[0])}"
        )


def _mend_size(train: ConfiguredDataset, test: ConfiguredDataset, ours: int, theirs: int) -> str:
    """The setting that would give both one size, as far as either has it."""
    sized = [source.name for source in (train, test) if has(source.plugin.cls.Config, "size")]
    if not sized:
        return f"See 'adbench info {train.name}' and 'adbench info {test.name}' for settings of the size."
    size = theirs if sized == [train.name] else ours
    return f"Set one for both: --set data.size={size} reaches {' and '.join(sized)}."


def healthy_fingerprint(train: Split, validation: Split) -> str:
    """One hash of the pixels and subjects that tuning sees, 16 hex digits."""
    parts = [train.image_fingerprint, validation.fingerprint]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def check_same_images(tuning: Mapping[str, Any], train: Split, validation: Split) -> None:
    """Raise TuningError where a run trains on other healthy images than those that its settings were tuned on."""
    now = healthy_fingerprint(train, validation)
    if tuning["fingerprint"] != now:
        raise TuningError(
            f"Tuned settings are for the images they were tuned on, but study {tuning['study']!r} had the healthy "
            f"images {tuning['fingerprint']}, and this run {now}. Give the data settings of the study, or tune again."
        )
