"""The score of one trial: fit on healthy images, score synthetic lesions, average over the kinds of lesion.

`dice` is the best Dice over all thresholds, pooled over the images of one kind and
averaged over kinds; `auprc` likewise; `seconds` is the median wall time of `score` on 100 slices in one minibatch,
with nothing kept.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from adbench.config.options import Precision, Reporter, RunOptions
from adbench.config.presets import check_preset
from adbench.config.settings import Settings, check_known, keys, parse_settings, resolve
from adbench.contracts.dataset import Dataset
from adbench.contracts.detector import Detector, DetectorConfig, Runtime
from adbench.contracts.plan import Plan
from adbench.contracts.registry import LoadedPlugin, load_detector
from adbench.contracts.search import Domain
from adbench.devices.clock import clocked
from adbench.devices.device import computing, pick_device
from adbench.devices.precision import decide
from adbench.errors import ConfigError
from adbench.metrics.catalogue import METRICS
from adbench.metrics.maps import Maps
from adbench.metrics.pixels import pixel_metrics
from adbench.protocol import data
from adbench.protocol.planned import plan_of
from adbench.protocol.protocol import MeasurementProtocol
from adbench.protocol.scoring import map_scores
from adbench.storage.kept import KeepsStages, Kept
from adbench.storage.store import ArtifactStore
from adbench.tuning.development import Development, develop
from adbench.tuning.space import TuneOptions, at, contains, searched

QUALITY = {"dice": METRICS["best_dice"], "auprc": METRICS["auprc"]}
"""Objectives that are metrics of synthetic lesions."""
DIRECTIONS = {name: "maximize" if metric.higher_is_better else "minimize" for name, metric in QUALITY.items()}
DIRECTIONS["seconds"] = "minimize"
"""Objective -> what is better, in Optuna's words."""
BATCH = 25
"""Lesioned images scored between two looks at whether the trial is worth going on."""
TIMED_SLICES, TIMED_REPEATS, TIMED_BUDGET_S = 100, 3, 30.0

Report = Callable[[int, float], None]
"""Called with the batch and the first objective so far; raises where the trial should end."""


ByKind = dict[str, dict[str, float]]
"""Kind of lesion -> value of each objective of quality."""


class Outcome(NamedTuple):
    """What a trial's settings came to."""

    values: dict[str, float]
    """By objective; those of quality are means over kinds of lesion."""
    by_kind: ByKind


@dataclass
class Objective:
    """Scores settings of one detector on one dataset's development images."""

    plugin: LoadedPlugin[Detector[Any]]
    layers: list[Mapping[str, Any]]
    """Overrides, preset and `--set`, on which a trial's values are laid."""
    space: Mapping[str, Domain]
    dataset: Dataset[Any]
    development: Development
    region: str
    options: TuneOptions
    reporter: Reporter
    device: torch.device
    precision: Precision
    kept: Kept | None
    """None in the training tier, where no two trials share networks."""

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides what a value of this study means: two runs share a study only where these agree."""
        o, cls = self.options, self.plugin.cls
        return {
            "method": o.method,
            "code": cls.info.version,
            "dataset": o.dataset,
            "dataset version": self.dataset.info.version,
            "dataset config": self.dataset.config.model_dump(mode="json"),
            "fingerprint of the healthy images": self.development.fingerprint,
            "preset": o.preset,
            "set": dict(self.layers[-1]),
            "settings": resolve(cls.Config, self.layers, o.method).model_dump(mode="json"),
            "tier": o.tier,
            "space": {name: repr(domain) for name, domain in sorted(self.space.items())},
            "objectives": list(o.objectives),
            "lesions": {**o.generator.record(), "images": len(self.development.lesioned), "batch": BATCH},
            "region": self.region,
            "seed": o.seed,
            **({} if self.precision == "float32" else {"precision": self.precision}),
        }

    def defaults(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The searched fields as they are without tuning: those that could be drawn, and those outside of the space."""
        config = resolve(self.plugin.cls.Config, self.layers, self.options.method)
        values = {name: at(config, name) for name in self.space}
        inside = {name: value for name, value in values.items() if contains(self.space[name], value)}
        return inside, {name: value for name, value in values.items() if name not in inside}

    def evaluate(self, values: Mapping[str, Any], report: Report | None = None) -> Outcome:
        """Return every objective asked for.

        `report` is called after each batch but the last: what is wholly scored is not worth ending early.

        Raises:
            ConfigError: the values do not go together, or do not suit the images.
            PluginError: the plan breaks.
            ScoreError: a score map has the wrong shape, NaN or infinity.
        """
        self.plan(values)  # knows at once what training would in hours
        with computing(self.device, self.precision):
            detector = self._detector(values)
            detector.fit(self.development.healthy, self.development.validation)
            by_kind = self._quality(detector, report)
            values = {name: _mean(by_kind, name) for name in QUALITY}
            if "seconds" in self.options.objectives:
                values["seconds"] = self._seconds(detector)
            return Outcome(values, by_kind)

    def _quality(self, detector: Detector[Any], report: Report | None) -> ByKind:
        maps: dict[str, list[Maps]] = {kind: [] for kind in dict.fromkeys(self.development.lesioned.kinds)}
        *batches, last = (slice(start, start + BATCH) for start in range(0, len(self.development.lesioned), BATCH))
        for i, batch in enumerate(batches):
            self._score(detector, batch, maps)
            if report:
                report(i, _mean(_measured(maps), self.options.objectives[0]))
        self._score(detector, last, maps)
        return _measured(maps)

    def plan(self, values: Mapping[str, Any]) -> Plan:
        """What a trial will do. Raises AdbenchError naming the method where it cannot say (`plan_of`)."""
        development = self.development
        return plan_of(self.plugin, *self._config_and_runtime(values), development.healthy, development.validation)

    def _config_and_runtime(self, values: Mapping[str, Any]) -> tuple[DetectorConfig, Runtime]:
        store = ArtifactStore.below(self.options.cache, self.reporter.message)
        config = resolve(self.plugin.cls.Config, [*self.layers, values], self.options.method)
        return config, Runtime(self.device, self.options.seed, store, self.reporter.progress)

    def _detector(self, values: Mapping[str, Any]) -> Detector[Any]:
        detector = self.plugin.cls(*self._config_and_runtime(values))
        if isinstance(detector, KeepsStages):
            detector.kept = self.kept
        return detector

    def _score(self, detector: Detector[Any], batch: slice, scored: Mapping[str, list[Maps]]) -> None:
        """Score a batch and add its maps to those of each kind."""
        lesioned = self.development.lesioned
        images = torch.from_numpy(lesioned.images[batch].copy()).to(self.device)
        maps = map_scores(detector, images, self.options.method)
        kinds = np.array(lesioned.kinds[batch])
        for kind in dict.fromkeys(kinds.tolist()):
            of_kind = kinds == kind
            valid = None if lesioned.valid is None else lesioned.valid[batch][of_kind]
            scored[kind].append((kind, maps[of_kind], lesioned.lesions[batch][of_kind], valid))

    def _seconds(self, detector: Detector[Any]) -> float:
        """Median seconds to score 100 slices in one minibatch, after one run that is not counted, nothing kept."""
        if isinstance(detector, KeepsStages):
            detector.kept = None
        images = self.development.lesioned.images
        chosen = images[np.resize(np.arange(len(images)), TIMED_SLICES)]
        batch = torch.from_numpy(chosen).to(self.device)
        first = clocked(lambda: detector.score(batch), self.device)
        if first > TIMED_BUDGET_S:  # of a run that long, the warm-up is a small part
            return first
        return statistics.median(clocked(lambda: detector.score(batch), self.device) for _ in range(TIMED_REPEATS))


def _measured(maps: Mapping[str, list[Maps]]) -> ByKind:
    """The objectives of quality for each kind of lesion scored so far; an undefined one counts 0."""
    metrics = {kind: pixel_metrics(lambda own=own: own) for kind, own in maps.items() if own}  # type: ignore[misc]
    return {
        kind: {name: getattr(of, metric.key) or 0.0 for name, metric in QUALITY.items()} for kind, of in metrics.items()
    }


def _mean(by_kind: ByKind, objective: str) -> float:
    """Mean over kinds of lesion."""
    return statistics.fmean(values[objective] for values in by_kind.values())


def prepare(options: TuneOptions, reporter: Reporter) -> Objective:
    """Check every name and setting, load the healthy images, draw the lesions and ask for the plan.

    Raises:
        AdbenchError: anything is wrong with what the user gave, there is nothing to search, or the plan breaks.
    """
    check_preset(options.preset)
    device = pick_device(options.device)
    plugin = load_detector(options.method)
    (source,) = data.plugins([options.dataset], None)
    settings = parse_settings(options.settings)
    _check_settings(settings, plugin, options)
    data.check_data_settings(settings.data, [source])
    layers = [plugin.cls.overrides, plugin.cls.presets.get(options.preset, {}), settings.detector]
    resolve(plugin.cls.Config, layers, options.method)
    space = searched(plugin.cls, options.tier, settings.detector, options.method)
    protocol = resolve(MeasurementProtocol, [settings.protocol], "protocol", "protocol.")
    run_options = RunOptions(preset=options.preset, cache=options.cache, data_root=options.data_root)
    dataset = data.make(source, settings.data, run_options, reporter).dataset
    development = develop(dataset, options.generator, options.images, protocol.region)
    precision = decide(device, options.precision, options.cache, reporter.message)
    folder = options.cache / "tuning" / "kept" / f"{device.type}-{precision}"  # never mixed
    kept = Kept(folder, progress=reporter.progress) if options.tier == "inference" else None
    objective = Objective(
        plugin, layers, space, dataset, development, protocol.region, options, reporter, device, precision, kept
    )
    with suppress(ConfigError):  # other values of the space may suit the images where these do not
        objective.plan({})
    return objective


def _check_settings(settings: Settings, plugin: LoadedPlugin[Detector[Any]], options: TuneOptions) -> None:
    known = sorted(keys(plugin.cls.Config))
    check_known(settings.detector, known, options.method, f"'adbench info {options.method}' lists them.")
    if set(settings.protocol) - {"region"}:
        raise ConfigError(
            f"Tuning has one setting of the protocol, protocol.region, got {', '.join(settings.protocol)}."
        )
