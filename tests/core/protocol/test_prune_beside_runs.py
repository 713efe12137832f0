"""`adbench cache prune` beside a run of another process: nothing that it uses is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import toys
from processes import Moment, Process, run, until
from toy_runs import metrics, toy


@pytest.fixture(autouse=True, scope="module")
def _plugins(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        toys.install(tmp_path_factory.mktemp("plugins") / "site", patch)
        yield


def pruned(folder: Path, age: str) -> Process:
    """Prune all that was last used longer ago."""
    return run(folder / "prune", ["cache", "prune", "--cache", str(folder / "cache"), "--older-than", age])


def parts_of(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "artifacts").glob("toy-*/[!.]*.json"))


@pytest.mark.slow
def test_a_prune_while_another_process_trains_loses_nothing(tmp_path):
    alone = metrics(run(tmp_path / "alone", toy(tmp_path / "alone")))
    go_on, folder = tmp_path / "go on", tmp_path / "pruned"
    trains = Process(folder / "run", toy(folder), Moment("toy training", 2, wait_for=go_on))
    until(lambda: trains.says("progress: toy training 2"))
    checkpoint = parts_of(folder)
    assert [path.name for path in checkpoint] == ["checkpoint.json"]
    assert "1 in use by another process: left" in pruned(folder, "0h").out
    assert parts_of(folder) == checkpoint
    go_on.touch()
    assert metrics(trains) == alone
    assert trains.steps("toy training") == [1, 2, 3]


@pytest.mark.slow
def test_a_prune_takes_nothing_that_a_run_of_another_process_will_reuse(tmp_path):
    assert run(tmp_path / "first", toy(tmp_path)).end() == 0
    for path in (tmp_path / "cache" / "artifacts").glob("*/part.json"):
        os.utime(path, (0, 0))
    parts, go_on = parts_of(tmp_path), tmp_path / "go on"
    _, *both = toy(tmp_path, "toy-brightness,toy-trained")
    pausing = Moment("cell 1/2, toy-brightness on toy: test maps", 0, wait_for=go_on)
    again = Process(tmp_path / "again", ["run", "--force", *both], pausing)
    until(lambda: again.says("progress: cell 1/2, toy-brightness on toy: test maps 0"))
    assert "1 in use by another process: left" in pruned(tmp_path, "30d").out
    assert parts_of(tmp_path) == parts
    go_on.touch()
    assert again.end() == 0, again.err
    assert again.steps("toy training") == []
    assert "part: 1 removed" in pruned(tmp_path, "0h").out, "nobody uses it any more"
