"""UK Biobank: read from its zips, ranked by lesion volume, healthy and tested subjects apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import adbench_datasets.imaging.volumes
import head_files
import layouts_mri
import numpy as np
import pytest
from adbench_datasets.imaging.files import CaseError
from adbench_datasets.ukb import UKB, UKBConfig

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError

FEW: dict[str, Any] = {"n_healthy": 3, "size": 64}


def ukb(root: Path, runtime: DataRuntime | None = None, **config: Any) -> UKB:
    return UKB(UKBConfig(**{**FEW, **config}), root, runtime or DataRuntime(workers=1))


def splits_of(root: Path, **config: Any) -> dict[str, set[str]]:
    """Split -> last digits of its subjects."""
    found: dict[str, set[str]] = {}
    for case in ukb(root, **config).cases(root):
        found.setdefault(str(case.split), set()).add(case.subject[-1])
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("ukb")
    layouts_mri.make_ukb(place)
    return place


def test_subjects_with_the_lowest_lesion_volume_are_healthy_and_the_others_are_tested(root):
    found = splits_of(root)
    assert found["train"] | found["validation"] == {"0", "1", "2"}
    assert found["test"] == {"3", "4"}
    assert len(found["validation"]) == 1


def test_a_table_of_field_25781_ranks_where_it_is_given(tmp_path):
    layouts_mri.make_ukb(tmp_path, "table")
    found = splits_of(tmp_path, volumes_csv="volumes.csv")
    assert found["train"] | found["validation"] == {"4", "3", "2"}, "the table's volumes fall with the number"
    assert found["test"] == {"0", "1"}, "subject 1 has no volume for its visit 3: it is not healthy, but has a mask"


def test_healthy_subjects_are_free_of_lesions_by_rank_and_tested_ones_have_their_mask(root):
    for case in ukb(root).cases(root):
        assert case.lesion_free == (case.split != "test")
        assert (case.lesion is None) == case.lesion_free


def test_n_test_draws_a_part_of_the_others_whatever_its_size(root):
    all_tested = splits_of(root, n_test=None)["test"]
    one = splits_of(root, n_test=1)["test"]
    assert len(one) == 1
    assert one < all_tested == {"3", "4"}


def test_the_larger_volume_counts_where_a_subject_came_twice(tmp_path):
    layouts_mri.make_ukb(tmp_path)
    layouts_mri.write_ukb_zip(tmp_path / "1000010_20253_3_0.zip", head_files.head(0))
    assert "0" in splits_of(tmp_path, n_healthy=2)["test"]
    visits = [case.session for case in ukb(tmp_path, n_healthy=2).cases(tmp_path) if case.subject == "ukb/1000010"]
    assert visits == ["2", "3"]


def test_a_visit_without_a_volume_does_not_pass_as_healthy_beside_one_that_has(tmp_path):
    layouts_mri.make_ukb(tmp_path, "table")
    layouts_mri.write_ukb_zip(tmp_path / "1000014_20253_3_0.zip", head_files.head(0))
    cases = ukb(tmp_path, volumes_csv="volumes.csv").cases(tmp_path)
    assert [case.session for case in cases if case.subject == "ukb/1000014"] == ["2"]


def test_unusable_scans_are_not_read(root):
    cases = ukb(root, n_test=None).cases(root)
    assert "ukb/1000015" not in {case.subject for case in cases}
    assert not any("unusable" in str(case.image) for case in cases)


def test_the_healthy_source_holds_no_slice_of_the_others(root):
    data = ukb(root)
    train, validation = data.load_healthy()
    test = data.load_test()
    assert {s[-1] for s in [*train.subjects, *validation.subjects]} == {"0", "1", "2"}
    assert {s[-1] for s in test.subjects} == {"3", "4"}
    assert test.lesions is not None
    assert test.lesions.any()


def test_nothing_is_unpacked_beside_the_zips(root):
    before = sorted(root.rglob("*"))
    ukb(root).load()
    assert sorted(root.rglob("*")) == before


def test_too_few_subjects_are_an_error_that_says_how_many_there_are(root):
    with pytest.raises(DataError, match=r"n_healthy=5 must leave subjects to test on, but only 5 have"):
        ukb(root, n_healthy=5).cases(root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("eid,age\n1000010,60\n", "needs a column of field 25781"),
        ("subject,25781-2.0\n1000010,60\n", "lacks eid"),
        ("eid,25781-2.0\n1000010,many\n", "row 2: a lesion volume is a number"),
        ("eid,25781-2.0\n1000010,-1\n", "row 2: a lesion volume is a number"),
        ("eid,25781-2.0\n1000010,nan\n", "row 2: a lesion volume is a number"),
        (None, "Cannot read the table"),
    ],
)
def test_a_table_that_does_not_fit_is_an_error_that_names_it(root, tmp_path, text, message):
    if text is not None:
        (tmp_path / "v.csv").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        ukb(root, volumes_csv=str(tmp_path / "v.csv")).cases(root)
    assert "v.csv" in str(error.value)


@pytest.mark.parametrize("column", ["25781-2.0", "p25781_i2", "25781_2_0", "f.25781.2.0"])
def test_the_field_is_known_in_every_spelling_of_its_column(tmp_path, column):
    layouts_mri.make_ukb(tmp_path)
    rows = "".join(f"{1000010 + i},{100 - i}\n" for i in range(5))
    (tmp_path / "v.csv").write_text(f"eid,{column}\n{rows}")
    found = splits_of(tmp_path, volumes_csv="v.csv")
    assert found["train"] | found["validation"] == {"4", "3", "2"}


def test_volumes_are_measured_once_and_again_where_a_zip_changed(tmp_path, monkeypatch):
    layouts_mri.make_ukb(tmp_path / "data")
    data, measured = tmp_path / "data", []
    real = adbench_datasets.imaging.volumes.volume_mm3
    monkeypatch.setattr(
        adbench_datasets.imaging.volumes,
        "volume_mm3",
        lambda ref, root: measured.append(ref.path.name) or real(ref, root),
    )
    runtime = DataRuntime(cache=tmp_path / "cache", workers=1)
    first = ukb(data, runtime).cases(data)
    assert len(measured) == 5
    assert ukb(data, runtime).cases(data) == first
    assert len(measured) == 5
    layouts_mri.write_ukb_zip(data / "1000010_20253_2_0.zip", head_files.head(0))
    ukb(data, runtime).cases(data)
    assert measured[5:] == ["1000010_20253_2_0.zip"]


def test_volumes_are_in_mm3(tmp_path):
    head = head_files.head(0)
    ref = adbench_datasets.imaging.volumes.FileRef(
        head_files.write_nifti(tmp_path / "m.nii.gz", head.lesion, dtype="u1")
    )
    assert adbench_datasets.imaging.volumes.volume_mm3(ref, tmp_path) == pytest.approx(
        head.lesion.sum() * np.prod(head_files.SPACING), rel=1e-6
    )


def test_a_zip_that_is_cut_short_is_told_of_and_left_out(tmp_path):
    layouts_mri.make_ukb(tmp_path)
    path = tmp_path / "1000011_20253_3_0.zip"
    path.write_bytes(path.read_bytes()[:2000])
    notes: list[str] = []
    data = ukb(tmp_path, DataRuntime(workers=1, notify=notes.append), n_healthy=2, max_skipped_fraction=0.5)
    cases = {case.subject: case for case in data.cases(tmp_path)}
    assert "1 lesion masks cannot be read" in notes[0]
    assert path.name in notes[0]
    assert cases["ukb/1000011"].split == "test", "it has no rank, so it is not healthy"
    with pytest.raises(CaseError, match=path.name):
        data.read(cases["ukb/1000011"])
    assert "ukb/1000011" not in data.load().test.subjects
