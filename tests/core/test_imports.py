"""What importing the command line brings along; who may import whom is checked by `make lint`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path for folder in ("baselines", "datasets") for path in (ROOT / folder).rglob("*.py"))
PLUGIN_PACKAGES = {"adbench_baselines", "adbench_datasets"}

LIGHT = (
    *("cli.app", "cli.arguments", "cli.calibrate", "cli.console", "cli.data", "cli.leaderboard", "cli.model"),
    *("cli.new", "cli.plugins", "cli.predict", "cli.progress", "cli.run", "cli.table", "cli.tune"),
    *("config.nested", "config.options", "config.presets", "config.settings", "contracts.registry"),
    *("devices.backends", "results.formats", "results.markdown"),
)
"""Modules that must bring neither torch nor numpy: a slip of the pen is answered at once."""


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports(file: Path) -> list[tuple[str, str]]:
    """(module, name) of each import anywhere in a file, except those for type checkers alone."""
    found: list[tuple[str, str]] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.extend((node.module or "", alias.name) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text("utf-8")))
    return found


def test_plugins_import_public_names_of_the_core_alone():
    named = [(name(file), module, inner) for file in PLUGINS for module, inner in imports(file)]
    assert [each for each in named if each[1].startswith("adbench.") and each[2].startswith("_")] == []


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_name_torch_nowhere(module):
    modules = {imported.split(".")[0] for imported, _ in imports(ROOT / "adbench" / f"{module.replace('.', '/')}.py")}
    assert "torch" not in modules


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_the_light_modules_brings_neither_torch_nor_plugins():
    lines = [f"import adbench.{module}" for module in LIGHT]
    lines += ["import sys", "print({m.split('.')[0] for m in sys.modules})"]
    loaded = ast.literal_eval(run_python("\n".join(lines)))
    assert not loaded & {"torch", "monai", "numpy", *PLUGIN_PACKAGES}


@pytest.mark.parametrize("room", ["metrics", "results"])
def test_metrics_and_results_bring_no_torch(room):
    files = sorted((ROOT / "adbench" / room).rglob("*.py"))
    modules = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    lines = [f"import {module}" for module in modules] + ["import sys", "print('torch' in sys.modules)"]
    assert run_python("\n".join(lines)) == "False\n"


def test_listing_brings_neither_torch_nor_numpy_nor_pandas_nor_plugins():
    code = (
        "import sys; sys.argv = ['adbench', 'list', '--json']\n"
        "from adbench.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "loaded = {m.split('.')[0] for m in sys.modules}\n"
        "assert not loaded & {'torch', 'numpy', 'pandas', 'adbench_baselines', 'adbench_datasets'}, loaded\n"
    )
    assert "ddpm" in run_python(code)


def test_importing_adbench_brings_no_third_party_package_and_it_knows_its_version():
    code = "import sys, adbench; print('pydantic' in sys.modules, 'logging' in sys.modules, adbench.__version__)"
    *loaded, version = run_python(code).split()
    assert loaded == ["False", "False"]
    assert version.count(".") == 2
