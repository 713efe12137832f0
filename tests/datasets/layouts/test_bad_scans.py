"""Bad input through whole datasets: one clear error, or a case that is left out and named; never other numbers."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adbench_datasets.imaging.files
import adbench_datasets.imaging.nifti
import head_files
import layouts_ct
import layouts_mri
import nibabel as nib
import numpy as np
import pytest
from adbench_datasets.ct_bleeds import KCH, Cromis
from adbench_datasets.ct_ich import CTICH
from adbench_datasets.instance22 import Instance22
from adbench_datasets.layouts.scans import ScanDataset
from adbench_datasets.ukb import UKB
from adbench_datasets.wmh import WMH

from adbench.contracts.dataset import DataRuntime
from adbench.contracts.splits import Split
from adbench.errors import DataError

SMALL_LIMIT = 4 << 20
"""Stands for the 1 GiB that no file may exceed, so that the test need not write so much."""
BAD = "002"
"""The case that is damaged; "001" and others stay whole."""


def make(cls: type[ScanDataset[Any]], root: Path, notes: list[str] | None = None, **config: Any) -> ScanDataset[Any]:
    runtime = DataRuntime(workers=1, notify=(notes if notes is not None else []).append)
    return cls(cls.Config(**{"size": 64, **config}), root, runtime)


def by_subject(split: Split) -> dict[str, bytes]:
    """Subject -> all its pixels and masks."""
    assert split.lesions is not None
    found: dict[str, bytes] = {}
    for image, lesion, subject in zip(split.images, split.lesions, split.subjects, strict=True):
        found[subject] = found.get(subject, b"") + image.tobytes() + lesion.tobytes()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """What four undamaged cases give."""
    root = tmp_path_factory.mktemp("whole")
    layouts_ct.make_instance22(root)
    return by_subject(make(Instance22, root).load_test())


def image(root: Path) -> Path:
    return root / "train" / "data" / f"{BAD}.nii.gz"


def mask(root: Path) -> Path:
    return root / "train" / "label" / f"{BAD}.nii.gz"


def rewrite(path: Path, change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]], dtype: str = "f4") -> None:
    """Save changed values on the same grid."""
    old = nib.load(path)
    new = nib.Nifti1Image(change(np.asarray(old.dataobj).copy()).astype(dtype), old.affine)
    path.write_bytes(gzip.compress(new.to_bytes()))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def move(path: Path) -> None:
    """The same mask a centimetre further on."""
    old = nib.load(path)
    affine = old.affine.copy()
    affine[0, 3] += 10
    path.write_bytes(gzip.compress(nib.Nifti1Image(np.asarray(old.dataobj), affine).to_bytes()))


def huge(path: Path) -> None:
    """A header of 100 GB before no voxels at all."""
    header = nib.Nifti1Header()
    header.set_data_shape((5000, 5000, 1000))
    header.set_data_dtype("f4")
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4)))


def bomb(path: Path) -> None:
    """A volume within the limits, followed by far more than its header says."""
    data = gzip.decompress(path.read_bytes())
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(data)
        file.write(bytes(SMALL_LIMIT + (1 << 20)))


def outside(path: Path) -> None:
    """A link to a good file outside of the data root."""
    target = path.parents[3] / f"elsewhere-{path.name}"
    path.rename(target)
    path.symlink_to(target)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "truncated image": (lambda r: cut(image(r)), "damaged or cut short"),
    "truncated mask": (lambda r: cut(mask(r)), "damaged or cut short"),
    "empty file": (lambda r: image(r).write_bytes(b""), "empty"),
    "text": (lambda r: image(r).write_bytes(b"Not found" * 100), "not a NIfTI file"),
    "mask of another shape": (
        lambda r: rewrite(mask(r), lambda a: np.pad(a, ((0, 3), (0, 0), (0, 0)), constant_values=1)),
        "grid of its image",
    ),
    "mask of another place": (lambda r: move(mask(r)), "grid of its image"),
    "unexpected labels": (
        lambda r: rewrite(mask(r), lambda a: 3 * a),
        "labels must be among 0, 1, but the mask holds 3",
    ),
    "fractions": (lambda r: rewrite(mask(r), lambda a: 0.3 * a), "whole numbers"),
    "the image as its mask": (lambda r: mask(r).write_bytes(image(r).read_bytes()), "labels must be among"),
    "all NaN": (lambda r: rewrite(image(r), lambda a: a * np.float32(np.nan)), "NaN"),
    "one NaN": (lambda r: rewrite(image(r), lambda a: np.where(a == a.max(), np.nan, a)), "NaN"),
    "constant": (lambda r: rewrite(image(r), np.zeros_like), "blank"),
    "two volumes": (lambda r: rewrite(image(r), lambda a: np.stack([a, a], -1)), "one volume is needed"),
    "MRI for CT": (lambda r: rewrite(image(r), lambda a: np.clip(a, 0, 300)), "CT must be in HU"),
    "huge header": (lambda r: huge(image(r)), "limit"),
    "gzip bomb": (lambda r: bomb(image(r)), "follow the voxels"),
    "link out of the root": (lambda r: outside(image(r)), "outside of"),
    "mask by a link out of the root": (lambda r: outside(mask(r)), "outside of"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_case_stops_the_run_or_is_left_out_and_named_and_the_others_do_not_change(
    tmp_path, whole, fault, monkeypatch
):
    monkeypatch.setattr(adbench_datasets.imaging.nifti, "MAX_BYTES", SMALL_LIMIT)
    damage, message = FAULTS[fault]
    root = tmp_path / "root"
    layouts_ct.make_instance22(root)
    damage(root)
    with pytest.raises(DataError, match=message) as error:
        make(Instance22, root).load_test()
    assert f"{BAD}.nii.gz" in str(error.value)
    assert "max_skipped_fraction" in str(error.value)
    notes: list[str] = []
    tolerant = make(Instance22, root, notes, max_skipped_fraction=0.5)
    found = by_subject(tolerant.load_test())
    assert found == {subject: data for subject, data in whole.items() if BAD not in subject}
    (problem,) = [each for each in tolerant.inspect().problems if each.skipped]
    assert message in problem.what
    assert problem.skipped
    assert "1 of 4 cases" in notes[0]


def test_a_device_or_pipe_is_never_opened(tmp_path, whole):
    layouts_ct.make_instance22(tmp_path)
    pipe(image(tmp_path))
    with pytest.raises(DataError, match="a file is needed, but this is a folder or a device"):
        make(Instance22, tmp_path).load_test()


def test_a_link_to_nothing_is_named_and_its_case_is_not_healthy(tmp_path):
    layouts_ct.make_instance22(tmp_path)
    for path in (image(tmp_path), mask(tmp_path)):
        path.unlink()
        path.symlink_to(tmp_path / "not fetched")
    with pytest.raises(DataError, match=r"1 of 4 cannot be used: train/data/002.nii.gz"):
        make(Instance22, tmp_path).load_test()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission_is_named(tmp_path):
    layouts_ct.make_instance22(tmp_path)
    image(tmp_path).chmod(0)
    with pytest.raises(DataError, match="may not be read"):
        make(Instance22, tmp_path).load_test()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_without_permission_is_named(tmp_path):
    layouts_ct.make_instance22(tmp_path)
    folder = image(tmp_path).parent
    folder.chmod(0)
    try:
        with pytest.raises(DataError, match="Cannot list"):
            make(Instance22, tmp_path).load_test()
    finally:
        folder.chmod(0o755)


def test_an_empty_mask_in_a_set_of_bleeds_is_no_clean_scan(tmp_path, whole):
    layouts_ct.make_instance22(tmp_path)
    rewrite(mask(tmp_path), np.zeros_like, "u1")
    with pytest.raises(DataError, match=r"1 images have no mask.*: train/label/002.nii.gz: the mask is all zero"):
        make(Instance22, tmp_path).load_test()
    left = by_subject(make(Instance22, tmp_path, unmatched="skip", max_skipped_fraction=0.5).load_test())
    assert left == {subject: found for subject, found in whole.items() if BAD not in subject}


def test_where_all_masks_are_empty_there_is_nothing_to_measure(tmp_path):
    layouts_ct.make_instance22(tmp_path)
    for path in (tmp_path / "train" / "label").iterdir():
        rewrite(path, np.zeros_like, "u1")
    with pytest.raises(DataError, match="4 of 4 cannot be used"):
        make(Instance22, tmp_path, unmatched="skip").load()


def test_a_fourth_axis_of_length_one_is_no_fault(tmp_path, whole):
    layouts_ct.make_instance22(tmp_path)
    rewrite(image(tmp_path), lambda a: a[..., None])
    assert by_subject(make(Instance22, tmp_path).load_test()) == whole


def test_a_missing_mask_is_counted_and_listed_where_the_user_says_so(tmp_path, whole):
    layouts_ct.make_instance22(tmp_path)
    mask(tmp_path).unlink()
    data = make(Instance22, tmp_path, unmatched="skip")
    assert by_subject(data.load_test()) == {s: d for s, d in whole.items() if BAD not in s}
    (problem,) = data.inspect().problems
    assert f"{BAD}.nii.gz" in problem.file


def test_ct_in_a_set_of_mri_is_refused(tmp_path):
    layouts_mri.make_wmh(tmp_path)
    head_files.write_nifti(tmp_path / "test/Utrecht/1/pre/FLAIR.nii.gz", head_files.head(5, ct=True).image)
    with pytest.raises(DataError, match="MRI must not be strongly negative"):
        make(WMH, tmp_path).load_test()


def test_two_copies_of_an_examination_are_an_error_that_names_both(tmp_path):
    layouts_mri.make_ukb(tmp_path)
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "1000010_20253_2_0.zip"
    copy.write_bytes((tmp_path / copy.name).read_bytes())
    with pytest.raises(DataError, match="once") as error:
        make(UKB, tmp_path, n_healthy=3).load()
    assert str(copy) in str(error.value)


def test_one_image_under_two_names_in_two_splits_is_an_error(tmp_path):
    """Leakage by content: subjects differ, pixels do not."""
    head = head_files.head(0, ct=True, lesion=False)
    rows = []
    for i, split in enumerate(("train", "validation", "test", "test")):
        same = head if i in (0, 2) else head_files.head(i, ct=True)
        head_files.write_nifti(tmp_path / "images" / f"{i}.nii.gz", same.image)
        head_files.write_nifti(tmp_path / "masks" / f"{i}.nii.gz", same.lesion, dtype="u1")
        mask = "" if same is head else f"masks/{i}.nii.gz"
        rows.append({"image": f"images/{i}.nii.gz", "mask": mask, "subject": f"p{i}", "split": split})
    head_files.write_csv(tmp_path / "cromis.csv", rows)
    with pytest.raises(DataError, match="image content"):
        make(Cromis, tmp_path).load()


@pytest.mark.parametrize("name", ["../../T2_FLAIR/T2_FLAIR_brain.nii.gz", "/T2_FLAIR/T2_FLAIR_brain.nii.gz"])
def test_a_zip_whose_names_lead_out_of_it_is_not_read(tmp_path, name):
    layouts_mri.make_ukb(tmp_path)
    path = tmp_path / "1000014_20253_2_0.zip"
    head = head_files.head(4)
    files = {name: head.image, "T2_FLAIR/lesions/final_mask.nii.gz": head.lesion}
    path.write_bytes(
        head_files.zip_bytes({n: head_files.gzipped(head_files.nifti(a.astype("f4"))) for n, a in files.items()})
    )
    with pytest.raises(DataError, match="leads out of the archive") as error:
        make(UKB, tmp_path, n_healthy=2).load()
    assert path.name in str(error.value)
    tolerant = make(UKB, tmp_path, n_healthy=2, max_skipped_fraction=0.5)
    assert "ukb/1000014" not in tolerant.load_test().subjects


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(adbench_datasets.imaging.files, "MAX_BYTES", SMALL_LIMIT)
    layouts_mri.make_ukb(tmp_path)
    path = tmp_path / "1000014_20253_2_0.zip"
    good = head_files.gzipped(head_files.nifti(head_files.head(4).lesion, dtype="u1"))
    path.write_bytes(
        head_files.zip_bytes(
            {"T2_FLAIR/T2_FLAIR_brain.nii.gz": bytes(SMALL_LIMIT + 1), "T2_FLAIR/lesions/final_mask.nii.gz": good}
        )
    )
    with pytest.raises(DataError, match="more than the limit"):
        make(UKB, tmp_path, n_healthy=3).load()


def test_pictures_of_different_sizes_in_one_stack_are_a_fault_of_that_case(tmp_path):
    layouts_ct.make_ct_ich(tmp_path, "1.0.0")
    head_files.write_picture(next(tmp_path.rglob("050/brain")) / "3.jpg", np.full((20, 20), 9, np.uint8))
    with pytest.raises(DataError, match="one size"):
        make(CTICH, tmp_path).load_test()


def test_the_root_may_have_blanks_and_other_letters_and_be_a_link(tmp_path, whole):
    place = tmp_path / "Daten für Köpfe 頭"
    layouts_ct.make_instance22(place)
    link = tmp_path / "link"
    link.symlink_to(place)
    for root in (place, link):
        assert by_subject(make(Instance22, root).load_test()) == whole


def test_a_root_that_is_missing_or_not_given_is_an_error_that_says_how_to_give_it(tmp_path):
    with pytest.raises(DataError, match="correct --data-root"):
        make(KCH, tmp_path / "none").load_test()
    with pytest.raises(DataError, match="--data-root or ADBENCH_DATA"):
        KCH(KCH.Config(), None).load_test()
