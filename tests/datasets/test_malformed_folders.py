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
