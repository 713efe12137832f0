"""`tcga-lgg` as distributed: channel 1, slices in the order of their numbers, tumours where they are bright."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from adbench_datasets.imaging.placement import restore
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.tcga_lgg import TCGALGG
from layouts_mri import make_tcga_lgg
from scipy import ndimage

from adbench.contracts.dataset import DataRuntime
from adbench.contracts.splits import Split
from adbench.errors import DataError
from adbench.testing import DatasetContract

KEEP = {"size": 64, "spacing_mm": "keep", "min_area_fraction": 0}


def make(root: Path | None, **fields) -> TCGALGG:
    return TCGALGG(ScanConfig(**{**KEEP, **fields}), root, DataRuntime(workers=1))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tcga")
    make_tcga_lgg(root, n=9)
    return root


class TestTCGALGG(DatasetContract):
    dataset_class = TCGALGG
    settings = {"size": 64}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def data(cls, root):
        cls.data_root = root


def test_slices_come_in_the_order_of_their_numbers_with_channel_1_and_their_masks(tmp_path):
    heads = make_tcga_lgg(tmp_path, n=4)
    dataset = make(tmp_path, lower_percentile=0, upper_percentile=100)
    cases = {case.subject: case for case in dataset.cases(tmp_path)}
    assert set(cases) == set(heads)
    for subject, head in heads.items():
        scan = dataset.read(cases[subject])
        assert (scan.image == head.image).all()
        assert (scan.lesion == head.lesion).all()
        assert scan.spacing_mm is None
    test = dataset.load_test()
    for source, placement in dataset.prepared().placements().items():
        maps = np.stack([test.lesions[list(test.sources).index(f"{source}[{z}]")] for z in placement.z])
        subject = test.subjects[list(test.sources).index(f"{source}[{placement.z[0]}]")]
        assert (restore(maps.astype(np.float32), placement) == heads[subject].lesion).all()


@pytest.mark.parametrize("below", [".", "kaggle_3m"])
def test_the_root_may_be_the_folder_itself_or_above(root, below):
    assert len(make(root / below).cases(root / below)) == 9
    assert make(root / below).release(root / below) == "kaggle_3m"


@pytest.mark.parametrize(
    ("missing", "rule"), [("_3.tif", "A mask has an image, but 1"), ("_3_mask.tif", "not found is not none, but 1")]
)
def test_a_missing_slice_or_mask_is_named(root, tmp_path, missing, rule):
    make_tcga_lgg(tmp_path, n=4)
    next(path for path in (tmp_path / "kaggle_3m").rglob(f"*{missing}")).unlink()
    with pytest.raises(DataError, match=rf"{rule}.*: kaggle_3m/TCGA.*{missing}"):
        make(tmp_path).load_test()


def test_another_folder_is_refused_saying_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"tcga-lgg looks for kaggle_3m/TCGA_<site>_<id>_<date>"):
        make(tmp_path).load()


REAL = Path(os.environ.get("ADBENCH_DATA", "")) / "kaggle_3m"
real = pytest.mark.skipif(
    not os.environ.get("ADBENCH_DATA") or not REAL.is_dir(), reason="ADBENCH_DATA is not set to a folder with kaggle_3m"
)


@pytest.fixture(scope="module")
def real_slices(tmp_path_factory) -> Split:
    """Every fourth patient of kaggle_3m."""
    root = tmp_path_factory.mktemp("real") / "kaggle_3m"
    for patient in sorted(path for path in REAL.iterdir() if path.is_dir())[::4]:
        shutil.copytree(patient, root / patient.name)
    return TCGALGG(ScanConfig(size=128), root, DataRuntime(workers=1)).load_test()


@real
def test_tumours_are_brighter_than_the_rest_of_the_head_and_not_mirrored(real_slices):
    sick = np.flatnonzero(real_slices.lesions.any(axis=(1, 2, 3)))
    brighter, straight, mirrored = [], 0.0, 0.0
    for i in sick:
        image, lesion, head = (stack[i, 0] for stack in (real_slices.images, real_slices.lesions, real_slices.brains))
        deep = ndimage.binary_erosion(head, iterations=10)  # without skin, skull and fat
        other = lesion[:, ::-1]
        if deep[lesion & ~other].size and (deep & ~lesion).any() and (lesion & ~other & deep).any():
            rest = image[deep & ~lesion].mean()
            brighter.append(image[lesion].mean() > rest)
            if (other & ~lesion & deep).any():
                straight += image[lesion & ~other & deep].mean() - rest
                mirrored += image[other & ~lesion & deep].mean() - rest
    assert len(sick) > 200
    assert np.mean(brighter) > 0.9
    assert straight > 3 * mirrored


@real
def test_the_front_is_at_the_top_eyes_and_nose_make_it_narrow(real_slices):
    """A head is wider behind than in front, and in the middle from left to right."""
    middle = [i for i in range(len(real_slices)) if i % 5 == 0]
    wider_behind = []
    for i in middle:
        head = real_slices.brains[i, 0]
        rows = np.flatnonzero(head.any(axis=1))
        front, back = (head[rows[int(q * (len(rows) - 1))]].sum() for q in (0.12, 0.88))
        wider_behind.append(back > front)
    assert np.mean(wider_behind) > 0.75


@real
def test_every_slice_has_a_head_and_half_of_them_are_healthy(real_slices):
    assert len(set(real_slices.subjects)) == 20
    assert 500 < len(real_slices) < 702
    share = real_slices.brains.mean(axis=(1, 2, 3))
    assert share.min() > 0.02
    assert np.mean(share > 0.75) < 0.03
    assert 0.3 < real_slices.lesions.any(axis=(1, 2, 3)).mean() < 0.5


def test_a_folder_or_slice_that_is_named_otherwise_is_said(tmp_path):
    make_tcga_lgg(tmp_path, n=9)
    folders = sorted(path.parent for path in tmp_path.rglob("TCGA_*_1.tif"))
    copy = folders[0].rename(folders[0].with_name(f"{folders[0].name} (1)"))
    last = max(folders[1].glob("*_mask.tif"), key=lambda path: int(path.name.split("_")[-2]))
    slices = [path.rename(path.with_suffix(".TIF")) for path in (last, Path(str(last).replace("_mask", "")))]
    said: list[str] = []
    TCGALGG(ScanConfig(**KEEP), tmp_path, DataRuntime(workers=1, notify=said.append)).load_test()
    told = next(text for text in said if "images that are not read" in text)
    assert all(str(path) in told for path in (copy, *slices))
