"""Every dataset in every layout that it is distributed in: found, named, and read as it was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import head_files
import layouts_ct
import layouts_folder
import layouts_mri
import layouts_ms
import numpy as np
import pytest
from adbench_datasets.atlas import Atlas
from adbench_datasets.bhsd import BHSD
from adbench_datasets.brats import Brats
from adbench_datasets.ct_bleeds import KCH, Chronic, Cromis
from adbench_datasets.ct_ich import CTICH
from adbench_datasets.fastmri_plus import FastMRIPlus
from adbench_datasets.folder import Folder
from adbench_datasets.imaging.cases import Case, FileRef, Scan
from adbench_datasets.instance22 import Instance22
from adbench_datasets.isbi2015 import ISBI2015
from adbench_datasets.ixi import IXI
from adbench_datasets.layouts.scans import ScanDataset
from adbench_datasets.ms_muslim import MSMuslim
from adbench_datasets.mslesseg import MSLesSeg
from adbench_datasets.mslub import MSLUB
from adbench_datasets.oasis3 import OASIS3
from adbench_datasets.tcga_lgg import TCGALGG
from adbench_datasets.ukb import UKB
from adbench_datasets.wmh import WMH

from adbench.errors import DataError

Make = Callable[..., dict[Any, head_files.Head]]

LAYOUTS: list[tuple[type[ScanDataset[Any]], Make, str, str, dict[str, Any]]] = [
    (TCGALGG, layouts_mri.make_tcga_lgg, "kaggle", "", {}),
    *((Brats, layouts_mri.make_brats, release, release[:4], {}) for release in layouts_mri.BRATS_PLACES),
    (MSLUB, layouts_mri.make_mslub, "original", "native", {}),
    (MSLUB, layouts_mri.make_mslub, "mirror", "native", {}),
    (MSLUB, layouts_mri.make_mslub, "mni", "MNI", {}),
    (MSLesSeg, layouts_ms.make_mslesseg, "official", "train and test", {}),
    (MSLesSeg, layouts_ms.make_mslesseg, "train", "train", {}),
    (MSMuslim, layouts_ms.make_ms_muslim, "mendeley", "", {}),
    (ISBI2015, layouts_ms.make_isbi2015, "nii", "", {}),
    (ISBI2015, layouts_ms.make_isbi2015, "nii.gz", "", {}),
    (IXI, layouts_ms.make_ixi, "archives", "", {}),
    (IXI, layouts_ms.make_ixi, "one folder", "", {}),
    (Atlas, layouts_ms.make_atlas, "2.0", "", {}),
    (WMH, layouts_mri.make_wmh, "2022", "2022", {}),
    (WMH, layouts_mri.make_wmh, "original", "original", {}),
    *(
        (UKB, layouts_mri.make_ukb, release, "field 20253: 5 of visit 2, 1 of visit 3; 1 without", {"n_healthy": 2})
        for release in ("flat", "bulk", "table")
    ),
    (OASIS3, layouts_mri.make_oasis3, "xnat", "as downloaded", {}),
    (OASIS3, layouts_mri.make_oasis3, "bids", "BIDS", {}),
    (FastMRIPlus, layouts_mri.make_fastmri_plus, "nifti", "5 FLAIR as NIfTI", {}),
    (FastMRIPlus, layouts_mri.make_fastmri_plus, "png", "5 as pictures", {}),
    (Cromis, layouts_ct.make_bleeds, "folders", "folders images and masks", {}),
    (KCH, layouts_ct.make_bleeds, "csv", "table cases.csv", {}),
    (Chronic, layouts_ct.make_bleeds, "csv", "table cases.csv", {}),
    (CTICH, layouts_ct.make_ct_ich, "1.3.1", "1.3.x (NIfTI)", {}),
    (CTICH, layouts_ct.make_ct_ich, "1.2.0", "1.0.0 to 1.2.0 (JPEG slices)", {}),
    (CTICH, layouts_ct.make_ct_ich, "1.0.0", "1.0.0 to 1.2.0 (JPEG slices)", {}),
    (Instance22, layouts_ct.make_instance22, "train", "training set", {}),
    (Instance22, layouts_ct.make_instance22, "train_2", "training set", {}),
    (BHSD, layouts_ct.make_bhsd, "label_192", "label_192", {}),
    (BHSD, layouts_ct.make_bhsd, "nnunet", "nnU-Net", {}),
    (Folder, layouts_folder.make_folder, "folders", "folders", {}),
    (Folder, layouts_folder.make_folder, "csv", "table", {}),
    (Folder, layouts_folder.make_folder, "bids", "BIDS", {"unmatched": "healthy"}),
]
every_layout = pytest.mark.parametrize(
    ("cls", "make", "release", "named", "config"), LAYOUTS, ids=[f"{c.__name__}-{r}" for c, _, r, _, _ in LAYOUTS]
)
LOSSY = {"1.0.0", "1.2.0"}
"""JPEG: grey values move a little."""


def dataset(cls: type[ScanDataset[Any]], root: Path, **config: Any) -> ScanDataset[Any]:
    return cls(cls.Config(**config), root)


def image_file(case: Case) -> Path:
    return case.image.path if isinstance(case.image, FileRef) else case.image[0].path


def written_as(case: Case, made: dict[Any, head_files.Head]) -> head_files.Head:
    """What was written for a case: keys are a file, or a subject, with its session where it has several."""
    known = {image_file(case), case.subject, f"{case.subject} {case.session}", case.subject.split("/", 1)[1]}
    (key,) = known & set(made)
    return made[key]


def assert_read_as_written(scan: Scan, head: head_files.Head, tolerance: float = 0) -> None:
    assert scan.image.shape == head_files.SHAPE
    assert np.abs(scan.image - head.image).max() <= tolerance
    lesion = np.zeros(head_files.SHAPE, bool) if scan.lesion is None else scan.lesion
    assert (lesion == head.lesion).mean() >= (1 if tolerance == 0 else 0.998)
    if scan.brain is not None:
        assert (scan.brain == head.brain).all()


@every_layout
def test_every_examination_is_found_and_its_release_named(tmp_path, cls, make, release, named, config):
    made = make(tmp_path, release=release)
    found = dataset(cls, tmp_path, **config)
    cases = found.cases(tmp_path)
    assert len(cases) == len(made)
    assert named in found.release(tmp_path)
    assert len({(case.subject, case.session) for case in cases}) == len(cases)


@every_layout
def test_arrays_are_those_that_were_written_however_they_are_stored(tmp_path, cls, make, release, named, config):
    made = make(tmp_path, release=release)
    found = dataset(cls, tmp_path, **config)
    read = 0
    for case in found.cases(tmp_path):
        if case.lesion is None and not case.lesion_free:
            continue
        head = written_as(case, made)
        if case.lesion_free and cls is UKB:
            head = head_files.Head(head.image, np.zeros(head_files.SHAPE, bool), head.brain, head.other)
        if cls is FastMRIPlus and release == "png":
            head = head_files.Head(
                (head.image / 4).astype(np.uint8).astype(np.float32), head.lesion, head.brain, head.other
            )
        assert_read_as_written(found.read(case), head, tolerance=60 if release in LOSSY else 0)
        read += 1
    assert read >= 3


@pytest.mark.parametrize(
    ("cls", "make", "release", "inner"),
    [
        (WMH, layouts_mri.make_wmh, "2022", "WMH"),
        (UKB, layouts_mri.make_ukb, "flat", "20253"),
        (OASIS3, layouts_mri.make_oasis3, "bids", "OASIS3"),
        (FastMRIPlus, layouts_mri.make_fastmri_plus, "nifti", "fastMRI"),
        (Cromis, layouts_ct.make_bleeds, "csv", "cromis"),
        (Chronic, layouts_ct.make_bleeds, "folders", "CHRONIC"),
        (Instance22, layouts_ct.make_instance22, "train", "INSTANCE22"),
        (BHSD, layouts_ct.make_bhsd, "label_192", "BHSD"),
        (Folder, layouts_folder.make_folder, "folders", "data"),
    ],
)
def test_the_data_root_may_be_the_parent_or_the_folder_itself(tmp_path, cls, make, release, inner):
    made = make(tmp_path / inner, release=release)
    config = {"n_healthy": 2} if cls is UKB else {}
    for root in (tmp_path, tmp_path / inner):
        assert len(dataset(cls, root, **config).cases(root)) == len(made)


@pytest.mark.parametrize("cls", sorted({c for c, *_ in LAYOUTS} - {TCGALGG, Brats, MSLUB}, key=lambda c: c.__name__))
def test_where_nothing_is_found_the_error_says_what_was_looked_for_and_where(tmp_path, cls):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.jpg").write_bytes(b"sand")
    with pytest.raises(DataError, match="looks for") as error:
        dataset(cls, tmp_path).cases(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "--data-root" in str(error.value)


def test_heads_are_asymmetric_so_that_every_flip_shows():
    head = head_files.head(0)
    for axis in range(3):
        assert (np.flip(head.image, axis) != head.image).any()
        assert (np.flip(head.lesion, axis) != head.lesion).any()
