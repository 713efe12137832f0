"""`mslesseg`, `ms-muslim`, `isbi2015`, `ixi` and `atlas`: what each has that the others have not."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import layouts_ms
import numpy as np
import pytest
from adbench_datasets.atlas import Atlas
from adbench_datasets.isbi2015 import ISBI2015
from adbench_datasets.ixi import IXI
from adbench_datasets.layouts.scans import ScanDataset
from adbench_datasets.ms_muslim import MSMuslim
from adbench_datasets.mslesseg import MSLesSeg

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError


def make(cls: type[ScanDataset[Any]], root: Path, notes: list[str] | None = None, **config: Any) -> ScanDataset[Any]:
    runtime = DataRuntime(workers=1, notify=(notes if notes is not None else []).append)
    return cls(cls.Config(**{"size": 64, "healthy_margin_slices": 0, **config}), root, runtime)


def test_the_official_split_of_mslesseg_is_kept_and_sessions_stay_with_their_patient(tmp_path):
    layouts_ms.make_mslesseg(tmp_path)
    splits = make(MSLesSeg, tmp_path).load()
    assert set(splits.test.subjects) == {"mslesseg/P54", "mslesseg/P55"}
    healthy = set(splits.train.subjects), set(splits.validation.subjects)
    assert set.union(*healthy) == {"mslesseg/P1", "mslesseg/P2", "mslesseg/P3"}
    assert not set.intersection(*healthy)


def test_the_training_part_of_mslesseg_alone_is_split_by_patient(tmp_path):
    layouts_ms.make_mslesseg(tmp_path, "train")
    splits = make(MSLesSeg, tmp_path).load()
    assert sum(len(set(split.subjects)) for _, split in splits.items()) == 3


def test_a_session_of_mslesseg_without_the_contrast_is_named_and_left_out(tmp_path):
    layouts_ms.make_mslesseg(tmp_path)
    (tmp_path / "train/P1/T2/P1_T2_FLAIR.nii.gz").unlink()
    notes: list[str] = []
    findings = make(MSLesSeg, tmp_path, notes).inspect()
    assert not findings.problems
    assert [note for note in notes if "1 of 6 sessions have no FLAIR" in note and note.endswith("P1/T2")]
    assert len(make(MSLesSeg, tmp_path, modality="T1").cases(tmp_path)) == 6


@pytest.mark.parametrize("rater", [1, 2, "both"])
def test_lesions_of_isbi2015_are_those_of_the_rater_asked_for(tmp_path, rater):
    made = layouts_ms.make_isbi2015(tmp_path)
    data = make(ISBI2015, tmp_path, rater=rater)
    for case in data.cases(tmp_path):
        scan, head = data.read(case), made[f"{case.subject} {case.session}"]
        other = layouts_ms.second_rater(head)
        expected = {1: head.lesion, 2: other, "both": head.lesion & other}[rater]
        assert (scan.lesion == expected).all()
        if rater == "both":
            assert (scan.ignore == head.lesion ^ other).all()
        else:
            assert scan.ignore is None


def test_a_time_point_of_isbi2015_without_a_mask_of_both_raters_is_named_where_both_are_asked_for(tmp_path):
    layouts_ms.make_isbi2015(tmp_path)
    (tmp_path / "training/training01/masks/training01_02_mask2.nii").unlink()
    assert not make(ISBI2015, tmp_path).inspect().problems
    problem, _ = make(ISBI2015, tmp_path, rater="both").inspect().problems
    assert "training01_02_flair_pp.nii" in problem.file


def test_another_mask_of_the_second_rater_is_prepared_anew(tmp_path):
    layouts_ms.make_isbi2015(tmp_path)
    first = make(ISBI2015, tmp_path, rater="both").prepared().folder.name
    mask = tmp_path / "training/training01/masks/training01_02_mask2.nii"
    mask.write_bytes((tmp_path / "training/training02/masks/training02_01_mask2.nii").read_bytes())
    assert make(ISBI2015, tmp_path, rater="both").prepared().folder.name != first


@pytest.mark.parametrize("cls", [MSMuslim, ISBI2015, MSLesSeg, IXI])
def test_every_contrast_is_a_file_of_its_own(tmp_path, cls):
    layouts = {
        MSMuslim: layouts_ms.make_ms_muslim,
        ISBI2015: layouts_ms.make_isbi2015,
        MSLesSeg: layouts_ms.make_mslesseg,
        IXI: layouts_ms.make_ixi,
    }
    layouts[cls](tmp_path)
    order = [c for c in ("FLAIR", "T1", "T2", "PD") if c in cls.Config.model_fields["modality"].annotation.__args__]
    images = []
    for modality in order:
        data = make(cls, tmp_path, modality=modality)
        assert data.info.modality == f"MRI {modality}"
        images.append(data.read(data.cases(tmp_path)[0]).image)
    for k, image in enumerate(images, start=1):
        np.testing.assert_allclose(image, images[0] / k, rtol=1e-5)


def test_scanner_sex_and_age_of_ixi_are_kept_and_counted(tmp_path):
    layouts_ms.make_ixi(tmp_path)
    findings = make(IXI, tmp_path).inspect()
    assert findings.facts["scanner"] == "Guys: 1, HH: 2, IOP: 1"
    assert findings.facts["sex"] == "female: 2, male: 2"
    assert findings.facts["age"] == "30 to 39: 2, 40 to 49: 1"
    assert not findings.problems


def test_without_the_table_of_ixi_only_the_scanner_is_known_and_that_is_said(tmp_path):
    layouts_ms.make_ixi(tmp_path, "one folder")
    notes: list[str] = []
    facts = make(IXI, tmp_path, notes).inspect().facts
    assert "scanner" in facts
    assert "age" not in facts
    assert any("put IXI.xls into the data root" in note for note in notes)


def test_the_table_of_ixi_is_read_as_excel_stores_it(tmp_path):
    pytest.importorskip("xlrd", reason="xlrd is not installed")
    xlwt = pytest.importorskip("xlwt", reason="xlwt is not installed")
    layouts_ms.make_ixi(tmp_path)
    as_csv = {case.subject: case.strata for case in make(IXI, tmp_path).cases(tmp_path)}
    book = xlwt.Workbook()
    sheet = book.add_sheet("Table")
    with (tmp_path / "IXI.csv").open(newline="", encoding="utf-8") as file:
        for i, row in enumerate(csv.reader(file)):
            for j, cell in enumerate(row):
                sheet.write(i, j, float(cell) if i and cell else cell)
    book.save(str(tmp_path / "IXI.xls"))
    (tmp_path / "IXI.csv").unlink()
    assert {case.subject: case.strata for case in make(IXI, tmp_path).cases(tmp_path)} == as_csv
    (tmp_path / "IXI.xls").write_bytes((tmp_path / "IXI.xls").read_bytes()[:700])
    with pytest.raises(DataError, match=r"IXI\.xls cannot be read as \.xls"):
        make(IXI, tmp_path).cases(tmp_path)


@pytest.mark.parametrize("cell", ["3", "male"])
def test_a_sex_that_the_table_of_ixi_does_not_know_is_refused_with_its_row(tmp_path, cell):
    layouts_ms.make_ixi(tmp_path)
    table = tmp_path / "IXI.csv"
    table.write_text(table.read_text("utf-8").replace("12,1,", f"12,{cell},"))
    with pytest.raises(DataError, match=r"IXI\.csv, row 3"):
        make(IXI, tmp_path).cases(tmp_path)


def test_testing_images_of_atlas_are_not_read_and_two_masks_are_refused(tmp_path):
    layouts_ms.make_atlas(tmp_path)
    assert len(make(Atlas, tmp_path).cases(tmp_path)) == 4
    mask = next((tmp_path / "ATLAS_2/Training").rglob("*label-L_desc*"))
    mask.with_name(mask.name.replace("label-L", "label-R")).write_bytes(mask.read_bytes())
    with pytest.raises(DataError, match="One file of a kind is needed"):
        make(Atlas, tmp_path).cases(tmp_path)


DATA = os.environ.get("ADBENCH_DATA")
real = pytest.mark.skipif(
    not DATA or not (Path(DATA) / "mslesseg").is_dir(), reason="ADBENCH_DATA is not set to a folder with mslesseg"
)


@real
def test_real_sessions_of_mslesseg_have_bright_lesions_that_are_not_mirrored():
    data = make(MSLesSeg, Path(str(DATA)), slice_step_mm=4, size=128)
    cases = data.cases(Path(str(DATA)))
    assert len(cases) == len({(case.subject, case.session) for case in cases}) >= 5
    scan = data.read(cases[0])
    assert scan.lesion is not None
    other = scan.lesion[::-1] & ~scan.lesion & (scan.image > 0)
    assert scan.image[scan.lesion].mean() > scan.image[other].mean()


@pytest.mark.parametrize("name", ["P1_T1_mask_final.nii.gz", "P1_T1_lesions.nii", "P1_T1_seg (1).nii.gz"])
def test_an_image_is_not_called_healthy_where_a_mask_under_another_name_lies_beside_it(tmp_path, name):
    layouts_ms.make_mslesseg(tmp_path)
    mask = tmp_path / "train/P1/T1/P1_T1_MASK.nii.gz"
    mask.rename(mask.with_name(name))
    with pytest.raises(DataError, match=r"may be that of .*P1_T1_FLAIR"):
        make(MSLesSeg, tmp_path, unmatched="healthy").load_test()
    mask.with_name(name).unlink()
    assert len(make(MSLesSeg, tmp_path, unmatched="healthy").load_test())


def test_files_of_ixi_under_other_names_are_said(tmp_path):
    layouts_ms.make_ixi(tmp_path)
    image = next(tmp_path.rglob("IXI*-T2.nii.gz"))
    other = image.with_name("ixi_900.nii.gz")
    other.write_bytes(image.read_bytes())
    notes: list[str] = []
    make(IXI, tmp_path, notes, modality="T2").load_healthy()
    assert [note for note in notes if "images that are not read" in note and str(other) in note]
