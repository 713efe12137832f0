"""`brats` in each of its releases: found by the names of its cases, with the labels of its year."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from adbench_datasets.brats import Brats, BratsConfig
from head_files import write_csv
from layouts_mri import make_brats

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError
from adbench.testing import DatasetContract

RELEASES = ["2018", "2019", "2020", "2020-kaggle", "2021", "2023", "2024"]


def make(root: Path, **fields) -> Brats:
    return Brats(BratsConfig(**{"size": 64, **fields}), root, DataRuntime(workers=1))


class TestBrats(DatasetContract):
    dataset_class = Brats
    settings = {"size": 64, "healthy_margin_slices": 0}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def data(cls, tmp_path_factory):
        cls.data_root = tmp_path_factory.mktemp("brats")
        make_brats(cls.data_root, n=6)


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_is_recognised_and_read_with_its_labels(tmp_path, release):
    heads = make_brats(tmp_path, release)
    dataset = make(tmp_path)
    cases = dataset.cases(tmp_path)
    assert {case.image.path for case in cases} == set(heads)
    assert len({case.subject for case in cases}) == len(heads)
    assert dataset.release(tmp_path) == f"BraTS {release[:4]}"
    for case in cases:
        scan, head = dataset.read(case), heads[case.image.path]
        assert (scan.image == head.image).all()
        assert (scan.lesion == head.lesion & (release != "2024" or ~head.other)).all()
        if release == "2024":
            assert (scan.ignore == head.other).all()
        else:
            assert scan.ignore is None


def test_what_macos_adds_to_archives_is_no_second_release(tmp_path):
    for path in make_brats(tmp_path):
        beside = tmp_path / "__MACOSX" / path.relative_to(tmp_path).with_name(f"._{path.name}")
        beside.parent.mkdir(parents=True)
        beside.write_bytes(bytes(200))
    assert len(set(make(tmp_path).load_test().subjects)) == 4


def test_label_3_is_no_label_before_2023_and_label_4_none_in_2023(tmp_path):
    for year, other in (("2021", "2023"), ("2023", "2021")):
        make_brats(tmp_path / year, year)
        make_brats(tmp_path / "other", other)
        for seg in (tmp_path / year).rglob("*seg.nii.gz"):
            shutil.copy(next((tmp_path / "other").rglob("*seg.nii.gz")), seg)
        with pytest.raises(DataError, match="labels must be among"):
            make(tmp_path / year).load_test()
        shutil.rmtree(tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("Brats17_CBICA_AAB_1", "brats/CBICA_AAB"),
        ("Brats18_CBICA_AAB_1", "brats/CBICA_AAB"),
        ("BraTS19_CBICA_AAB_1", "brats/CBICA_AAB"),
        ("Brats18_TCIA01_131_1", "brats/TCIA01_131"),
        ("Brats18_2013_0_1", "brats/2013_0"),
        ("BraTS20_Training_001", "brats/2020_training_001"),
        ("BraTS20_Validation_001", "brats/2020_validation_001"),
        ("BraTS2021_00006", "brats/00006"),
        ("BraTS-GLI-00006-000", "brats/00006"),
        ("BraTS-GLI-00006-001", "brats/00006"),
    ],
)
def test_a_subject_has_one_name_in_all_releases_where_names_allow(tmp_path, name, subject):
    (tmp_path / name).mkdir()
    assert [case.subject for case in make(tmp_path).cases(tmp_path)] == [subject]


def test_the_mapping_gives_the_name_in_tcga_or_in_older_releases(tmp_path):
    names = ["BraTS20_Training_001", "BraTS20_Training_002", "BraTS20_Training_003"]
    for name in names:
        (tmp_path / "MICCAI_BraTS2020_TrainingData" / name).mkdir(parents=True)
    columns = ("BraTS_2018_subject_ID", "TCGA_TCIA_subject_ID", "BraTS_2019_subject_ID")
    values = [
        ("Brats18_TCIA10_130_1", "TCGA-CS-4941", "BraTS19_TCIA10_130_1"),
        ("Brats18_CBICA_AAB_1", "NA", "BraTS19_CBICA_AAB_1"),
        ("NA", "NA", "NA"),
    ]
    rows = [
        {"Grade": "LGG", **dict(zip(columns, row, strict=True)), "BraTS_2020_subject_ID": name}
        for name, row in zip(names, values, strict=True)
    ]
    write_csv(tmp_path / "MICCAI_BraTS2020_TrainingData" / "name_mapping.csv", rows)
    subjects = [case.subject for case in make(tmp_path).cases(tmp_path)]
    assert subjects == ["tcga/CS_4941", "brats/CBICA_AAB", "brats/2020_training_003"]


def test_one_subject_in_two_releases_is_an_error_naming_both(tmp_path):
    make_brats(tmp_path / "a", "2021", n=3)
    make_brats(tmp_path / "b", "2023", n=3)
    with pytest.raises(DataError, match=r"'brats/0000\d' is both .*BraTS.* and .*BraTS"):
        make(tmp_path).load()


def test_cases_without_labels_are_named(tmp_path):
    make_brats(tmp_path, "2021", missing="seg")
    findings = make(tmp_path).inspect()
    assert findings.problems[0].file == "BraTS2021_00003/BraTS2021_00003_flair.nii.gz"
    assert findings.facts["release"] == "BraTS 2021"


def test_another_folder_is_refused_saying_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"brats looks for folders of cases"):
        make(tmp_path).load()


REAL = Path(os.environ.get("ADBENCH_DATA", "")) / "BraTS2021"


@pytest.mark.skipif(
    not os.environ.get("ADBENCH_DATA") or not REAL.is_dir(), reason="ADBENCH_DATA is not set to a folder with BraTS2021"
)
def test_the_tumour_of_a_real_case_is_bright_not_mirrored_and_in_its_place():
    test = make(REAL, size=192).load_test()
    lesion, image, brain = test.lesions, test.images, test.brains
    mirrored = lesion[..., ::-1] & brain & ~lesion
    assert image[lesion].mean() > image[brain & ~lesion].mean() + 0.2
    assert image[lesion].mean() > image[mirrored].mean() + 0.2
    assert (lesion & ~brain).sum() < 0.01 * lesion.sum()
    rows = np.nonzero(lesion)[2]
    columns = np.nonzero(lesion)[3]
    assert rows.mean() < 80  # frontal
    assert columns.mean() > 100  # left: on the right as seen
