"""WMH challenge: both releases, bias-corrected or as scanned, other pathology ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import layouts_mri
import numpy as np
import pytest
from adbench_datasets.wmh import WMH, WMHConfig

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError


def wmh(root: Path, **config: Any) -> WMH:
    return WMH(WMHConfig(**{"size": 64, **config}), root, DataRuntime(workers=1))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("wmh")
    layouts_mri.make_wmh(place)
    return place


def test_sites_with_blanks_and_dots_are_found(root):
    subjects = {case.subject for case in wmh(root).cases(root)}
    assert "wmh/Amsterdam/Philips_VU .PETMR_01./160" in subjects
    assert len(subjects) == len(layouts_mri.WMH_2022)


def test_a_subject_has_one_name_in_both_releases(root, tmp_path):
    layouts_mri.make_wmh(tmp_path, "original")
    old = {case.subject for case in wmh(tmp_path).cases(tmp_path)}
    new = {case.subject for case in wmh(root).cases(root)}
    assert {"wmh/Utrecht/0", "wmh/Singapore/50", "wmh/Amsterdam/GE3T/100"} <= old & new


@pytest.mark.parametrize("name", ["GE3T", "Amsterdam_GE3T", "Amsterdam GE3T"])
def test_the_third_site_of_the_original_release_is_known_by_each_of_its_names(tmp_path, name):
    layouts_mri.make_wmh(tmp_path, "original")
    (tmp_path / "Amsterdam GE3T").rename(tmp_path / name)
    assert "wmh/Amsterdam/GE3T/100" in {case.subject for case in wmh(tmp_path).cases(tmp_path)}


def test_the_corrected_image_is_read_or_the_one_as_scanned(root):
    corrected, scanned = (
        [data.read(case).image for case in data.cases(root)] for data in (wmh(root), wmh(root, source="orig"))
    )
    assert all((a == 2 * b).all() for a, b in zip(corrected, scanned, strict=True))


@pytest.mark.parametrize(("subset", "n"), [("training", 3), ("test", 3), ("all", 6)])
def test_a_subset_is_that_of_the_challenge(root, subset, n):
    cases = wmh(root, subset=subset).cases(root)
    assert len(cases) == n
    assert subset == "all" or all(f"/{subset}/" in str(case.image) for case in cases)


def test_the_test_subset_of_the_original_release_is_an_error(tmp_path):
    layouts_mri.make_wmh(tmp_path, "original")
    assert len(wmh(tmp_path, subset="training").cases(tmp_path)) == 4
    with pytest.raises(DataError, match="subset=test needs the 2022 release"):
        wmh(tmp_path, subset="test").cases(tmp_path)


def test_other_pathology_is_neither_lesion_nor_counted(root):
    data = wmh(root)
    head = layouts_mri.make_wmh(root)["wmh/Utrecht/0"]
    scan = data.read(next(case for case in data.cases(root) if case.subject == "wmh/Utrecht/0"))
    assert scan.ignore is not None
    assert (scan.ignore == head.other).all()
    assert not (scan.lesion & scan.ignore).any()
    test = data.load_test()
    assert test.ignores is not None
    assert test.lesions is not None
    assert test.ignores.any()
    assert not (test.ignores & test.lesions).any()


def test_it_is_only_tested_on(root):
    for load in (wmh(root).load, wmh(root).load_healthy):
        with pytest.raises(DataError, match="--train-on"):
            load()


def test_a_subject_without_a_mask_is_skipped_and_listed_where_the_user_says_so(tmp_path):
    layouts_mri.make_wmh(tmp_path, missing="training/Singapore/50")
    data = wmh(tmp_path, unmatched="skip")
    assert len(set(data.load_test().subjects)) == 5
    (problem,) = data.inspect().problems
    assert "Singapore" in problem.file
    assert problem.skipped


def test_a_subject_without_its_image_is_a_fault_of_that_case(tmp_path):
    layouts_mri.make_wmh(tmp_path)
    (tmp_path / "training/Singapore/50/pre/FLAIR.nii.gz").unlink()
    with pytest.raises(DataError, match=r"FLAIR\.nii\.gz: there is no such image, but a lesion mask of it"):
        wmh(tmp_path, unmatched="skip").load_test()
    assert len(set(wmh(tmp_path, unmatched="skip", max_skipped_fraction=0.2).load_test().subjects)) == 5


def test_lesions_keep_their_side_and_place_through_preprocessing(root):
    """The fixture's lesion lies right, front: the upper left quarter of a picture as radiologists look at it."""
    test = wmh(root).load_test()
    assert test.lesions is not None
    rows, columns = np.nonzero(test.lesions.any(axis=(0, 1)))
    assert rows.max() < 32
    assert columns.max() < 32
