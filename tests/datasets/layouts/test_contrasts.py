"""`data.modality` of sets with several contrasts: which file is read, and what the card says."""

from __future__ import annotations

import layouts_mri
import numpy as np
import pytest
from adbench_datasets.brats import Brats
from adbench_datasets.mslub import MSLUB
from adbench_datasets.wmh import WMH

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError

FOUR = {"FLAIR": 1, "T1": 2, "T1c": 3, "T2": 4}
"""Contrast -> what the fixtures divide the FLAIR by."""
SETS = [
    *((Brats, layouts_mri.make_brats, release, FOUR) for release in ("2018", "2020-kaggle", "2021", "2023", "2024")),
    *((MSLUB, layouts_mri.make_mslub, release, FOUR) for release in ("original", "mirror", "mni")),
    *((WMH, layouts_mri.make_wmh, release, {"FLAIR": 1, "T1": 6}) for release in ("2022", "original")),
]


@pytest.mark.parametrize(("cls", "make", "release", "contrasts"), SETS)
def test_the_chosen_contrast_is_read_with_the_same_masks(tmp_path, cls, make, release, contrasts):
    make(tmp_path, release)
    usual = cls(cls.Config(), tmp_path, DataRuntime(workers=1))
    flairs = [usual.read(case) for case in usual.cases(tmp_path)]
    assert usual.info.modality == "MRI FLAIR"
    for modality, divisor in contrasts.items():
        dataset = cls(cls.Config(modality=modality), tmp_path, DataRuntime(workers=1))
        assert dataset.info.modality == f"MRI {modality}"
        assert bool(dataset.info.reported) == (modality == "FLAIR" and bool(cls.info.reported))
        for case, flair in zip(dataset.cases(tmp_path), flairs, strict=True):
            scan = dataset.read(case)
            np.testing.assert_allclose(scan.image, flair.image / divisor, rtol=1e-5)
            assert (scan.lesion == flair.lesion).all()


@pytest.mark.parametrize(("cls", "make"), [(Brats, layouts_mri.make_brats), (MSLUB, layouts_mri.make_mslub)])
def test_a_contrast_that_was_not_downloaded_is_refused_with_the_files_name(tmp_path, cls, make):
    make(tmp_path)
    for path in [*tmp_path.rglob("*_t2.nii.gz"), *tmp_path.rglob("*_T2W.nii.gz")]:
        path.unlink()
    with pytest.raises(DataError, match=r"(?i)_?t2w?\.nii"):
        cls(cls.Config(size=64, modality="T2"), tmp_path, DataRuntime(workers=1)).load_test()
