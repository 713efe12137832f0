"""The folders of a run are found writable, or left as they were."""

from __future__ import annotations

import os

import pytest
import toys

from adbench.errors import AdbenchError
from adbench.protocol.folders import check_writable


def test_the_check_for_writing_leaves_nothing_but_the_folders(tmp_path):
    options = toys.options(tmp_path)
    check_writable(options)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_check_for_writing_removes_only_the_folders_that_it_made(tmp_path):
    (tmp_path / "cache").write_text("a file")
    (tmp_path / "old").mkdir()
    options = toys.options(tmp_path, out=tmp_path / "old/new/out")
    with pytest.raises(AdbenchError, match="--cache"):
        check_writable(options)
    assert os.listdir(tmp_path / "old") == []
