"""The page that several files look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_records import RECORDS, TIMES
from record_factory import (
    render,
)


@pytest.fixture(scope="module")
def page() -> str:
    return render(RECORDS, TIMES)[Path("toy.md")]
