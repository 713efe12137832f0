"""The published records are those of `published.toml`: planned with the real images, there is nothing to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adbench.config.options import Silent
from adbench.execution.job import Folders
from adbench.execution.planning import plan
from adbench.execution.suite import read_suite
from adbench.results.record import read_records

DATA = os.environ.get("ADBENCH_DATA")
PUBLISHED = Path(__file__).parents[3] / "leaderboards"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not DATA, reason="ADBENCH_DATA is not set to a folder with the images of the published pages")
def test_the_published_pages_come_from_the_suite_alone(tmp_path):
    jobs = read_suite(PUBLISHED / "suites" / "published.toml").jobs()
    planned = plan(jobs, Folders(PUBLISHED, tmp_path / "cache", Path(str(DATA))), "cpu", Silent())
    assert [(each.job.name, each.status, each.reason) for each in planned if each.status != "done"] == []
    cells = {cell.record for each in planned for cell in each.cells}
    assert cells == {PUBLISHED / record.path for record in read_records(PUBLISHED)}
