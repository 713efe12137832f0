"""Datasets of scans: split by subject, healthy where they say so, and clear about what they cannot use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.subjects import split_subjects
from toy_scans import FEW, LESION, SHAPE, N, Toy, make, save, scan, write

from adbench.errors import DataError
from adbench.testing import DatasetContract


class Reversed(Toy):
    def cases(self, root: Path) -> list[Case]:
        return super().cases(root)[::-1]


class OnlyTested(Toy):
    own_split = False


class Official(Toy):
    """The set itself says that the last three subjects are for testing."""

    def case(self, path: Path) -> Case:
        return replace(super().case(path), split="test" if path.stem >= "s7" else "train")


class Twice(Toy):
    def cases(self, root: Path) -> list[Case]:
        return [replace(case, subject="toy/one") for case in super().cases(root)]


class InCT(Toy):
    modality = "CT"


class TestToy(DatasetContract):
    dataset_class = Toy
    settings = FEW

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def data(cls, root):
        cls.data_root = root


def test_train_and_validation_are_free_of_lesions_and_test_slices_have_their_truth(root, kept):
    splits = make(root, cache=kept, healthy_margin_slices=0).load()
    sizes = {name: len(set(split.subjects)) for name, split in splits.items()}
    assert sizes == {"train": 6, "validation": 2, "test": 2}
    for split in (splits.train, splits.validation):
        for source in split.sources:
            name, z = source.removesuffix("]").split("[")
            i = int(name.removesuffix(".nii")[1:])
            assert not np.roll(LESION, i % 2, 2)[..., int(z)].any()
    assert len(splits.test) == 2 * SHAPE[2] - 4  # one slice at each end is too small
    assert splits.test.lesions.any(axis=(1, 2, 3)).sum() == 2 * LESION.any(axis=(0, 1)).sum()


def test_stacks_are_memory_mapped(root, kept):
    splits = make(root, cache=kept).load()
    assert all(isinstance(split.images, np.memmap) for _, split in splits.items())
    assert isinstance(splits.test.lesions, np.memmap)


def test_the_order_of_the_listing_does_not_matter_and_the_seed_does(root, kept):
    first, other = (make(root, cls, kept).load() for cls in (Toy, Reversed))
    assert first.fingerprint == other.fingerprint
    tested = {frozenset(make(root, cache=kept, split_seed=seed).load().test.subjects) for seed in range(4)}
    assert len(tested) > 1


def test_healthy_slices_for_other_sets_are_those_of_the_own_split(root, kept):
    train, validation = make(root, cache=kept).load_healthy()
    splits = make(root, cache=kept).load()
    assert (train.fingerprint, validation.fingerprint) == (splits.train.fingerprint, splits.validation.fingerprint)


def test_test_slices_for_detectors_trained_elsewhere_are_of_all_subjects(root, kept):
    test = make(root, cache=kept).load_test()
    assert len(set(test.subjects)) == N
    assert len(test) == N * (SHAPE[2] - 2)
    lesion = make(root, cache=kept, test_slices="lesion").load_test()
    assert lesion.lesions.any(axis=(1, 2, 3)).all()
    assert len(lesion) == test.lesions.any(axis=(1, 2, 3)).sum()
    assert make(root, cache=kept, test_slices="lesion").load().test.lesions.any(axis=(1, 2, 3)).all()


def test_a_split_of_the_set_s_own_is_kept(root, kept):
    splits = make(root, Official, kept).load()
    assert set(splits.test.subjects) == {"toy/s7", "toy/s8", "toy/s9"}
    assert len(set(splits.validation.subjects)) == 2


def test_a_subject_in_two_official_splits_is_an_error():
    cases = [Case("a", FileRef(Path("1")), split="train"), Case("a", FileRef(Path("2")), split="test", session="2")]
    with pytest.raises(DataError, match="'a' is in both train and test"):
        split_subjects(cases, ScanConfig())


@pytest.mark.parametrize("n", [3, 4, 10, 97])
@pytest.mark.parametrize("most", [None, 3, 6, 50])
def test_every_split_gets_a_subject_and_a_limit_keeps_the_proportions(n, most):
    cases = [Case(str(i), FileRef(Path(str(i)))) for i in range(n)]
    role = split_subjects(cases, ScanConfig(max_subjects=most))
    counts = [list(role.values()).count(part) for part in ("train", "validation", "test")]
    assert min(counts) >= 1
    used = min(n, most or n)
    assert abs(sum(counts) - used) <= 2
    assert abs(counts[2] - 0.2 * used) <= 1.1
    assert set(role) <= set(split_subjects(cases, ScanConfig()))


def test_few_subjects_are_enough_to_test_on_only(tmp_path, root):
    dataset = make(write(tmp_path / "two", 2))
    assert len(set(dataset.load_test().subjects)) == 2
    for load in (dataset.load, dataset.load_healthy):
        with pytest.raises(DataError, match=r"it has 2 usable subjects.*--train-on"):
            load()
    with pytest.raises(DataError, match=r"it is only tested on.*--train-on"):
        make(root, OnlyTested).load()
    assert len(set(make(root, OnlyTested).load_test().subjects)) == N


def test_fractions_must_leave_something_to_train_on():
    with pytest.raises(ValueError, match="must leave subjects to train on"):
        ScanConfig(test_fraction=0.5, validation_fraction=0.5)


def test_a_case_that_cannot_be_read_is_left_out_and_named(tmp_path):
    data, said = write(tmp_path / "data", 6), []
    (data / "s2.nii").write_bytes(b"no image")
    dataset = make(data, said=said, max_skipped_fraction=0.2)
    assert len({*dataset.load_test().subjects}) == 5
    dataset.load_test()
    assert len(said) == 1
    assert "1 of 6 cases cannot be used and are left out: s2.nii: " in said[0]
    problems = dataset.inspect().problems
    assert [(problem.file, problem.skipped) for problem in problems] == [("s2.nii", True)]
    with pytest.raises(DataError, match=r"At most 5% of the cases.*1 of 6 cannot be used: s2.nii"):
        make(data).load_test()


def test_a_case_of_which_nothing_is_known_is_skipped_and_a_clean_one_is_healthy(tmp_path):
    data, said = write(tmp_path / "data", 3), []
    save(data / "new.nii", scan(50))
    save(data / "x_clean.nii", np.where(LESION, 100, scan(51)).astype(np.float32))
    test = make(data, said=said, unmatched="skip").load_test()
    assert set(test.subjects) == {"toy/s0", "toy/s1", "toy/s2", "toy/x_clean"}
    assert "new.nii: has neither a lesion mask nor is it known to be free of lesions" in said[0]
    clean = np.array(test.subjects) == "toy/x_clean"
    assert clean.sum() == SHAPE[2] - 2
    assert not test.lesions[clean].any()


def test_a_case_of_which_nothing_is_known_takes_no_place_in_a_split(tmp_path):
    data = write(tmp_path / "data", 6)
    before = make(data).load()
    for i in range(6):
        save(data / f"new{i}.nii", scan(60 + i))
    assert make(data, unmatched="skip").load().fingerprint == before.fingerprint


def test_the_wrong_modality_is_an_error_where_all_cases_are(root):
    with pytest.raises(DataError, match=r"10 of 10 cannot be used.*CT must be in HU.*; and 7 more"):
        make(root, InCT).load_test()


def test_an_examination_that_occurs_twice_is_an_error_naming_both(root):
    with pytest.raises(DataError, match=r"'toy/one' is both .*s\d.nii and .*s\d.nii: remove one"):
        make(root, Twice).load()


def test_the_same_scan_under_two_names_is_found(tmp_path):
    data = write(tmp_path / "data", 3)
    for i in (1, 2):
        (data / f"s{i}.nii").write_bytes((data / "s0.nii").read_bytes())
    with pytest.raises(DataError, match=r"image content .* is in both train \(s\d.nii\[\d\]\)"):
        make(data).load()


def test_the_same_scan_under_two_names_is_found_where_its_healthy_and_its_lesion_slices_are_apart(tmp_path):
    data = write(tmp_path / "data", 3)
    splits = make(data).load()
    train, test = (split.subjects[0].removeprefix("toy/") for split in (splits.train, splits.test))
    for end in (".nii", "_mask.nii"):
        (data / f"{train}{end}").write_bytes((data / f"{test}{end}").read_bytes())
    with pytest.raises(DataError, match=rf"scan content .* is in both train \({train}.nii.*\) and test \({test}.nii"):
        make(data, test_slices="lesion").load()


def test_a_limit_of_subjects_is_said(tmp_path):
    data, said = write(tmp_path / "data", 6), []
    make(data, said=said, max_subjects=4).prepared()
    assert said == ["toy: 5 of 6 subjects are used (data.max_subjects=4)"]


def test_findings_say_what_a_run_would_refuse(tmp_path):
    data = write(tmp_path / "data", 6)
    for i in range(1, 6):
        (data / f"s{i}.nii").write_bytes((data / "s0.nii").read_bytes())
    (problem,) = make(data).inspect().problems
    assert "hold the same pixels" in problem.what
    assert not problem.skipped
    (data / "s2.nii").write_bytes(b"no image")
    damaged = [(problem.skipped, problem.what) for problem in make(data, OnlyTested).inspect().problems]
    assert [skipped for skipped, _ in damaged] == [True, False]
    assert "At most 5% of the cases may be left out" in damaged[1][1]


def test_findings_count_the_slices_that_are_tested(root, kept):
    dataset = make(root, cache=kept, test_slices="lesion")
    assert dataset.inspect().facts["test images"].startswith(f"{len(dataset.load().test)} of ")


@pytest.mark.parametrize(
    ("place", "message"),
    [(None, "toy scans must be on this machine.*--data-root or ADBENCH_DATA"), ("nowhere", "there is no .*nowhere")],
)
def test_missing_data_are_an_error_saying_what_is_needed(tmp_path, place, message):
    with pytest.raises(DataError, match=message):
        make(place and tmp_path / place).load()


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="At least one case is needed"):
        make(tmp_path).load()


def test_findings_count_what_is_there(root, kept):
    facts = make(root, cache=kept).inspect().facts
    assert facts["subjects"] == "10"
    assert facts["cases"] == "10, and 0 that cannot be used"
    assert facts["spacing"] == "2 x 2 x 4 mm"
    volume = N * LESION.sum() * 16 / 1000
    assert facts["lesions"].startswith("10 in 10 cases: 0 below 0.1 ml")
    assert f"{volume:.1f} ml in all" in facts["lesions"]
    splits = make(root, cache=kept).load()
    for name, split in splits.items():
        assert facts[f"{name} images"] == f"{len(split)} of {len(set(split.subjects))} subjects"
