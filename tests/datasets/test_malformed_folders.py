"""A user's own files, written by other programs and named in other ways: right, or refused with a reason."""

from __future__ import annotations

import bz2
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from adbench_datasets.folder import Folder, FolderConfig
from picture_folders import BLOB, MASK, head, lesion_px, load, pictures, put
from PIL import Image

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError


def replaced(root: Path, name: str, write: Callable[[Path], object]) -> None:
    """One mask under another name."""
    (root / "test/lesions/x1.png").unlink()
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    write(root / name)


NOT_FOUND: dict[str, tuple[Callable[[Path], object], str]] = {
    "bmp": (lambda r: replaced(r, "test/lesions/x1.bmp", lambda p: iio.imwrite(p, MASK)), "x1.bmp is not"),
    "gif": (lambda r: replaced(r, "test/lesions/x1.gif", lambda p: iio.imwrite(p, MASK)), "x1.gif is not"),
    "npy": (lambda r: replaced(r, "test/lesions/x1.npy", lambda p: np.save(p, MASK)), "x1.npy is not"),
    "nii.bz2": (
        lambda r: replaced(r, "test/lesions/x1.nii.bz2", lambda p: p.write_bytes(bz2.compress(b"x"))),
        "x1.nii.bz2 is not",
    ),
    "mha": (
        lambda r: replaced(r, "test/lesions/x1.mha", lambda p: sitk.WriteImage(sitk.GetImageFromArray(MASK), str(p))),
        "x1.mha is not",
    ),
    "nrrd": (
        lambda r: replaced(r, "test/lesions/x1.nrrd", lambda p: sitk.WriteImage(sitk.GetImageFromArray(MASK), str(p))),
        "x1.nrrd is not",
    ),
    "FreeSurfer": (
        lambda r: replaced(r, "test/lesions/x1.mgz", lambda p: nib.save(nib.MGHImage(MASK, np.eye(4)), p)),
        "x1.mgz is not",
    ),
    "SPM": (
        lambda r: replaced(r, "test/lesions/x1.img", lambda p: nib.save(nib.Spm2AnalyzeImage(MASK, np.eye(4)), p)),
        "x1.hdr is not",
    ),
    "pair of NIfTI": (
        lambda r: replaced(r, "test/lesions/x1.img", lambda p: nib.save(nib.Nifti1Pair(MASK, np.eye(4)), p)),
        "x1.hdr is not",
    ),
    "3D Slicer": (
        lambda r: replaced(
            r, "test/lesions/x1.seg.nrrd", lambda p: sitk.WriteImage(sitk.GetImageFromArray(MASK), str(p))
        ),
        "x1.seg.nrrd is not",
    ),
    "half a download": (lambda r: (r / "train/t9.png.part").write_bytes(b"x"), "t9.png.part is not"),
    "in a folder beside": (
        lambda r: replaced(r, "test/masks/x1.png", lambda p: iio.imwrite(p, MASK)),
        "folders images and lesions alone, but there is .*masks/x1.png",
    ),
    "beside the folders": (
        lambda r: replaced(r, "test/x1.png", lambda p: iio.imwrite(p, MASK)),
        "folders images and lesions alone, but there is .*x1.png",
    ),
    **{
        f"images in {folder}": (
            lambda r, folder=folder: (r / folder).mkdir() or (r / "train/t1.png").rename(r / folder / "t1.png"),
            f"{folder} is named like one of them",
        )
        for folder in ("valid", "Val", "train2", "Training", "testing")
    },
    "a table in capitals": (
        lambda r: (r / "Cases.csv").write_text("image\n"),
        "is cases.csv, but .*Cases.csv",
    ),
    "a table of Excel": (lambda r: (r / "cases.xlsx").write_bytes(b"PK"), "is cases.csv, but .*cases.xlsx"),
    "sub-folder": (
        lambda r: replaced(r, "test/lesions/defect/x1.png", lambda p: iio.imwrite(p, MASK)),
        "folder defect",
    ),
    "_label": (lambda r: replaced(r, "test/lesions/x1_label.png", lambda p: iio.imwrite(p, MASK)), "first 'x1_label'"),
    "upper case": (lambda r: replaced(r, "test/lesions/X1.PNG", lambda p: Image.fromarray(MASK).save(p)), "first 'X1'"),
    "missing": (lambda r: (r / "test/lesions/x1.png").unlink(), "not found is not none, but 1 images"),
    "empty folder": (lambda r: [p.unlink() for p in (r / "test/lesions").iterdir()], "but 3 images have no mask"),
    "all zero": (lambda r: put(r / "test/lesions/x1.png", 0 * MASK), "the mask is all zero"),
    "training image as bmp": (lambda r: (r / "train/t1.png").rename(r / "train/t1.bmp"), "t1.bmp is not"),
    "training images in a folder": (lambda r: put(r / "train/more/t9.png", head(30)), "the folder more"),
    "test image as dcm": (lambda r: (r / "test/images/x1.png").rename(r / "test/images/x1.dcm"), "x1.dcm is not"),
    "two masks of a name": (lambda r: put(r / "test/lesions/x1.tif", MASK), "both 'x1'"),
}


@pytest.mark.parametrize("name", NOT_FOUND)
def test_a_mask_or_image_that_is_not_found_is_named_by_check_and_run(tmp_path: Path, name: str) -> None:
    change, words = NOT_FOUND[name]
    change(pictures(tmp_path))
    with pytest.raises(DataError, match=words):
        load(tmp_path)
    data = Folder(FolderConfig(size=64), tmp_path, DataRuntime(workers=1))
    try:
        stopping = [problem.what for problem in data.inspect().problems if not problem.skipped]
    except DataError as error:
        stopping = [str(error)]
    assert re.search(words, " ".join(stopping))


def test_an_image_without_a_mask_is_healthy_or_skipped_only_where_the_user_says_so(tmp_path: Path) -> None:
    put(pictures(tmp_path) / "test/lesions/x1.png", 0 * MASK)
    (tmp_path / "test/lesions/x2.png").unlink()
    assert sorted(lesion_px(tmp_path, unmatched="healthy")) == [0, 0, BLOB.sum()]
    assert lesion_px(tmp_path, unmatched="skip", max_skipped_fraction=0.5) == [BLOB.sum()]


@pytest.mark.parametrize("name", ["originals", "value_maps", "trained"])
def test_images_in_a_folder_of_another_name_and_beside_those_of_a_table_are_said(tmp_path: Path, name: str) -> None:
    put(pictures(tmp_path) / name / "t0.png", head(0))
    (tmp_path / "__MACOSX" / "originals").mkdir(parents=True)
    (tmp_path / "__MACOSX/originals/._t0.png").write_text("")
    said: list[str] = []
    load(tmp_path, said)
    assert len(said) == 1
    assert re.search(f"folder: images that are not read, beside those that are: .*{name}$", said[0])
    rows = [f"train/t{i}.png,,,t{i},train" for i in range(5)]
    rows += [f"test/images/x{i}.png,test/lesions/x{i}.png,,x{i},test" for i in range(2)]
    (tmp_path / "cases.csv").write_text("\n".join(["image,lesion,brain,subject,split", *rows]))
    said.clear()
    load(tmp_path, said)
    assert len(said) == 1
    assert re.search(f"images that are not read, beside those that are: .*{name}, .*x2.png$", said[0])


@pytest.mark.parametrize(("form", "of_one"), [("p{}_slice{}", True), ("sub-{}-{}", True), ("p{}", False)])
def test_test_images_that_may_be_of_people_to_train_on_are_said(tmp_path: Path, form: str, of_one: bool) -> None:
    pictures(tmp_path)
    for i in range(5):
        (tmp_path / f"train/t{i}.png").rename(tmp_path / "train" / f"{form.format(i, 10)}.png")
    for i in range(3):
        for folder in ("images", "lesions"):
            name = form.format(i if of_one else i + 7, 11)
            (tmp_path / f"test/{folder}/x{i}.png").rename(tmp_path / f"test/{folder}" / f"{name}.png")
    said: list[str] = []
    load(tmp_path, said)
    assert any("3 names of images to test on begin as those to train on" in text for text in said) == of_one
    if of_one:
        with pytest.raises(DataError, match="belongs to one split"):
            load(tmp_path, subject_pattern=r"(\d+)")


@pytest.mark.parametrize(
    "settings",
    [{"window_width_hu": 80.0}, {"window_centre_hu": 50.0}, {"modality": "CT", "upper_percentile": 99.0}],
)
def test_a_setting_of_a_scale_that_no_image_has_is_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"means nothing here: no image is"):
        load(pictures(tmp_path), **settings)


def test_what_lies_beside_images_is_no_image(tmp_path: Path) -> None:
    pictures(tmp_path)
    for name in ("README", "notes.txt", "x1.json", ".DS_Store", "._x1.png", "Thumbs.db", "desktop.ini", "sizes.xlsx"):
        for folder in ("train", "test", "test/images", "test/lesions"):
            (tmp_path / folder / name).write_text("")
    (tmp_path / "test/lesions/__MACOSX").mkdir()
    (tmp_path / "test/lesions/__MACOSX/._x1.png").write_text("")
    (tmp_path / "test/lesions/empty").mkdir()
    assert len(lesion_px(tmp_path)) == 3


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


NO_OTHER = "no image of its session has another"
"""Said of a mask of something unknown."""
STRAY: dict[str, tuple[Callable[[Path], object], str]] = {
    "of a session with another contrast": (of_another_session, NO_OTHER),
    "without a label, so": (
        lambda r: of_another_session(r, "sub-00_ses-2_mask.nii.gz"),
        NO_OTHER,
    ),
    "of a session with no image, without a label": (
        lambda r: moved(r, DERIVED, "derivatives/sub-00/ses-2/anat/sub-00_ses-2_mask.nii.gz"),
        "no image is there",
    ),
    "named as of another subject": (
        lambda r: moved(r, DERIVED, DERIVED.replace("sub-00_label", "sub-01_label")),
        "no image is there",
    ),
    "named as of a session": (
        lambda r: moved(r, DERIVED, DERIVED.replace("sub-00_label", "sub-00_ses-2_label")),
        "no image is there",
    ),
    "in no folder of a subject": (
        lambda r: moved(r, DERIVED, "derivatives/lesions/sub-00_label-lesion_mask.nii.gz"),
        "no image is there",
    ),
    "beside its image": (
        lambda r: moved(r, DERIVED, DERIVED.removeprefix("derivatives/")),
        "lies in derivatives and is of an image that is read, in its space",
    ),
    "in another folder": (
        lambda r: moved(r, DERIVED, DERIVED.replace("derivatives", "masks")),
        "lies in derivatives and is of an image that is read, in its space",
    ),
    "without a label, of another type": (
        lambda r: moved(r, DERIVED, DERIVED.replace("label-lesion_mask.nii.gz", "mask.mha")),
        "rename it",
    ),
    "named as nobody knows what": (
        lambda r: moved(r, DERIVED, DERIVED.replace("label-lesion", "desc-manual")),
        NO_OTHER,
    ),
    "of something beside its image": (
        lambda r: moved(r, DERIVED, DERIVED.removeprefix("derivatives/").replace("label-lesion", "label-penumbra")),
        NO_OTHER,
    ),
    "as another program names a segmentation": (
        lambda r: moved(r, DERIVED, DERIVED.replace("label-lesion_mask", "FLAIR_seg")),
        NO_OTHER,
    ),
    "without its subject": (
        lambda r: moved(r, DERIVED, DERIVED.replace("sub-00_label-lesion_mask", "wmh")),
        NO_OTHER,
    ),
    "in another space": (
        lambda r: moved(r, DERIVED, DERIVED.replace("label-lesion", "space-MNI152NLin6Asym_label-lesion")),
        NO_OTHER,
    ),
    "as probabilities": (lambda r: moved(r, DERIVED, DERIVED.replace("mask", "probseg")), "rename it"),
    "as a segmentation": (lambda r: moved(r, DERIVED, DERIVED.replace("label-lesion_mask", "lesion_seg")), "rename it"),
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
