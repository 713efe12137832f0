"""A store, and what it says."""

from __future__ import annotations

import pytest

from adbench.storage.store import ArtifactStore


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path, said) -> ArtifactStore:
    return ArtifactStore(tmp_path / "store", said.append)
