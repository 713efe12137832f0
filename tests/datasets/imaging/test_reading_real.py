"""Reading real scans; skipped where ADBENCH_DATA does not hold them."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from adbench_datasets.imaging.cases import Case, FileRef, Labels, Scan
from adbench_datasets.imaging.reading import read_case, to_source
from numpy.testing import assert_allclose, assert_array_equal

ROOT = Path(os.environ.get("ADBENCH_DATA", "/nowhere"))


def found(*pattern: str) -> list[Path]:
    """Files below the data folder in the order of their numbers; the test is skipped where there are none."""
    files = [file for p in pattern for file in sorted(ROOT.glob(p))]
    if not files:
        pytest.skip(f"ADBENCH_DATA holds no {' or '.join(pattern)}")
    return files


def assert_plausible(scan: Scan) -> None:
    """Lesions of FLAIR lie on the head and are brighter than the rest of it, and than their mirror image."""
    assert scan.lesion is not None
    head = scan.image > 0
    assert head[scan.lesion].mean() > 0.999
    inside = scan.image[scan.lesion].mean()
    assert inside > 1.3 * scan.image[head & ~scan.lesion].mean()
    assert inside > scan.image[scan.lesion[::-1] & head].mean()


@pytest.mark.parametrize("patient", ["patient07", "patient19"])
def test_mslub_lesions_are_bright_and_on_the_brain(patient: str) -> None:
    (flair,) = found(f"mslub/MNI/{patient}/FLAIR*.nii.gz")
    (mask,) = found(f"mslub/MNI/{patient}/GOLD*.nii.gz")
    scan = read_case(Case(patient, FileRef(flair), FileRef(mask)), ROOT)
    assert scan.image.shape == (182, 218, 182)
    assert_allclose(scan.spacing_mm, 1)
    assert scan.image.min() < 0 < 100 < scan.image.max()
    assert_plausible(scan)
    assert_array_equal(np.asarray(to_source(scan.image, scan).dataobj), nib.load(flair).get_fdata(dtype=np.float32))


def test_brats_tumour_is_bright_and_on_the_brain() -> None:
    (flair,) = found("BraTS2021/*/*_flair.nii.gz")
    (seg,) = found("BraTS2021/*/*_seg.nii.gz")
    case = Case("b", FileRef(flair), FileRef(seg), labels=Labels(lesion=frozenset({1, 2, 4})))
    scan = read_case(case, ROOT)
    assert scan.image.shape == (240, 240, 155)
    assert scan.image.min() == 0
    assert nib.aff2axcodes(scan.source_affine) == ("L", "P", "S")
    assert_plausible(scan)
    brain = np.argwhere(scan.image > 0)
    assert_allclose(scan.affine[:3, :3], np.eye(3))
    assert np.ptp(brain[:, 1]) > np.ptp(brain[:, 0])  # a brain is longer than it is wide


def test_tcga_tumour_is_bright_and_on_the_head() -> None:
    files = found("kaggle_3m/TCGA_CS_4941_19960909/*_mask.tif")
    masks = sorted(files, key=lambda file: int(file.stem.split("_")[-2]))
    images = [FileRef(mask.with_name(mask.name.replace("_mask", ""))) for mask in masks]
    labels = Labels(lesion=frozenset({255}))
    scan = read_case(Case("k", images, [FileRef(mask) for mask in masks], labels=labels), ROOT, channel=1)
    assert scan.image.shape[2] == len(masks) == 23
    assert scan.image.max() <= 255
    assert scan.spacing_mm is None
    assert_plausible(scan)
