"""One tiny model for all tests of this room."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from heads import write_patient, write_set
from prediction_options import options

from adbench.config.options import Silent
from adbench.prediction.export import export
from adbench.prediction.model import load_model


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> SimpleNamespace:
    """A model of `healthy-zscore` trained on a folder of healthy heads, and a patient's scan."""
    root = tmp_path_factory.mktemp("heads")
    write_set(root / "set")
    path = root / "model.adbench"
    card = export("healthy-zscore", "folder", options(root), Silent(), path)
    return SimpleNamespace(root=root, path=path, card=card, patient=write_patient(root / "patient"))


@pytest.fixture(scope="session")
def model(trained):
    return load_model(trained.path, "cpu", "float32")
