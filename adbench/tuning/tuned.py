"""What a study found, for `adbench run --tuned STUDY`: settings to run with, and what the record says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from adbench.config.nested import flat
from adbench.config.options import RunOptions
from adbench.config.settings import parse_settings, resolve
from adbench.contracts.registry import load_detector
from adbench.errors import TuningError
from adbench.protocol.protocol import MeasurementProtocol
from adbench.storage.spec import canonical_hash
from adbench.tuning import places, studies


@dataclass(frozen=True)
class Tuned:
    """Values of a trial, and where they come from."""

    values: dict[str, Any]
    """Of the fields that were searched, and of those that `--set` fixed while they were."""
    record: dict[str, Any]
    """For `Record.tuning`: study, objectives, trials, budget, values, generator, seed and fingerprint."""


def tuned_settings(
    name: str, storage: str | None, cache: Path, method: str, dataset: str, preset: str, given: Sequence[str] = ()
) -> Tuned:
    """Return the best trial of a study, or with `STUDY#NUMBER` that one, for a run of `method`.

    `dataset` is the one that the run trains on, and `given` its `--set` values, which may not change the method's
    settings: networks trained otherwise, say, have other best thresholds.

    Raises:
        TuningError: no such study or trial, none that succeeded, or it is of another method, version of its code,
            dataset, preset or region, or of other settings of the method.
    """
    with places.reaching(url := storage or places.default_storage(cache)):
        study = studies.load_study(url, name.partition("#")[0])
        trial = chosen(study, name)
    identity = study.user_attrs[studies.IDENTITY]
    asked = parse_settings(given)
    code, region = load_detector(method).cls.info.version, asked.protocol.get("region", MeasurementProtocol().region)
    ours = {"method": method, "code": code, "dataset": dataset, "preset": preset, "region": region}
    for what, now in ours.items():
        if identity[what] != now:
            raise TuningError(
                f"Tuned settings are for what they were tuned for, but study {study.study_name!r} has the {what} "
                f"{identity[what]}, and this run {now}. Run with that one, or tune for this one."
            )
    values = {**identity["set"], **studies.values_of(trial)}
    _check_settings(study, trial, [values, asked.detector])
    return Tuned(values, record(study, trial))


def settings_for_run(
    name: str, storage: str | None, options: RunOptions, methods: Sequence[str], datasets: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return all settings of a run with `--tuned`, as `--set` takes them, and what its record says of the tuning.

    Raises:
        TuningError: as `tuned_settings` does, or the run has several methods, or several sets to train on.
    """
    sources = [options.train_on] if options.train_on else list(dict.fromkeys(datasets))
    if len(methods) != 1 or len(sources) != 1:
        raise TuningError(
            f"A study is of one method, trained on one dataset, but this run has {', '.join(methods)} on "
            f"{', '.join(sources)}. Run one at a time with --tuned."
        )
    tuned = tuned_settings(name, storage, options.cache, methods[0], sources[0], options.preset, options.settings)
    texts = (f"{key}={json.dumps(value)}" for key, value in tuned.values.items())
    return (*texts, *options.settings), tuned.record


def chosen(study: optuna.Study, name: str) -> FrozenTrial:
    """The trial that `STUDY#NUMBER` names, or the best one. Raises TuningError where it has no values."""
    _, hash_sign, number = name.partition("#")
    trials = studies.trials_of(study)
    ranked = studies.ranked(study.directions, trials)
    if hash_sign:
        for trial in ranked:
            if str(trial.number) == number:
                return trial
        raise TuningError(f"No trial {number!r} of study {study.study_name!r} is complete: see adbench tune --report.")
    if not ranked:
        studies.check_some_succeeded(study.study_name, studies.finished(trials))
        raise TuningError(f"Study {study.study_name!r} has no complete trial yet: run adbench tune to go on with it.")
    return ranked[0]


def command(study: optuna.Study) -> str:
    """The command that uses what a study found."""
    identity = study.user_attrs[studies.IDENTITY]
    options = " ".join(f"--{name} {identity[name]}" for name in ("method", "dataset", "preset"))
    return f"adbench run {options} --tuned {study.study_name} --out results"


def record(study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
    """All that is needed to believe, or repeat, a tuned run."""
    identity = study.user_attrs[studies.IDENTITY]
    trials = studies.trials_of(study)
    spent = [t.duration.total_seconds() for t in trials if t.duration]
    return {
        "study": study.study_name,
        "identity": canonical_hash(identity)[:12],
        "trial": trial.number,
        "objectives": dict(zip(identity["objectives"], trial.values, strict=True)),
        "trials": len(studies.finished(trials)),
        "pruned": sum(t.state == TrialState.PRUNED for t in trials),
        "budget_s": round(sum(spent), 3),
        "values": studies.values_of(trial),
        "set": identity["set"],
        "tier": identity["tier"],
        "preset": identity["preset"],
        "dataset": identity["dataset"],
        "fingerprint": identity["fingerprint of the healthy images"],
        "generator": identity["lesions"],
        "region": identity["region"],
        "seed": identity["seed"],
    }


def _check_settings(study: optuna.Study, trial: FrozenTrial, layers: Sequence[Mapping[str, Any]]) -> None:
    """Raise TuningError where a run's settings of the method are not the trial's: `layers` lie on its preset."""
    identity = study.user_attrs[studies.IDENTITY]
    cls = load_detector(identity["method"]).cls
    config = resolve(cls.Config, [cls.overrides, cls.presets.get(identity["preset"], {}), *layers], identity["method"])
    ours = flat(config.model_dump(mode="json"))
    for key, value in {**flat(identity["settings"]), **studies.values_of(trial)}.items():
        if key in ours and ours[key] != value:
            raise TuningError(
                f"A tuned run has its study's settings of the method, but {key} of study {study.study_name!r} is "
                f"{value}, and of this run {ours[key]}. Leave it out of --set, or tune with it."
            )
