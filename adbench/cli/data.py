"""`adbench data`: look at data before anything is trained on them.

`check` says what is in the data folder, `prepare` does the work that a run would begin with, and `preview` draws a
sheet of slices. Results go to stdout, progress to stderr, as everywhere.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adbench.cli import console
from adbench.cli.arguments import Cache, DataRoot, Preset, SeveralCommand, TrainOn, VerifyData, split_names
from adbench.config.presets import check_preset
from adbench.contracts import registry
from adbench.errors import DataError, counted

if TYPE_CHECKING:
    from adbench.config.options import Reporter, RunOptions
    from adbench.contracts.dataset import Dataset
    from adbench.contracts.splits import Split
    from adbench.protocol.data import ConfiguredDataset, Plugin

SHOWN = 20
"""Problems that `check` prints without --all."""

app = typer.Typer(help="Look at data before anything is trained on them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="DATASET", help="The dataset.", show_default=False)]
DataSettings = Annotated[
    list[str] | None, typer.Option("--set", metavar="data.KEY=VALUE", help="Setting of a dataset, after its name.")
]


class Role(StrEnum):
    """Which images to draw."""

    train = "train"
    validation = "validation"
    test = "test"


@app.command(cls=SeveralCommand)
def check(
    dataset: Name,
    data_root: DataRoot = None,
    preset: Preset = "small",
    settings: DataSettings = None,
    cache: Cache = None,
    verify_data: VerifyData = False,
    show_all: Annotated[bool, typer.Option("--all", help="Print every problem.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print facts, notes and problems as JSON.")] = False,
) -> None:
    """Say what is in the data folder and what is wrong with it; fail where a problem must be mended first."""
    options = _options(preset, settings, cache, data_root, verify_data)

    from adbench.protocol.data import naming

    with console.working() as reporter:
        (source,) = _sources(_find([dataset]), options, reporter)
        said = _overheard(source.dataset)
        with naming(source):
            findings = source.dataset.inspect()
    name = source.name
    problems = findings.problems
    if as_json:
        listed = [asdict(problem) for problem in sorted(problems, key=lambda problem: (problem.skipped, problem.file))]
        alike = [asdict(one) for one in findings.alike()]
        found = {"facts": findings.facts, "notes": said, "problems": listed, "kinds": alike}
        console.say_json({"dataset": name, **found})
    else:
        console.show_findings(name, findings, len(problems) if show_all else SHOWN)
    stopping = sum(not problem.skipped for problem in problems)
    if stopping:
        console.complain(f"{stopping} of {counted(len(problems), 'problem')} must be mended before {name} can be used")
        raise typer.Exit(console.FAILED)


def _overheard(dataset: Dataset[Any]) -> list[str]:
    """What the dataset says from now on, such as what it assumes while it reads; the user sees it too."""
    said: list[str] = []
    tell = dataset.runtime.notify

    def both(text: str) -> None:
        said.append(text)
        tell(text)

    dataset.runtime = replace(dataset.runtime, notify=both)
    return said


@app.command(cls=SeveralCommand)
def prepare(
    datasets: Annotated[
        list[str], typer.Argument(metavar="DATASET...", help="One or more datasets.", show_default=False)
    ],
    train_on: TrainOn = None,
    data_root: DataRoot = None,
    preset: Preset = "small",
    settings: DataSettings = None,
    cache: Cache = None,
    verify_data: VerifyData = False,
) -> None:
    """Read, check and keep what `adbench run` with the same options would use, and print what there is."""
    names = split_names(datasets)
    plugins = _find([*names, *([train_on] if train_on else [])])
    options = _options(preset, settings, cache, data_root, verify_data)

    from adbench.protocol import data

    with console.working() as reporter:
        loaded = data.load(_sources(plugins, options, reporter), names, train_on)
    for each in loaded:
        console.show_prepared(each.name, each.train_on.source.name if each.train_on else None, each.splits)
    console.say(f"kept below {options.cache / data.FOLDER}, where a dataset keeps anything")


@app.command(cls=SeveralCommand)
def preview(
    dataset: Name,
    out: Annotated[Path, typer.Option("-o", "--output", help="Image to write: .png or .jpg.", show_default=False)],
    split: Annotated[Role, typer.Option(help="Which images.")] = Role.test,
    count: Annotated[int, typer.Option(min=1, max=1000, help="Slices on the sheet.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice.")] = 0,
    brain: Annotated[bool, typer.Option("--brain", help="Draw the outline of the brain mask too.")] = False,
    data_root: DataRoot = None,
    preset: Preset = "small",
    settings: DataSettings = None,
    cache: Cache = None,
) -> None:
    """Draw slices with the outlines of their lesions, even over subjects, on one sheet."""
    from adbench.cli import preview as sheet

    sheet.check_output(out)
    plugins = _find([dataset])
    with console.working() as reporter:
        (source,) = _sources(plugins, _options(preset, settings, cache, data_root), reporter)
        images = _images(source.dataset, split)
    if not len(images):
        raise DataError(f"A sheet needs at least one image, but the {split} split of {source.name} is empty.")
    chosen = sheet.choose(images, count, seed)
    sheet.write(sheet.draw(images, chosen, f"{source.name}, {split}", brain), out)
    console.say(f"{out}: {len(chosen)} of {len(images)} slices")


def _images(dataset: Dataset[Any], split: Role) -> Split:
    """Images as a run on the dataset has them; all to test on where it has no split of its own."""
    if split is Role.test:
        try:
            return dataset.load().test
        except DataError:
            return dataset.load_test()
    return dataset.load_healthy()[0 if split is Role.train else 1]


def _find(names: list[str]) -> list[Plugin]:
    """Look all names up before any plugin is imported."""
    for name in names:
        registry.find(registry.DATASETS, name)

    from adbench.protocol import data

    return data.plugins(names, None)


def _options(
    preset: str, settings: list[str] | None, cache: Path | None, data_root: Path | None, verify_data: bool = False
) -> RunOptions:
    check_preset(preset)
    from adbench.config.options import RunOptions, default_cache

    return RunOptions(
        preset=preset,
        settings=settings or (),
        cache=cache or default_cache(),
        data_root=data_root,
        verify_data=verify_data,
    )


def _sources(plugins: list[Plugin], options: RunOptions, reporter: Reporter) -> list[ConfiguredDataset]:
    """The datasets with their settings; one that is none of a dataset's is an error."""
    from adbench.config.settings import check_known, keys, parse_settings
    from adbench.protocol import data

    settings = parse_settings(options.settings)
    known = [key for plugin in plugins for key in keys(plugin.cls.Config, "data.")]
    strange = [*settings.detector, *(f"protocol.{key}" for key in settings.protocol)]
    names = " or ".join(plugin.entry.name for plugin in plugins)
    check_known(strange, [], names, "Settings of a dataset are written data.KEY=VALUE.", known)
    data.check_data_settings(settings.data, plugins)
    return [data.make(plugin, settings.data, options, reporter) for plugin in plugins]
