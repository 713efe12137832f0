"""What is shipped: the wheel's content, the entry points and the pinned versions."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from adbench.contracts.dataset import Dataset
from adbench.contracts.detector import Detector

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
BASES = {"adbench.detectors": Detector, "adbench.datasets": Dataset}
PLUGINS = [(group, name) for group in BASES for name in PROJECT["entry-points"][group]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy of the sources so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    for path in [*ROOT.glob("adbench/**/*"), *ROOT.glob("baselines/**/*"), *ROOT.glob("datasets/**/*")]:
        if path.is_file() and "__pycache__" not in path.parts:
            copy = sources / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (sources / name).write_bytes((ROOT / name).read_bytes())
    (sources / "tests" / "core").mkdir(parents=True)
    (sources / "tests" / "core" / "test_nothing.py").write_text("")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder)]
    made = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(sources)], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    return zipfile.ZipFile(next(folder.glob("brain_adbench-*.whl")))


def test_the_wheel_holds_every_module_and_data_file_of_the_three_packages(wheel: zipfile.ZipFile) -> None:
    shipped = set(wheel.namelist())
    containers = {"adbench": ROOT, "adbench_baselines": ROOT / "baselines", "adbench_datasets": ROOT / "datasets"}
    wanted = {
        path.relative_to(container).as_posix()
        for package, container in containers.items()
        for path in (container / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert {"adbench/py.typed", "adbench/results/pages/page.md.j2", "adbench_datasets/reported.csv"} <= wanted
    assert wanted <= shipped


def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {Path(name).parts[0] for name in wheel.namelist()}
    metadata = {top for top in tops if top.endswith(".dist-info")}
    assert tops - metadata == {"adbench", "adbench_baselines", "adbench_datasets"}
    assert len(metadata) == 1


def test_the_wheel_names_the_command_the_plugins_and_the_licence(wheel: zipfile.ZipFile) -> None:
    info = next(Path(name).parts[0] for name in wheel.namelist() if ".dist-info/" in name)
    entry_points = wheel.read(f"{info}/entry_points.txt").decode()
    assert "adbench = adbench.cli.app:main" in entry_points
    for group, name in PLUGINS:
        assert f"[{group}]" in entry_points
        assert f"\n{name} = " in entry_points
    assert f"{info}/licenses/LICENSE" in wheel.namelist()


@pytest.mark.parametrize("container", ["baselines", "datasets"])
def test_containers_of_plugins_are_no_packages(container: str) -> None:
    assert not (ROOT / container / "__init__.py").exists()


@pytest.mark.parametrize(("group", "name"), PLUGINS)
def test_every_entry_point_loads_its_class(group: str, name: str) -> None:
    target = PROJECT["entry-points"][group][name]
    assert issubclass(EntryPoint(name, target, group).load(), BASES[group])


def canonical(requirement: str) -> str:
    """The distribution's name in a requirement, as the index compares names (PEP 503)."""
    name = re.match(r"[\w.-]+", requirement)
    assert name
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def pins() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_constraints_pin_every_direct_dependency() -> None:
    extras = PROJECT["optional-dependencies"].values()
    wanted = {canonical(r) for r in [*PROJECT["dependencies"], *(r for extra in extras for r in extra)]}
    assert wanted <= {canonical(pin) for pin in pins()}


def test_constraints_are_plain_public_versions_in_order() -> None:
    for pin in pins():
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin), pin  # no "+cpu", no address, no path
    assert pins() == sorted(pins(), key=canonical)
