"""`mslub` in each of its variants."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from adbench_datasets.imaging.region import region_of
from adbench_datasets.mslub import MSLUB, MSLUBConfig
from layouts_mri import make_mslub

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError
from adbench.testing import DatasetContract


def make(root: Path, **fields) -> MSLUB:
    return MSLUB(MSLUBConfig(**{"size": 64, **fields}), root, DataRuntime(workers=1))


class TestMSLUB(DatasetContract):
    dataset_class = MSLUB
    settings = {"size": 64}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def data(cls, tmp_path_factory):
        cls.data_root = tmp_path_factory.mktemp("mslub")
        make_mslub(cls.data_root, n=6)


@pytest.mark.parametrize("release", ["original", "mirror", "mni"])
def test_all_variants_are_read_with_their_masks_and_brains(tmp_path, release):
    heads = make_mslub(tmp_path, release)
    dataset = make(tmp_path)
    cases = {case.subject: case for case in dataset.cases(tmp_path)}
    assert set(cases) == set(heads)
    for subject, head in heads.items():
        scan = dataset.read(cases[subject])
        assert (scan.image == head.image).all()
        assert (scan.lesion == head.lesion).all()
        assert (scan.brain is None) == (release == "mni")
        assert (region_of(scan, "mri") == head.brain).mean() > 0.99
    assert ("MNI, skull-stripped" in dataset.release(tmp_path)) == (release == "mni")


@pytest.mark.parametrize("parent", ["mslub", "cross_sectional", "open_ms_data/cross_sectional", "."])
def test_the_mni_variant_comes_first_and_another_may_be_named(tmp_path, parent):
    make_mslub(tmp_path / parent, "mni", n=3)
    make_mslub(tmp_path / parent / "coregistered_resampled", "mirror", n=4)
    assert len(make(tmp_path).cases(tmp_path)) == 3
    other = tmp_path / parent / "coregistered_resampled"
    assert len(make(other).cases(other)) == 4


def test_a_patient_without_a_mask_is_named(tmp_path):
    make_mslub(tmp_path, n=4)
    (tmp_path / "patient02" / "patient02_consensus_gt.nii.gz").unlink()
    findings = make(tmp_path).inspect()
    assert findings.problems[0].what == "has neither a lesion mask nor is it known to be free of lesions"
    assert findings.facts["subjects"] == "3"


def test_another_folder_is_refused_saying_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"mslub looks for patientNN/ with FLAIR"):
        make(tmp_path).load()


REAL = Path(os.environ.get("ADBENCH_DATA", "")) / "mslub"
real = pytest.mark.skipif(
    not os.environ.get("ADBENCH_DATA") or not REAL.is_dir(), reason="ADBENCH_DATA is not set to a folder with mslub"
)


@pytest.fixture(scope="module")
def patients():
    return make(REAL, size=192).load_test()


@real
def test_lesions_are_bright_and_not_mirrored(patients):
    assert set(patients.subjects) == {"mslub/patient07", "mslub/patient19"}
    for name in set(patients.subjects):
        mine = patients.take(np.flatnonzero([subject == name for subject in patients.subjects]))
        lesion, image = mine.lesions, mine.images
        other = lesion[..., ::-1] & mine.brains & ~lesion
        rest = image[mine.brains & ~lesion].mean()
        alone = lesion & ~lesion[..., ::-1]
        assert image[lesion].mean() > rest + 0.05
        assert image[alone].mean() > image[other].mean() + 0.05


@real
def test_the_front_is_at_the_top(patients):
    """The cerebellum, low and behind, is in the lower half of the lowest slices; the frontal lobe is not."""
    for name in set(patients.subjects):
        mine = patients.take(np.flatnonzero([subject == name for subject in patients.subjects]))
        z = [int(source.rsplit("[", 1)[1][:-1]) for source in mine.sources]
        low = mine.brains[int(np.argmin(z)), 0]
        assert low[96:].sum() > 3 * low[:96].sum()
