"""Files of toy scans, and where their slices are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_scans import write


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("toy") / "data")


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")
