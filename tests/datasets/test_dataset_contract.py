"""Every registered first-party dataset keeps the shipped contract, at the size of `--preset smoke`."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from adbench_datasets.headct_sprites import HeadCTSprites, find_source
from adbench_datasets.phantom import Phantom

from adbench.contracts import registry
from adbench.errors import DataError
from adbench.testing import DatasetContract


def source_of_headct() -> Path | None:
    """The folder or archive with HeadCT images, where ADBENCH_DATA leads to one."""
    root = os.environ.get("ADBENCH_DATA")
    try:
        return find_source(Path(root)) if root else None
    except DataError:
        return None


class TestPhantom(DatasetContract):
    dataset_class = Phantom
    settings = Phantom.presets["smoke"]


@pytest.mark.skipif(source_of_headct() is None, reason="ADBENCH_DATA is not set to a folder that holds MedNIST")
class TestHeadCTSprites(DatasetContract):
    dataset_class = HeadCTSprites
    settings = HeadCTSprites.presets["smoke"]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def few_images(cls, tmp_path_factory):
        """Read links to the first 600 images, where the images lie in a folder."""
        source = source_of_headct()
        if source.is_dir():
            folder = tmp_path_factory.mktemp("mednist") / "HeadCT"
            folder.mkdir()
            for path in sorted(source.glob("*.jp*g"))[:600]:
                (folder / path.name).symlink_to(path.resolve())
            source = folder
        cls.data_root = source


def test_every_registered_dataset_has_a_contract_test_in_this_folder():
    names = {e.name for e in registry.names(registry.DATASETS) if e.distribution == "brain-adbench"}
    classes = {registry.load_dataset(name).cls.__name__ for name in names}
    texts = [path.read_text("utf-8") for path in Path(__file__).parent.rglob("test_*.py")]
    tested = {name for text in texts for name in re.findall(r"^    dataset_class = (\w+)$", text, re.MULTILINE)}
    assert classes <= tested
