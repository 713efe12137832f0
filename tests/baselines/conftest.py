"""Fixtures of the tests of the first-party detectors."""

from __future__ import annotations

import pytest

from adbench.devices import device


@pytest.fixture
def float32(monkeypatch):
    """Compute in float32 where the device would take bfloat16, so that equations hold to float32's error."""
    monkeypatch.setattr(device, "has_bf16", lambda _: False)
