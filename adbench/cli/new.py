"""`adbench new`: a package of one's own, outside this repository, that adbench finds by its entry point."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from adbench.cli import console
from adbench.contracts import registry
from adbench.errors import ConfigError
from adbench.storage.files import writing

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 32
"""Characters of a name: lines of the templates that hold it stay below the line length."""

app = typer.Typer(help="Write a package of your own, with a detector or a dataset that works.", no_args_is_help=True)

Out = Annotated[Path | None, typer.Option(help="Folder of the package, absent or empty.  [default: adbench-NAME]")]


@app.command()
def detector(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the method.", show_default=False)],
    out: Out = None,
    trained: Annotated[bool, typer.Option("--trained", help="With a network, its loss and its training.")] = False,
) -> None:
    """Write an installable package with a small detector, its config, its contract test and a README."""
    run = f"adbench run --method {name} --dataset phantom --preset smoke --out results"
    _write("detector", name, out, run, "trained_detector" if trained else "detector")


@app.command()
def dataset(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the dataset.", show_default=False)],
    out: Out = None,
) -> None:
    """Write an installable package with a small generated dataset, its config, its contract test and a README."""
    run = f"adbench run --method intensity --dataset {name} --preset smoke --out results"
    _write("dataset", name, out, run, "dataset")


def _write(noun: str, name: str, out: Path | None, run: str, template: str) -> None:
    """Write the package and say how to go on. Raises ConfigError where a name or the folder cannot be used."""
    check_name(noun, name)
    folder = out or Path(f"adbench-{name}")
    files = render(noun, name, run, template)
    with writing("The package", folder, "Name another folder with --out.", ConfigError):
        _check_folder(folder)
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, "utf-8")
    for path in files:
        console.say(str(folder / path))
    console.say(f"go on: cd {quote(str(folder))}; pip install -e '.[dev]'; pytest; {run}", command=True)


def check_name(noun: str, name: str) -> None:
    """Raise ConfigError where `name` is no name, is registered already, or gives a package that is there already."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise ConfigError(
            f"The name of a {noun} is one or more words of lower-case letters and digits, joined by hyphens, begins "
            f"with a letter and has at most {LONGEST} characters, got {name!r}. Choose another, such as my-{noun}."
        )
    group = {of: group for group, of in registry.NOUNS.items()}[noun]
    for entry in registry.names(group):
        if entry.name == name:
            raise ConfigError(
                f"Every {noun} needs a name of its own, but {name!r} is registered by {entry.distribution} "
                f"{entry.version}. Choose another name."
            )
    if find_spec(_package(name)):
        raise ConfigError(
            f"The {noun} {name!r} would lie in a package {_package(name)!r}, but one can be imported already. "
            "Choose another name, or uninstall that package."
        )


def render(noun: str, name: str, run: str, template: str) -> Mapping[str, str]:
    """Return the text of each file of the package by its path.

    run: the command that its README shows; template: of its module and of its test.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("adbench.cli"), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    package = _package(name)
    words = {
        "noun": noun,
        "name": name,
        "package": package,
        "cls": "".join(word.capitalize() for word in name.split("-")) + noun.capitalize(),
        "run": run,
    }
    files = {
        "pyproject.toml": "pyproject.toml.j2",
        "README.md": "README.md.j2",
        f"{package}/__init__.py": "init.py.j2",
        f"{package}/{noun}.py": f"{template}.py.j2",
        "tests/test_contract.py": f"test_{template}.py.j2",
    }
    return {path: templates.get_template(file).render(words) for path, file in files.items()}


def _package(name: str) -> str:
    return f"adbench_{name.replace('-', '_')}"


def _check_folder(folder: Path) -> None:
    """Raise ConfigError where the folder holds anything."""
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(
            f"A package is written into a folder that is absent or empty, but {folder} holds files. "
            "Name another folder with --out, or empty it."
        )
