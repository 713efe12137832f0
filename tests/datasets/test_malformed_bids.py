"""BIDS folders that are named in other ways or contradict themselves: right, or refused with a reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from adbench_datasets.folder import Folder, FolderConfig

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError


def nifti(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([6.0, 6, 6, 1])), path)


def bids(root: Path) -> Path:
    x, y, z = np.mgrid[:32, :32, :6]
    lesion = ((x >= 8) & (x < 13) & (y >= 14) & (y < 19) & (z >= 2) & (z < 4)).astype("u1")
    for i in range(4):
        name = f"sub-{i:02d}"
        image = np.where((x - 16) ** 2 + (y - 16) ** 2 < 150, 100 + i + 9 * np.sin(x / 3), 0).astype("f4")
        image[lesion > 0] = 250
        nifti(root / name / "anat" / f"{name}_FLAIR.nii.gz", image)
        nifti(root / "derivatives" / name / "anat" / f"{name}_label-lesion_mask.nii.gz", lesion)
    return root


def moved(root: Path, old: str, new: str) -> None:
    (root / new).parent.mkdir(parents=True, exist_ok=True)
    (root / old).rename(root / new)


DERIVED = "derivatives/sub-00/anat/sub-00_label-lesion_mask.nii.gz"

RAW = "sub-00/anat/sub-00_FLAIR.nii.gz"

BIDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "image in a session, mask not": (
        lambda r: moved(r, RAW, "sub-00/ses-1/anat/sub-00_ses-1_FLAIR.nii.gz"),
        "no image is there",
    ),
    "mask of another session": (
        lambda r: moved(r, DERIVED, "derivatives/sub-00/ses-2/anat/sub-00_ses-2_label-lesion_mask.nii.gz"),
        "no image is there",
    ),
    "mask of another subject": (
        lambda r: moved(r, DERIVED, "derivatives/sub-77/anat/sub-77_label-lesion_mask.nii.gz"),
        "no image is there",
    ),
    "mask packed otherwise": (lambda r: moved(r, DERIVED, DERIVED.replace(".gz", ".bz2")), "rename it"),
    "mask of tissue": (
        lambda r: moved(r, DERIVED, DERIVED.replace("label-lesion_mask", "dseg")),
        "not found is not none, but 1",
    ),
    "mask of grey matter": (
        lambda r: moved(r, DERIVED, DERIVED.replace("label-lesion", "label-GM")),
        "not found is not none, but 1",
    ),
    "two acquisitions": (
        lambda r: nifti(r / "sub-00/anat/sub-00_acq-3d_FLAIR.nii.gz", np.ones((4, 4, 4), "u1")),
        "choose by --set data.entity",
    ),
    "image beside anat": (lambda r: moved(r, RAW, "sub-00/sub-00_FLAIR.nii.gz"), "lie in sub-.*does not: move it"),
    "image in a folder of its own": (
        lambda r: moved(r, RAW, "sub-00/ses-1/FLAIR/sub-00_FLAIR.nii.gz"),
        "lie in sub-.*does not: move it",
    ),
    "session in capitals": (
        lambda r: nifti(r / "sub-00/Ses-2/anat/sub-00_FLAIR.nii.gz", np.ones((4, 4, 4), "u1")),
        "lie in sub-.*does not: move it",
    ),
    "subject in capitals": (lambda r: (r / "sub-00").rename(r / "Sub-00"), "Folders of subjects are named sub-"),
    "contrast agent in some": (
        lambda r: moved(r, RAW, RAW.replace("_FLAIR", "_ce-gad_FLAIR")),
        "some are named as with a contrast agent",
    ),
    "image packed otherwise": (lambda r: moved(r, RAW, RAW.replace(".gz", ".bz2")), "is not: convert it"),
}


def of_another_session(root: Path, name: str = "sub-00_ses-2_label-lesion_mask.nii.gz") -> None:
    """The image is of session 1; session 2 has T1 and the lesion mask."""
    moved(root, RAW, "sub-00/ses-1/anat/sub-00_ses-1_FLAIR.nii.gz")
    nifti(root / "sub-00/ses-2/anat/sub-00_ses-2_T1w.nii.gz", np.ones((4, 4, 4), "u1"))
    moved(root, DERIVED, f"derivatives/sub-00/ses-2/anat/{name}")


def mask_at(path: str) -> Callable[[Path], None]:
    """Moves the mask of sub-00 there."""
    return lambda root: moved(root, DERIVED, path)


NO_OTHER = "no image of its session has another"
"""Said of a mask of something unknown."""
STRAY: dict[str, tuple[Callable[[Path], object], str]] = {
    "of a session with another contrast": (of_another_session, NO_OTHER),
    "without a label, so": (lambda r: of_another_session(r, "sub-00_ses-2_mask.nii.gz"), NO_OTHER),
    "of a session with no image, without a label": (
        mask_at("derivatives/sub-00/ses-2/anat/sub-00_ses-2_mask.nii.gz"),
        "no image is there",
    ),
    "named as of another subject": (mask_at(DERIVED.replace("sub-00_label", "sub-01_label")), "no image is there"),
    "named as of a session": (mask_at(DERIVED.replace("sub-00_label", "sub-00_ses-2_label")), "no image is there"),
    "in no folder of a subject": (mask_at("derivatives/lesions/sub-00_label-lesion_mask.nii.gz"), "no image is there"),
    "beside its image": (
        mask_at(DERIVED.removeprefix("derivatives/")),
        "lies in derivatives and is of an image that is read, in its space",
    ),
    "in another folder": (
        mask_at(DERIVED.replace("derivatives", "masks")),
        "lies in derivatives and is of an image that is read, in its space",
    ),
    "without a label, of another type": (mask_at(DERIVED.replace("label-lesion_mask.nii.gz", "mask.mha")), "rename it"),
    "named as nobody knows what": (mask_at(DERIVED.replace("label-lesion", "desc-manual")), NO_OTHER),
    "of something beside its image": (
        mask_at(DERIVED.removeprefix("derivatives/").replace("label-lesion", "label-penumbra")),
        NO_OTHER,
    ),
    "as another program names a segmentation": (mask_at(DERIVED.replace("label-lesion_mask", "FLAIR_seg")), NO_OTHER),
    "without its subject": (mask_at(DERIVED.replace("sub-00_label-lesion_mask", "wmh")), NO_OTHER),
    "in another space": (mask_at(DERIVED.replace("label-lesion", "space-MNI152NLin6Asym_label-lesion")), NO_OTHER),
    "as probabilities": (mask_at(DERIVED.replace("mask", "probseg")), "rename it"),
    "as a segmentation": (mask_at(DERIVED.replace("label-lesion_mask", "lesion_seg")), "rename it"),
    "of an image of another subject": (
        lambda r: moved(r, RAW, RAW.replace("sub-00_FLAIR", "sub-01_FLAIR")),
        "is of sub-01 by its name, not of sub-00",
    ),
}


@pytest.mark.parametrize("name", STRAY)
def test_a_stray_lesion_mask_of_a_bids_set_is_refused_though_images_without_one_are_said_to_be_healthy(
    tmp_path: Path, name: str
) -> None:
    change, words = STRAY[name]
    change(bids(tmp_path))
    for unmatched in ("refuse", "healthy"):
        data = Folder(FolderConfig(size=64, unmatched=unmatched), tmp_path, DataRuntime(workers=1))
        for verb in (data.load_test, data.inspect):
            with pytest.raises(DataError, match=words):
                verb()


LESIONS = ("label-WMH_mask", "label-L_desc-T1lesion_mask", "desc-lesion_roi", "label-lesion_desc-manual_mask",
           "label-tumor_dseg", "space-orig_label-lesion_mask", "space-FLAIR_label-lesion_mask")  # fmt: skip


def test_a_mask_that_names_a_lesion_in_another_word_is_its_image_s_whatever_lies_beside_it(tmp_path: Path) -> None:
    for i, named in enumerate(LESIONS):
        root = bids(tmp_path / str(i))
        moved(root, DERIVED, DERIVED.replace("label-lesion_mask", named))
        anat = (root / DERIVED).parent
        (anat / "._sub-00_label-lesion_mask.nii.gz").write_bytes(bytes(4096))
        for other in ("space-MNI152NLin6Asym_label-lesion_mask", "label-GM_mask", "desc-brain_mask", "desc-my_mask"):
            nifti(anat / f"sub-00_{other}.nii.gz", np.ones((4, 4, 4), "u1"))
        cases = Folder(FolderConfig(size=64), root, DataRuntime(workers=1)).cases(root)
        assert str(cases[0].lesion).endswith(f"/sub-00_{named}.nii.gz")
        assert all(case.lesion is not None for case in cases)


def test_stray_masks_of_other_images_are_named_and_left_out_with_what_has_none_where_the_user_says_so(
    tmp_path: Path,
) -> None:
    of_another_session(bids(tmp_path))
    said: list[str] = []
    config = FolderConfig(size=64, unmatched="skip", max_skipped_fraction=0.5)
    data = Folder(config, tmp_path, DataRuntime(workers=1, notify=said.append))
    assert set(data.load_test().subjects) == {f"folder/sub-0{i}" for i in (1, 2, 3)}
    assert any("sub-00_ses-2_label-lesion_mask.nii.gz" in text for text in said)


def test_a_mask_of_another_acquisition_is_no_stray_where_the_image_has_its_own(tmp_path: Path) -> None:
    bids(tmp_path)
    moved(tmp_path, RAW, "sub-00/anat/sub-00_acq-3d_FLAIR.nii.gz")
    moved(tmp_path, DERIVED, "derivatives/sub-00/anat/sub-00_acq-3d_label-lesion_mask.nii.gz")
    nifti(tmp_path / "sub-00/anat/sub-00_acq-2d_T1w.nii.gz", np.ones((4, 4, 4), "u1"))
    other = "derivatives/sub-00/anat/sub-00_acq-2d_label-lesion_mask.nii.gz"
    nifti(tmp_path / other, np.ones((4, 4, 4), "u1"))
    cases = Folder(FolderConfig(size=64), tmp_path, DataRuntime(workers=1)).cases(tmp_path)
    assert all(case.lesion is not None and "acq-2d" not in str(case.lesion) for case in cases)


@pytest.mark.parametrize("name", BIDS)
def test_a_bids_set_whose_masks_or_images_are_not_clear_is_refused(tmp_path: Path, name: str) -> None:
    change, words = BIDS[name]
    change(bids(tmp_path))
    with pytest.raises(DataError, match=words):
        Folder(FolderConfig(size=64), tmp_path, DataRuntime(workers=1)).load_test()


def test_a_subject_without_the_image_is_said(tmp_path: Path) -> None:
    nifti(bids(tmp_path) / "sub-04/anat/sub-04_T1w.nii.gz", np.ones((4, 4, 4), "u1"))
    said: list[str] = []
    Folder(FolderConfig(size=64), tmp_path, DataRuntime(workers=1, notify=said.append)).load_test()
    assert len(said) == 1
    assert re.search("folder: images that are not read, beside those that are: .*sub-04$", said[0])


@pytest.mark.parametrize(
    ("first", "others", "words"), [("acq-3d_", "", "none of acq, acq-3d"), ("ce-Gd_", "ce-gad_", "ce-Gd, ce-gad")]
)
def test_images_that_were_made_in_unlike_ways_are_said(tmp_path: Path, first: str, others: str, words: str) -> None:
    for i, path in enumerate(sorted(bids(tmp_path).glob("sub-*/anat/*"))):
        path.rename(path.with_name(path.name.replace("FLAIR", f"{others if i else first}FLAIR")))
    said: list[str] = []
    Folder(FolderConfig(size=64), tmp_path, DataRuntime(workers=1, notify=said.append)).load_test()
    assert said == [f"images differ in how they were made: {words}"]


def test_an_image_of_one_run_need_not_be_numbered_where_one_of_several_is_chosen(tmp_path: Path) -> None:
    moved(bids(tmp_path), RAW, RAW.replace("_FLAIR", "_run-1_FLAIR"))
    nifti(tmp_path / RAW.replace("_FLAIR", "_run-2_FLAIR"), np.ones((4, 4, 4), "u1"))
    cases = Folder(FolderConfig(entity="run-1"), tmp_path, DataRuntime(workers=1)).cases(tmp_path)
    assert [str(case.image).endswith("_run-1_FLAIR.nii.gz") for case in cases] == [True, False, False, False]
    with pytest.raises(DataError, match="0 have run-3"):
        Folder(FolderConfig(entity="run-3"), tmp_path, DataRuntime(workers=1)).cases(tmp_path)


def test_a_brain_mask_in_another_space_is_not_that_of_the_image(tmp_path: Path) -> None:
    brain = DERIVED.replace("label-lesion", "space-MNI152NLin6Asym_desc-brain")
    nifti(bids(tmp_path) / brain, np.ones((4, 4, 4), "u1"))
    nifti(tmp_path / brain.replace("00", "01").replace("space-MNI152NLin6Asym_", ""), np.ones((4, 4, 4), "u1"))
    cases = Folder(FolderConfig(size=64), tmp_path, DataRuntime(workers=1)).cases(tmp_path)
    assert [case.brain is not None for case in cases] == [False, True, False, False]


@pytest.mark.parametrize("name", ["label-GM_mask", "desc-deface_mask", "mod-T1w_defacemask", "desc-brain_mask"])
def test_a_mask_of_tissue_beside_an_image_does_not_make_it_sick(tmp_path: Path, name: str) -> None:
    (bids(tmp_path) / DERIVED).unlink()
    nifti(tmp_path / RAW.replace("FLAIR", name), np.ones((4, 4, 4), "u1"))
    data = Folder(FolderConfig(size=64, unmatched="healthy"), tmp_path, DataRuntime(workers=1))
    assert len(set(data.load_test().subjects)) == 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"modality": "T1"}, r"data.modality=T1 and images named \*_FLAIR"),
        ({"modality": "CT"}, r"data.modality=CT and images named \*_FLAIR"),
        ({"subject_pattern": "(.*)"}, "in the layout BIDS names of files are not looked at"),
        ({"pixel_mm": 0.5}, "NIfTI says how large its voxels are"),
        ({"channel": 1}, "no image is a picture"),
    ],
)
def test_settings_that_contradict_the_files_or_mean_nothing_are_refused(
    tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        Folder(FolderConfig(size=64, **settings), bids(tmp_path), DataRuntime(workers=1)).load_test()


def test_one_of_several_acquisitions_is_chosen_by_name_and_a_dseg_may_be_named_a_lesion(tmp_path: Path) -> None:
    bids(tmp_path)
    moved(tmp_path, DERIVED, DERIVED.replace("label-lesion_mask", "label-lesion_dseg"))
    for i in range(4):
        place = tmp_path / f"sub-0{i}" / "anat"
        (place / f"sub-0{i}_FLAIR.nii.gz").rename(place / f"sub-0{i}_acq-3d_FLAIR.nii.gz")
        nifti(place / f"sub-0{i}_acq-2d_FLAIR.nii.gz", np.ones((4, 4, 4), "u1"))
    data = Folder(FolderConfig(size=64, entity="acq-3d"), tmp_path, DataRuntime(workers=1))
    assert len(set(data.load_test().subjects)) == 4
