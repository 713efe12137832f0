"""`adbench tune`: the command. What needs torch or Optuna is imported when a study is opened."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adbench.cli import console
from adbench.cli.arguments import Cache, DataRoot, Device, PrecisionChoice, Preset
from adbench.config.options import MAX_SEED, default_cache
from adbench.config.presets import check_preset
from adbench.contracts import registry
from adbench.errors import TuningError

if TYPE_CHECKING:
    from optuna import Study

    from adbench.tuning.space import TuneOptions


class Tier(StrEnum):
    """Which fields of the search space."""

    inference = "inference"
    training = "training"


Storage = Annotated[
    str | None,
    typer.Option(help="Where studies are: sqlite:///, postgresql:// or journal:///  [default: SQLite in the cache]"),
]


def tune(
    method: Annotated[str | None, typer.Option(help="The method.", show_default=False)] = None,
    dataset: Annotated[str, typer.Option(help="The dataset; its test images are never looked at.")] = "phantom",
    trials: Annotated[int, typer.Option(min=1, help="Trials of the study, those of earlier commands included.")] = 100,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds after which no trial is begun.")] = None,
    study: Annotated[str | None, typer.Option(help="Name  [default: METHOD-DATASET-PRESET-TIER]")] = None,
    storage: Storage = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that share the study.")] = 1,
    tier: Annotated[Tier, typer.Option(help="inference reuses trained parts, training makes others.")] = Tier.inference,
    objective: Annotated[str, typer.Option(help="dice or auprc, or either with seconds: dice,seconds.")] = "dice",
    images: Annotated[int, typer.Option(min=1, help="Images with a synthetic lesion.")] = 100,
    data_root: DataRoot = None,
    preset: Preset = "small",
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of training, scoring, lesions and search.")] = 0,
    device: Device = "auto",
    precision: PrecisionChoice = "auto",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Setting of the method (then not searched) or data.KEY."),
    ] = None,
    cache: Cache = None,
    report: Annotated[str | None, typer.Option(metavar="STUDY", help="Write a page on a study; tune nothing.")] = None,
    out: Annotated[Path, typer.Option("-o", "--output", help="Folder for the page of --report.")] = Path("tuning"),
) -> None:
    """Choose a method's settings on synthetic lesions, drawn on healthy validation images."""
    folder = cache or default_cache()
    if report:
        from adbench.tuning.report import write_report

        for path in write_report(report, storage, folder, out):
            console.say(str(path))
        return
    if method is None:
        raise TuningError("Tuning needs a method: give --method NAME, or --report STUDY for a page.")
    registry.find(registry.DETECTORS, method)  # names are checked before torch is imported
    registry.find(registry.DATASETS, dataset)
    check_preset(preset)
    given: dict[str, Any] = {
        "study": study,
        "storage": storage,
        "trials": trials,
        "timeout_s": timeout,
        "jobs": jobs,
        "tier": tier.value,
        "objectives": tuple(name.strip() for name in objective.split(",") if name.strip()),
        "images": images,
        "preset": preset,
        "settings": tuple(settings or ()),
        "seed": seed,
        "device": device,
        "precision": precision,
        "cache": folder,
        "data_root": data_root,
    }
    _tune(method, dataset, given)


def _tune(method: str, dataset: str, given: dict[str, Any]) -> None:
    from adbench.tuning import workers
    from adbench.tuning.space import TuneOptions
    from adbench.tuning.synthetic import LesionGenerator

    options = TuneOptions(method, dataset, generator=LesionGenerator(seed=given["seed"]), **given)
    with console.working() as reporter:
        study = workers.tune(options, reporter)
    _show(study, options)


def _show(study: Study, options: TuneOptions) -> None:
    """Print the best trial (of several objectives the Pareto front), and how to go on."""
    from adbench.config.urls import shown
    from adbench.tuning import places, studies, trials, tuned

    all_trials = studies.trials_of(study)
    ranked = studies.ranked(study.directions, all_trials)
    best = study.best_trials if len(options.objectives) > 1 else ranked[:1]
    for trial in best:
        console.say(trials.describe(trial, options.objectives))
    url = shown(options.storage or places.default_storage(options.cache))
    console.say(f"{len(studies.finished(all_trials))} trials of study {study.study_name} in {url}")
    storage = url if options.storage else None
    where = _again({"storage": storage, "cache": None if options.cache == default_cache() else options.cache})
    data = _again({"data-root": options.data_root})
    console.say(f"use them: {tuned.command(study)}{data}{where}", command=True)
    console.say(f"look at them: adbench tune --report {study.study_name}{where}", command=True)


def _again(given: dict[str, object]) -> str:
    """Options as they are to be given again, those that are not None."""
    return "".join(f" --{name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None)
