"""What detectors of one file share."""

from __future__ import annotations

import pytest

from adbench.contracts.detector import Runtime


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    """One artifact store for all detectors of this module."""
    return Runtime()
