"""A suite file: what it says, over what it extends, and what is wrong with it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import toys
from hypothesis import given
from hypothesis import strategies as st

from adbench.errors import AdbenchError
from adbench.execution.job import Folders
from adbench.execution.suite import Grid, Suite, read_suite

SHIPPED = sorted((Path(__file__).parents[3] / "leaderboards" / "suites").glob("*.toml"))


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


PLAIN = """
[defaults]
preset = "smoke"
datasets = ["toy"]
[[grids]]
methods = ["toy-trained", "toy-constant"]
seeds = [0, 1]
[[grids]]
methods = ["toy-trained"]
preset = "demo"
settings = ["part.steps=3"]
[limits]
hours = 2
"""


def test_a_grid_has_the_defaults_but_for_what_it_says_itself(tmp_path):
    suite = read_suite(write(tmp_path / "a.toml", PLAIN))
    assert [(grid.preset, grid.datasets) for grid in suite.grids] == [("smoke", ("toy",)), ("demo", ("toy",))]
    assert suite.limits.hours == 2
    assert [job.name for job in suite.jobs()][:2] == ["toy-trained on toy, seed 0", "toy-constant on toy, seed 0"]


def test_what_a_file_says_comes_over_what_it_extends_field_by_field(tmp_path):
    write(tmp_path / "base.toml", PLAIN + "memory_gb = 3\n")
    text = 'extends = "base.toml"\n[defaults]\npreset = "small"\n[limits]\nhours = 1\n'
    suite = read_suite(write(tmp_path / "a.toml", text))
    assert [grid.preset for grid in suite.grids] == ["small", "demo"]
    assert (suite.limits.hours, suite.limits.memory_gb) == (1, 3)


def test_settings_of_the_command_come_after_those_of_every_grid(tmp_path):
    suite = read_suite(write(tmp_path / "a.toml", PLAIN), ["part.steps=9"])
    assert [grid.settings for grid in suite.grids] == [("part.steps=9",), ("part.steps=3", "part.steps=9")]


@given(
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True),
    st.lists(st.sampled_from(["x", "y"]), min_size=1, unique=True),
    st.lists(st.integers(0, 5), min_size=1, unique=True),
)
def test_a_grid_is_every_method_on_every_dataset_with_every_seed_once(methods, datasets, seeds):
    grid = Grid(methods=tuple(methods), datasets=tuple(datasets), seeds=tuple(seeds))
    jobs = Suite(grids=(grid, grid)).jobs()
    assert len(jobs) == len(methods) * len(datasets) * len(seeds)
    assert {(j.method, j.dataset, j.seed) for j in jobs} == set(product(methods, datasets, seeds))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[grids]]\nmethods = [", "must be TOML"),
        ("", "grids: Tuple should have at least 1 item"),
        ('[[grids]]\nmethods = ["toy-trained"]', "grids.0.datasets: Field required"),
        ('[[grids]]\nmethods = []\ndatasets = ["toy"]', "grids.0.methods"),
        ('[[grids]]\nmethods = ["toy-trained"]\ndatasets = ["toy"]\nseed = 1', "grids.0.seed: Extra inputs"),
        ('[[grids]]\nmethods = ["toy-traind"]\ndatasets = ["toy"]', "did you mean 'toy-trained'"),
        ('[[grids]]\nmethods = ["toy-trained"]\ndatasets = ["tox"]', "did you mean 'toy'"),
        ('[[grids]]\nmethods = ["toy-trained"]\ndatasets = ["toy"]\ntrain_on = "tox"', "did you mean 'toy'"),
        ('[[grids]]\nmethods = ["toy-trained"]\ndatasets = ["toy"]\npreset = "smal"', "did you mean 'small'"),
        ('[[grids]]\nmethods = ["toy-trained"]\ndatasets = ["toy"]\nseeds = [-1]', "from 0 to 4294967295"),
        ('grids = 3', r"tables \[\[grids\]\]"),
        ('extends = 3', "must be the name of a file"),
        ('extends = "none.toml"', "must be a readable file"),
        ('extends = "a.toml"', "extends one other alone"),
        (PLAIN + "memory_gb = 0", "limits.memory_gb"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_sentence(tmp_path, text, says):
    with pytest.raises(AdbenchError, match=says):
        read_suite(write(tmp_path / "a.toml", text))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_suites_are_read(path):
    assert read_suite(path).jobs()


def test_there_are_shipped_suites():
    assert SHIPPED


def test_a_job_of_other_records_is_another_one(tmp_path):
    (job, *_) = read_suite(write(tmp_path / "a.toml", PLAIN)).jobs()
    a, b, again = (job.key(Folders(tmp_path / out, tmp_path)) for out in ("a", "b", "b/../a"))
    assert a != b
    assert a == again
