"""Every registered first-party dataset keeps the shipped contract, at the size of `--preset smoke`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from adbench_datasets.headct_sprites import HeadCTSprites, find_source
from adbench_datasets.phantom import Phantom

from adbench import registry
from adbench.errors import DataError
from adbench.testing import DatasetContract


def absence_of_headct() -> str:
    """Say why the HeadCT images cannot be read here, else an empty string."""
    root = os.environ.get("ADBENCH_DATA")
    if not root:
        return "ADBENCH_DATA is not set: it names the folder that holds MedNIST"
    try:
        find_source(Path(root))
    except DataError as error:
        return str(error)
    return ""


class TestPhantom(DatasetContract):
    dataset_class = Phantom
    settings = Phantom.presets["smoke"]


@pytest.mark.skipif(bool(absence_of_headct()), reason=absence_of_headct() or "-")
class TestHeadCTSprites(DatasetContract):
    dataset_class = HeadCTSprites
    settings = HeadCTSprites.presets["smoke"]
    data_root = Path(os.environ.get("ADBENCH_DATA", "."))


def test_every_registered_dataset_has_a_contract_test_here():
    names = {e.name for e in registry.names(registry.DATASETS) if e.distribution == "brain-adbench"}
    classes = {registry.load_dataset(name).cls for name in names}
    assert classes == {TestPhantom.dataset_class, TestHeadCTSprites.dataset_class}
