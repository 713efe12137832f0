"""OASIS-3 and fastMRI+: sources of healthy images that cannot be tested on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import head_files
import layouts_mri
import pytest
from adbench_datasets.fastmri_plus import FastMRIPlus
from adbench_datasets.layouts.scans import ScanDataset
from adbench_datasets.oasis3 import OASIS3

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError


def make(cls: type[ScanDataset[Any]], root: Path, notes: list[str] | None = None, **config: Any) -> ScanDataset[Any]:
    runtime = DataRuntime(workers=1, notify=(notes if notes is not None else []).append)
    return cls(cls.Config(**{"size": 64, **config}), root, runtime)


@pytest.mark.parametrize(
    ("cls", "layout"), [(OASIS3, layouts_mri.make_oasis3), (FastMRIPlus, layouts_mri.make_fastmri_plus)]
)
def test_they_give_healthy_images_and_refuse_to_be_tested_on(tmp_path, cls, layout):
    layout(tmp_path)
    data = make(cls, tmp_path)
    train, validation = data.load_healthy()
    assert len(train) > 0
    assert len(validation) > 0
    assert not set(train.subjects) & set(validation.subjects)
    for load in (data.load, data.load_test):
        with pytest.raises(DataError, match=r"no lesions to test on.*--train-on"):
            load()
    assert not data.inspect().problems


def cdr(path: Path, rows: str) -> None:
    path.write_text(f"OASISID,OASIS_session_label,days_to_visit,CDRTOT\n{rows}")


def test_people_who_ever_had_signs_of_dementia_are_left_out_where_the_table_is_there(tmp_path):
    layouts_mri.make_oasis3(tmp_path)
    cdr(tmp_path / "OASIS3_UDSb4_cdr.csv", "OAS30000,a,1,0\nOAS30001,b,1,0\nOAS30001,c,900,0.5\nOAS30002,d,1,0.0\n")
    data = make(OASIS3, tmp_path)
    assert {case.subject for case in data.cases(tmp_path)} == {"oasis3/OAS30000", "oasis3/OAS30002"}
    assert "CDR 0" in data.release(tmp_path)
    everyone = make(OASIS3, tmp_path, cdr_csv=None)
    assert {case.subject for case in everyone.cases(tmp_path)} == {f"oasis3/OAS3000{i}" for i in range(4)}


def test_without_the_table_everyone_is_taken_and_the_user_is_told(tmp_path):
    layouts_mri.make_oasis3(tmp_path)
    notes: list[str] = []
    assert len(make(OASIS3, tmp_path, notes).cases(tmp_path)) == 5
    assert "also people with dementia" in notes[0]


def test_a_table_that_leaves_nobody_or_holds_no_numbers_is_an_error(tmp_path):
    layouts_mri.make_oasis3(tmp_path)
    cdr(tmp_path / "OASIS3_UDSb4_cdr.csv", "OAS30000,a,1,1\n")
    with pytest.raises(DataError, match="No subject with a FLAIR"):
        make(OASIS3, tmp_path).cases(tmp_path)
    cdr(tmp_path / "OASIS3_UDSb4_cdr.csv", "OAS30000,a,1,none\n")
    with pytest.raises(DataError, match="row 2: CDRTOT must be a number"):
        make(OASIS3, tmp_path).cases(tmp_path)


def test_a_table_that_was_asked_for_must_be_there(tmp_path):
    layouts_mri.make_oasis3(tmp_path)
    with pytest.raises(DataError, match=r"cdr_csv='mine\.csv' must be a file"):
        make(OASIS3, tmp_path, cdr_csv="mine.csv").cases(tmp_path)


def test_of_several_runs_the_first_is_taken(tmp_path):
    layouts_mri.make_oasis3(tmp_path, "bids")
    folder = tmp_path / "sub-OAS30002" / "ses-d0103" / "anat"
    (first,) = folder.glob("*_FLAIR.nii.gz")
    for run in ("02", "01"):
        head_files.write_nifti(folder / f"sub-OAS30002_ses-d0103_run-{run}_FLAIR.nii.gz", head_files.head(9).image)
    first.unlink()
    case = next(c for c in make(OASIS3, tmp_path).cases(tmp_path) if c.session == "d0103")
    assert "run-01" in str(case.image)


def test_other_contrasts_are_not_taken_for_flair(tmp_path):
    layouts_mri.make_oasis3(tmp_path)
    assert all("_FLAIR" in str(case.image) for case in make(OASIS3, tmp_path).cases(tmp_path))


def test_healthy_is_what_was_reviewed_without_findings_but_normal_for_age(tmp_path):
    made = layouts_mri.make_fastmri_plus(tmp_path)
    assert {case.subject for case in make(FastMRIPlus, tmp_path).cases(tmp_path)} == set(made)
    assert {name[-1] for name in made} == {"0", "3", "4"}, "1 has a finding, 2 was not reviewed, 5 is a T1"
    strict = make(FastMRIPlus, tmp_path, healthy_labels=()).cases(tmp_path)
    assert {case.subject[-1] for case in strict} == {"0", "4"}


@pytest.mark.parametrize("listed", ["brain.csv", "brain_file_list.csv"])
def test_names_of_fastmri_are_the_same_with_and_without_the_suffix_of_raw_data(tmp_path, listed):
    made = layouts_mri.make_fastmri_plus(tmp_path)
    table = tmp_path / "Annotations" / listed
    table.write_text(re.sub(r"(file_brain_\w+)", r"\1.h5", table.read_text()))
    image = tmp_path / "images" / "file_brain_AXFLAIR_200_6002420.nii.gz"
    image.rename(image.with_name("file_brain_AXFLAIR_200_6002420.h5.nii.gz"))
    assert {case.subject for case in make(FastMRIPlus, tmp_path).cases(tmp_path)} == set(made)
    image.write_bytes(b"")
    with pytest.raises(DataError, match="file_brain_AXFLAIR_200_6002420 is there twice"):
        make(FastMRIPlus, tmp_path).cases(tmp_path)


def test_raw_data_of_fastmri_are_named_with_what_to_do(tmp_path):
    layouts_mri.make_fastmri_plus(tmp_path, "h5")
    with pytest.raises(DataError, match=r"\.h5 and its like are raw data: convert reconstruction_rss to NIfTI"):
        make(FastMRIPlus, tmp_path).cases(tmp_path)


def test_images_may_lie_beside_the_annotations(tmp_path):
    made = layouts_mri.make_fastmri_plus(tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.rename(tmp_path / path.name)
    assert len(make(FastMRIPlus, tmp_path).cases(tmp_path)) == len(made)
