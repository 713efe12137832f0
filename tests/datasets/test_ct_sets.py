"""CT sets: private ones in a generic layout, CT-ICH in both releases, INSTANCE22, BHSD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import head_files
import layouts_ct
import numpy as np
import pytest
from adbench_datasets.bhsd import BHSD
from adbench_datasets.ct_bleeds import KCH, Chronic, Cromis
from adbench_datasets.ct_ich import CTICH
from adbench_datasets.instance22 import Instance22
from adbench_datasets.layouts.scans import ScanDataset
from PIL import Image

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError


def make(cls: type[ScanDataset[Any]], root: Path, notes: list[str] | None = None, **config: Any) -> ScanDataset[Any]:
    runtime = DataRuntime(workers=1, notify=(notes if notes is not None else []).append)
    return cls(cls.Config(**{"size": 64, **config}), root, runtime)


def test_without_a_table_a_scan_without_a_mask_is_refused_or_skipped_and_listed(tmp_path):
    layouts_ct.make_bleeds(tmp_path)
    with pytest.raises(DataError, match="not found is not none, but 2 images"):
        make(KCH, tmp_path).load_test()
    data = make(KCH, tmp_path, unmatched="skip")
    assert {s.split("/")[1] for s in data.load_test().subjects} == {"s0", "Subjekt 1 ä", "s2", "s3"}
    assert sorted(problem.file for problem in data.inspect().problems) == ["images/s4.nii.gz", "images/s5.nii.gz"]


def test_a_table_says_which_scans_are_free_of_bleeds_and_what_is_tested(tmp_path):
    layouts_ct.make_bleeds(tmp_path, "csv")
    cases = {case.subject: case for case in make(Cromis, tmp_path).cases(tmp_path)}
    assert [s for s, case in cases.items() if case.lesion_free] == ["cromis/p4", "cromis/p5"]
    assert {case.split for case in cases.values()} == {"train", "test"}
    splits = make(Cromis, tmp_path).load()
    assert set(splits.test.subjects) == {"cromis/p1", "cromis/p3"}
    assert not set(splits.train.subjects) & set(splits.test.subjects)


@pytest.mark.parametrize("name", ["{}_HGE_seg.jpg", "{}_HGE_Seg (1).jpg", "{}_HGE_Seg.png", "{}_mask.jpg"])
def test_a_mask_of_ct_ich_under_another_name_is_refused_though_slices_without_one_are_said_to_be_healthy(
    tmp_path, name
):
    layouts_ct.make_ct_ich(tmp_path, "1.0.0")
    mask = sorted(tmp_path.rglob("*_HGE_Seg.jpg"))[0]
    mask.rename(mask.with_name(name.format(mask.name.split("_")[0])))
    with pytest.raises(DataError, match=r"is neither: rename it|is not: convert or move it"):
        make(CTICH, tmp_path, unmatched="healthy").load_test()


@pytest.mark.parametrize("cls", [KCH, Chronic])
def test_sets_that_are_only_tested_on_say_so(tmp_path, cls):
    layouts_ct.make_bleeds(tmp_path, "csv")
    with pytest.raises(DataError, match="--train-on"):
        make(cls, tmp_path).load()
    assert len(make(cls, tmp_path).load_test()) > 0


def test_a_table_that_was_asked_for_must_be_there(tmp_path):
    layouts_ct.make_bleeds(tmp_path)
    with pytest.raises(DataError, match=r"kch looks for mine\.csv"):
        make(KCH, tmp_path, table="mine.csv").cases(tmp_path)


@pytest.mark.parametrize(("images", "masks"), [("scans", "segmentations"), ("CT", "labels"), ("imagesTr", "labelsTr")])
def test_folders_may_have_other_usual_names(tmp_path, images, masks):
    layouts_ct.make_bleeds(tmp_path)
    (tmp_path / "images").rename(tmp_path / images)
    (tmp_path / "masks").rename(tmp_path / masks)
    data = make(KCH, tmp_path)
    assert len(data.cases(tmp_path)) == 6
    assert data.release(tmp_path) == f"folders {images} and {masks}"


def test_masks_may_have_other_values_where_the_user_says_so(tmp_path):
    head = layouts_ct.make_bleeds(tmp_path)["s0"]
    head_files.write_nifti(tmp_path / "masks" / "s0.nii.gz", np.where(head.lesion, 7, 0), head_files.Store("LPS"), "u1")
    data = make(KCH, tmp_path, lesion_values=(1, 7))
    case = next(case for case in data.cases(tmp_path) if case.subject == "kch/s0")
    assert (data.read(case).lesion == head.lesion).all()


def test_the_subject_may_be_a_part_of_the_name(tmp_path):
    layouts_ct.make_bleeds(tmp_path)
    (tmp_path / "images" / "s4.nii.gz").rename(tmp_path / "images" / "s0_later.nii.gz")
    (tmp_path / "images" / "Subjekt 1 ä.nii.gz").rename(tmp_path / "images" / "s1.nii.gz")
    (tmp_path / "masks" / "Subjekt 1 ä.nii.gz").rename(tmp_path / "masks" / "s1.nii.gz")
    cases = make(KCH, tmp_path, subject_pattern=r"(s\d+)").cases(tmp_path)
    assert sorted(case.session for case in cases if case.subject == "kch/s0") == ["s0", "s0_later"]


def test_a_mask_without_an_image_is_an_error_for_its_name_is_probably_written_differently(tmp_path):
    layouts_ct.make_bleeds(tmp_path)
    (tmp_path / "masks" / "s0.nii.gz").rename(tmp_path / "masks" / "s0_mask.nii.gz")
    with pytest.raises(DataError, match="there is no image, first 's0_mask'"):
        make(KCH, tmp_path).cases(tmp_path)


def test_one_scan_stored_twice_is_an_error_that_names_both(tmp_path):
    layouts_ct.make_bleeds(tmp_path)
    head_files.write_nifti(tmp_path / "images" / "s0.nii", head_files.head(0, ct=True).image)
    with pytest.raises(DataError, match=r"s0\.nii and s0\.nii\.gz .*keep one"):
        make(KCH, tmp_path).cases(tmp_path)


def test_both_releases_of_ct_ich_show_the_same_once_windowed(tmp_path):
    layouts_ct.make_ct_ich(tmp_path / "jpeg", "1.0.0")
    layouts_ct.make_ct_ich(tmp_path / "nifti", "1.3.1")
    jpeg, nifti = make(CTICH, tmp_path / "jpeg"), make(CTICH, tmp_path / "nifti")
    pairs = zip(jpeg.cases(tmp_path / "jpeg"), nifti.cases(tmp_path / "nifti"), strict=True)
    for grey, hu in pairs:
        assert grey.subject == hu.subject
        assert (jpeg.units(grey), nifti.units(hu)) == ("grey", "hu")
        a, b = jpeg.read(grey), nifti.read(hu)
        windowed = np.clip((b.image + 20) / 120, 0, 1)
        assert np.abs(a.image / 255 - windowed).mean() < 0.02
        assert a.lesion is not None
        assert b.lesion is not None
        assert (a.lesion == b.lesion).mean() > 0.998


def test_slices_are_in_the_order_of_their_numbers(tmp_path):
    layouts_ct.make_ct_ich(tmp_path, "1.0.0")
    case = make(CTICH, tmp_path).cases(tmp_path)[0]
    assert [ref.path.name for ref in case.image] == [f"{i}.jpg" for i in range(1, head_files.SHAPE[2] + 1)]


def test_a_slice_of_which_nothing_says_that_it_is_free_of_bleeds_is_a_case_without_a_mask(tmp_path):
    layouts_ct.make_ct_ich(tmp_path, "1.0.0")
    brain = next(tmp_path.rglob("049/brain"))
    bleeding = min(brain.glob("*_HGE_Seg.jpg"), key=lambda path: int(path.name.split("_")[0]))
    bleeding.unlink()
    case, unknown = make(CTICH, tmp_path).cases(tmp_path)[:2]
    number = bleeding.name.split("_")[0]
    assert f"{number}.jpg" not in {ref.path.name for ref in case.image}
    assert len(case.image) == len(case.lesion) == head_files.SHAPE[2] - 1
    assert [ref.path.name for ref in unknown.image] == [f"{number}.jpg"]
    assert unknown.lesion is None
    assert not unknown.lesion_free
    (problem, _) = make(CTICH, tmp_path).inspect().problems
    assert problem.file.endswith(f"049/brain/{number}.jpg")


def test_masks_of_ct_ich_that_jpeg_has_damaged_are_said_and_whole_ones_not(tmp_path):
    layouts_ct.make_ct_ich(tmp_path / "jpeg", "1.0.0")
    layouts_ct.make_ct_ich(tmp_path / "nifti", "1.3.1")
    said: dict[str, list[str]] = {"jpeg": [], "nifti": []}
    for release, notes in said.items():
        make(CTICH, tmp_path / release, notes).load_test()
    assert "what reaches 128 is taken as lesion (3 of 4 cases, first" in " ".join(said["jpeg"])
    assert "reaches" not in " ".join(said["nifti"])


@pytest.mark.parametrize("cls", [Cromis, KCH, Chronic])
def test_columns_of_a_table_that_are_not_read_are_said(tmp_path, cls):
    layouts_ct.make_bleeds(tmp_path, "csv")
    table = tmp_path / "cases.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([f"{lines[0]},Brain,note", *(f"{line},x,y" for line in lines[1:])]), encoding="utf-8")
    notes: list[str] = []
    make(cls, tmp_path, notes).cases(tmp_path)
    assert notes == [f"{table}: the columns Brain, note are not read"]


def test_a_mask_of_a_bleeding_slice_that_is_all_black_leaves_its_patient_out_by_name(tmp_path):
    layouts_ct.make_ct_ich(tmp_path, "1.0.0")
    brain = next(tmp_path.rglob("050/brain"))
    mask = min(brain.glob("*_HGE_Seg.jpg"), key=lambda path: int(path.name.split("_")[0]))
    Image.fromarray(np.zeros_like(np.asarray(Image.open(mask)))).save(mask)
    with pytest.raises(DataError, match=rf"1 images have no mask.*050/brain/{mask.name}: the mask is all zero"):
        make(CTICH, tmp_path).load_test()
    subjects = make(CTICH, tmp_path, unmatched="skip", max_skipped_fraction=0.5).load_test().subjects
    assert "ct-ich/049" in subjects
    assert "ct-ich/050" not in subjects


def test_where_both_releases_are_there_the_one_in_hu_is_read(tmp_path):
    for release in ("1.0.0", "1.3.1"):
        layouts_ct.make_ct_ich(tmp_path, release)
    assert make(CTICH, tmp_path).release(tmp_path) == "1.3.x (NIfTI)"


def test_ct_ich_needs_its_table_for_slices(tmp_path):
    layouts_ct.make_ct_ich(tmp_path, "1.0.0")
    table = next(tmp_path.rglob("hemorrhage_diagnosis.csv"))
    table.write_text("PatientNumber,SliceNumber\n49,1\n")
    with pytest.raises(DataError, match="lacks No_Hemorrhage"):
        make(CTICH, tmp_path).cases(tmp_path)
    for cell in ("x", "", "1e400", "inf", "nan", "-1", "1.5", "9" * 400, "1_0", "\u0661"):
        for row in (f"{cell},1,1", f"49,{cell},1", f"49,1,{cell}"):
            table.write_text(f"PatientNumber,SliceNumber,No_Hemorrhage\n{row}\n", encoding="utf-8")
            with pytest.raises(DataError, match=r"row 2: \w+ is (a whole number|0 or 1), not "):
                make(CTICH, tmp_path).cases(tmp_path)
    table.write_text("PatientNumber,SliceNumber,No_Hemorrhage\n49,1,1\n49.0,1,0\n")
    with pytest.raises(DataError, match="row 3: slice 1 of patient 49 stands there twice, with and without a bleed"):
        make(CTICH, tmp_path).cases(tmp_path)
    table.unlink()
    with pytest.raises(DataError, match=r"hemorrhage_diagnosis\.csv"):
        make(CTICH, tmp_path).cases(tmp_path)


@pytest.mark.parametrize("value", [1, 255])
def test_masks_of_ct_ich_mark_bleeds_by_any_value_but_0(tmp_path, value):
    head = layouts_ct.make_ct_ich(tmp_path)["ct-ich/049"]
    mask = next(tmp_path.rglob("masks/049.nii"))
    head_files.write_nifti(mask, value * head.lesion, head_files.Store("LAS"), "u1")
    data = make(CTICH, tmp_path)
    assert (data.read(data.cases(tmp_path)[0]).lesion == head.lesion).all()


def test_scans_of_instance22_without_public_labels_are_not_read(tmp_path):
    layouts_ct.make_instance22(tmp_path)
    assert "101" not in {case.subject.split("/")[1] for case in make(Instance22, tmp_path).cases(tmp_path)}


def test_the_lesion_of_bhsd_is_the_union_of_five_labels(tmp_path):
    made = layouts_ct.make_bhsd(tmp_path, n=5)
    data = make(BHSD, tmp_path)
    for case in data.cases(tmp_path):
        assert (data.read(case).lesion == made[f"{case.subject} {case.session}"].lesion).all()


def test_two_scans_of_a_patient_are_one_subject_and_stay_in_one_split(tmp_path):
    layouts_ct.make_bhsd(tmp_path, n=8)
    cases = make(BHSD, tmp_path).cases(tmp_path)
    assert len(cases) == 8
    assert len({case.subject for case in cases}) == 4
    make(BHSD, tmp_path).load().check()


def test_scans_of_bhsd_are_read_without_a_suffix(tmp_path):
    layouts_ct.make_bhsd(tmp_path)
    for path in [*tmp_path.rglob("*.nii.gz")]:
        path.rename(path.with_name(path.name.removesuffix(".nii.gz")))
    data = make(BHSD, tmp_path)
    assert len({data.read(case).image.tobytes() for case in data.cases(tmp_path)}) == 5
