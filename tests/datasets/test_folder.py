"""`folder`: the user's own images as folders, table or BIDS, and what is said where something does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import head_files
import layouts_folder
import numpy as np
import pytest
from adbench_datasets.folder import Folder, FolderConfig
from PIL import Image
from pydantic import ValidationError

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError

HEADER = "image,lesion,brain,subject,split\n"


def folder(root: Path, **config: Any) -> Folder:
    return Folder(FolderConfig(**{"size": 64, **config}), root, DataRuntime(workers=1))


def table(root: Path, rows: str, header: str = HEADER) -> None:
    (root / "cases.csv").write_text(header + rows, encoding="utf-8")


@pytest.fixture
def images(tmp_path) -> Path:
    layouts_folder.make_folder(tmp_path)
    return tmp_path


@pytest.mark.parametrize("suffix", ["nii.gz", "nii", "png", "jpg", "tif"])
@pytest.mark.parametrize("release", ["folders", "csv"])
def test_every_kind_of_file_gives_the_same_splits(tmp_path, release, suffix):
    layouts_folder.make_folder(tmp_path, release, suffix)
    splits = folder(tmp_path).load()
    assert set(splits.train.subjects) == {"folder/s0", "folder/s1", "folder/s2"}
    assert set(splits.validation.subjects) == {"folder/s3"}
    assert set(splits.test.subjects) == {f"folder/s{i}" for i in range(4, 8)}
    assert splits.test.lesions is not None
    assert splits.test.lesions.any(axis=(1, 2, 3)).sum() >= 4


def test_a_picture_and_the_slice_of_a_volume_keep_the_lesion_on_the_same_side(tmp_path):
    """The fixture's lesion lies right, front: the upper left quarter."""
    for suffix in ("png", "nii.gz"):
        layouts_folder.make_folder(tmp_path / suffix, "folders", suffix)
        lesions = folder(tmp_path / suffix).load_test().lesions
        assert lesions is not None
        rows, columns = np.nonzero(lesions.any(axis=(0, 1)))
        assert max(rows.max(), columns.max()) < 32


def test_the_name_of_a_set_changes_neither_images_nor_what_is_kept_of_them(images):
    named, other = folder(images, name="my-hospital"), folder(images)
    assert (named.name, other.name) == ("my-hospital", "")
    assert named.load().fingerprint == other.load().fingerprint
    assert named.prepared().folder.name == other.prepared().folder.name


@pytest.mark.parametrize("name", ["", "My set", "a/b", "../a", "-a", "a" * 41, "Ümlaut"])
def test_a_name_of_a_set_is_one_of_a_folder_and_a_page(name):
    with pytest.raises(ValidationError, match="name"):
        FolderConfig(name=name)


@pytest.mark.parametrize(("modality", "card"), [("MRI", "MRI"), ("T1", "MRI T1"), ("FLAIR", "MRI FLAIR"), ("CT", "CT")])
def test_the_card_says_the_contrast_that_the_user_says(modality, card):
    dataset = Folder(FolderConfig(modality=modality))
    assert dataset.info.modality == card
    assert dataset.modality == card[:3].strip()


def test_colour_pictures_need_a_channel(tmp_path):
    made = layouts_folder.make_folder(tmp_path, "folders", "png")
    for path in tmp_path.rglob("s*.png"):
        if "lesions" not in path.parts:
            grey = np.asarray(Image.open(path))
            head_files.write_picture(path, np.stack([grey // 2, grey, grey // 3], axis=-1))
    with pytest.raises(DataError, match="channels differ"):
        folder(tmp_path).load()
    data = folder(tmp_path, channel=1)
    case = next(case for case in data.cases(tmp_path) if case.subject == "folder/s0")
    middle = head_files.SHAPE[2] // 2
    assert (data.read(case).image[..., 0] == (made["s0"].image[..., middle] / 4).astype(np.uint8)).all()


def test_the_kind_of_units_follows_modality_and_file(tmp_path):
    layouts_folder.make_folder(tmp_path / "a", "folders", "png")
    layouts_folder.make_folder(tmp_path / "b", "folders", "nii")
    pictures, volumes = (folder(tmp_path / x, modality="CT") for x in "ab")
    assert pictures.units(pictures.cases(tmp_path / "a")[0]) == "grey"
    assert volumes.units(volumes.cases(tmp_path / "b")[0]) == "hu"
    assert folder(tmp_path / "b").units(volumes.cases(tmp_path / "b")[0]) == "mri"
    assert (volumes.info.modality, folder(tmp_path / "b").info.modality) == ("CT", "MRI")
    with pytest.raises(DataError, match="CT must be in HU"):
        volumes.load_test()


def test_a_picture_may_say_how_large_its_pixels_are(tmp_path):
    layouts_folder.make_folder(tmp_path, "folders", "png")
    data = folder(tmp_path, pixel_mm=6)
    assert data.read(data.cases(tmp_path)[0]).spacing_mm == (6, 6, 6)


def test_the_subject_may_be_a_part_of_the_name(images):
    (images / "train" / "s1.nii.gz").rename(images / "train" / "s0_second.nii.gz")
    cases = folder(images, subject_pattern=r"^(s\d)").cases(images)
    assert [case.session for case in cases if case.subject == "folder/s0"] == ["s0", "s0_second"]
    with pytest.raises(DataError, match="does not fit 's0'"):
        folder(images, subject_pattern=r"^(x\d)").cases(images)
    for pattern, message in (("s.", "a group is needed"), ("(", "not a regular expression")):
        with pytest.raises(ValidationError, match=message):
            FolderConfig(subject_pattern=pattern)


def test_a_test_image_without_a_mask_is_skipped_or_healthy_as_the_user_says(images):
    (images / "test" / "lesions" / "s4.nii.gz").unlink()
    with pytest.raises(DataError, match=r"not found is not none, but 1 images.*s4\.nii\.gz.*data\.unmatched=healthy"):
        folder(images).load_test()
    assert len(set(folder(images, unmatched="skip").load_test().subjects)) == 7
    assert len(set(folder(images, unmatched="healthy").load_test().subjects)) == 8


def test_a_mask_without_an_image_is_an_error(images):
    (images / "test" / "lesions" / "s4.nii.gz").rename(images / "test" / "lesions" / "s4_seg.nii.gz")
    with pytest.raises(DataError, match="no image, first 's4_seg'"):
        folder(images).cases(images)


def test_without_test_images_there_is_nothing_to_test_on(images):
    for part in ("images", "lesions"):
        for path in (images / "test" / part).iterdir():
            path.unlink()
    with pytest.raises(DataError, match="test"):
        folder(images).load()


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ("a.nii,,,s0,train\n", "image,mask,brain,subject,split\n", "lacks lesion"),
        ("train/s0.nii.gz,,,s0,training set\n", HEADER, "row 2: split must be train, validation, test"),
        ("train/s0.nii.gz,,,s0,train\ntrain/s1.nii.gz,,,s1,\n", HEADER, "row 3 is empty"),
        ("train/s9.nii.gz,,,s0,train\n", HEADER, r"row 2: image names 'train/s9\.nii\.gz'.*no file"),
        ("train/s0.nii.gz,train/x.nii,,s0,train\n", HEADER, r"row 2: lesion names 'train/x\.nii'.*no file"),
        ("train/s0.nii.gz,,train/x.nii,s0,train\n", HEADER, r"row 2: brain names 'train/x\.nii'.*no file"),
        (",,,s0,train\n", HEADER, "row 2: image may not be empty"),
        ("train/s0.nii.gz,,,,train\n", HEADER, "row 2: subject may not be empty"),
        ("train/s0.nii.gz,,,s0,train,more\n", HEADER, "row 2 has 6 cells for 5 columns"),
        ("../../etc/hosts,,,s0,train\n", HEADER, "must lie below"),
        ("/etc/hosts,,,s0,train\n", HEADER, "must lie below"),
        ("train,,,s0,train\n", HEADER, "no file"),
        ('"train/s0.nii.gz,,,s0,train\n', HEADER, "is no CSV"),
    ],
)
def test_a_table_that_does_not_fit_is_an_error_that_names_row_and_rule(images, rows, header, message):
    table(images, rows, header)
    with pytest.raises(DataError, match=message) as error:
        folder(images).cases(images)
    assert "cases.csv" in str(error.value)


def test_sessions_of_a_subject_may_have_files_of_one_name(images):
    for session in ("one", "two"):
        (images / session).mkdir()
    for session, number in (("one", 0), ("two", 1)):
        (images / "train" / f"s{number}.nii.gz").rename(images / session / "flair.nii.gz")
    table(images, "one/flair.nii.gz,,,a,\ntwo/flair.nii.gz,,,a,\n")
    assert [case.session for case in folder(images).cases(images)] == ["one/flair.nii.gz", "two/flair.nii.gz"]


def test_no_preset_leaves_out_images_of_the_user():
    assert all("max_subjects" not in values for values in Folder.presets.values())


def test_a_link_in_a_circle_is_a_file_that_is_not_there(images):
    (images / "a.nii.gz").symlink_to(images / "b.nii.gz")
    (images / "b.nii.gz").symlink_to(images / "a.nii.gz")
    table(images, "a.nii.gz,,,a,\n")
    with pytest.raises(DataError, match=r"image names 'a\.nii\.gz'.*is no file"):
        folder(images).cases(images)


def test_a_subject_in_two_splits_or_an_image_listed_twice_is_an_error(images):
    table(images, "train/s0.nii.gz,,,a,train\ntest/images/s4.nii.gz,test/lesions/s4.nii.gz,,a,test\n")
    with pytest.raises(DataError, match="one split, but 'folder/a'"):
        folder(images).load()
    table(images, "train/s0.nii.gz,,,a,train\ntrain/s0.nii.gz,,,a,train\n")
    with pytest.raises(DataError, match="once"):
        folder(images).load()


def test_tables_of_other_programs_are_read(images):
    rows = (images / "cases.csv", "Image;Lesion;Brain;Subject;Split\r\ntrain/s0.nii.gz; none ;;a;Val\r\n\r\n")
    rows[0].write_bytes(("\ufeff" + rows[1]).encode())
    (case,) = folder(images).cases(images)
    assert (case.subject, case.split, case.lesion_free) == ("folder/a", "validation", True)
    rows[0].write_bytes("image,lesion,brain,subject,split\nä".encode("latin-1"))
    with pytest.raises(DataError, match="must be UTF-8"):
        folder(images).cases(images)


def test_a_table_that_was_asked_for_must_be_there(images):
    with pytest.raises(DataError, match=r"looks for mine\.csv"):
        folder(images, table="mine.csv").cases(images)


def test_a_brain_mask_of_the_table_is_used(images):
    head = head_files.head(4)
    head_files.write_nifti(images / "brains" / "s4.nii.gz", head.brain, dtype="u1")
    table(images, "test/images/s4.nii.gz,test/lesions/s4.nii.gz,brains/s4.nii.gz,s4,test\n")
    data = folder(images)
    scan = data.read(data.cases(images)[0])
    assert (scan.brain == head.brain).all()


@pytest.mark.parametrize("brain", [np.ones, lambda shape: np.full(shape, 0.01)])
def test_a_brain_mask_of_the_whole_frame_is_refused(images, brain):
    head_files.write_nifti(images / "brains" / "s4.nii.gz", brain(head_files.SHAPE))
    table(images, "test/images/s4.nii.gz,test/lesions/s4.nii.gz,brains/s4.nii.gz,s4,test\n")
    data = folder(images)
    with pytest.raises(DataError, match="a brain does not reach all four edges"):
        data.read(data.cases(images)[0])


def bids(root: Path, **config: Any) -> Folder:
    layouts_folder.make_folder(root, "bids")
    return folder(root, **config)


def test_bids_subjects_without_a_mask_are_skipped_unless_they_are_healthy(tmp_path):
    data = bids(tmp_path)
    with pytest.raises(DataError, match="not found is not none, but 4 images"):
        data.load_test()
    assert [problem.skipped for problem in data.inspect().problems] == [True] * 4 + [False]
    assert len(set(folder(tmp_path, unmatched="skip").load_test().subjects)) == 4
    assert len(set(folder(tmp_path, unmatched="healthy").load_test().subjects)) == 8


def test_bids_sessions_are_examinations_of_one_subject_with_their_own_masks(tmp_path):
    head = head_files.head(20)
    for session in ("01", "02"):
        place, stem = Path("sub-x") / f"ses-{session}" / "anat", f"sub-x_ses-{session}"
        head_files.write_nifti(tmp_path / place / f"{stem}_FLAIR.nii.gz", head.image)
        head_files.write_nifti(tmp_path / place / f"{stem}_T1w.nii.gz", head.image)
        masks = tmp_path / "derivatives" / "manual" / "final" / place
        head_files.write_nifti(masks / f"{stem}_space-orig_mask.nii.gz", head.lesion, dtype="u1")
        head_files.write_nifti(masks / f"{stem}_desc-brain_mask.nii.gz", head.brain, dtype="u1")
    data = folder(tmp_path)
    cases = data.cases(tmp_path)
    assert [case.subject for case in cases] == ["folder/sub-x", "folder/sub-x"]
    for case in cases:
        assert f"ses-{case.session[4:6]}" in str(case.lesion)
        scan = data.read(case)
        assert (scan.lesion == head.lesion).all()
        assert (scan.brain == head.brain).all()


def test_two_masks_that_may_be_the_lesion_are_an_error(tmp_path):
    data = bids(tmp_path)
    place = tmp_path / "derivatives" / "other" / "sub-05" / "anat"
    head_files.write_nifti(place / "sub-05_label-lesion_mask.nii.gz", head_files.head(5).lesion, dtype="u1")
    with pytest.raises(DataError, match=r"sub-05_FLAIR\.nii\.gz has 2"):
        data.cases(tmp_path)


def test_another_bids_suffix_may_be_named(tmp_path):
    data = bids(tmp_path, suffix="T1w")
    with pytest.raises(DataError, match=r"sub-\*/anat/\*_T1w"):
        data.cases(tmp_path)
    head_files.write_nifti(tmp_path / "sub-00" / "anat" / "sub-00_T1w.nii.gz", head_files.head(0).image)
    with pytest.raises(DataError, match=r"sub-04_label-lesion_mask\.nii\.gz"):
        data.cases(tmp_path)
    assert len(folder(tmp_path, suffix="T1w", unmatched="skip").cases(tmp_path)) == 1


def test_the_table_is_named_from_the_root_on_since_records_and_models_hold_its_name():
    with pytest.raises(ValidationError, match="table"):
        FolderConfig(table="/home/someone/patients/cases.csv")
