"""Datasets of scans: split by subject, healthy where they say so, and clear about what they cannot use."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from adbench_datasets.imaging import file_hashes, preprocessing, slice_cache
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.imaging.files import CaseError
from adbench_datasets.imaging.placement import restore
from adbench_datasets.imaging.scan_space import to_nifti
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.scans import ScanDataset
from adbench_datasets.layouts.subjects import split_subjects

from adbench.contracts.dataset import DataRuntime, DatasetInfo
from adbench.errors import DataError
from adbench.testing import DatasetContract

SHAPE = (40, 50, 10)
X, Y, Z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
LESION = ((X - 0.3) / 0.25) ** 2 + ((Y - 0.3) / 0.2) ** 2 + ((Z - 0.2) / 0.4) ** 2 < 1
N = 10
FEW = {"size": 64, "spacing_mm": "keep", "min_area_fraction": 0.1}


class Toy(ScanDataset[ScanConfig]):
    """`<subject>.nii` and `<subject>_mask.nii`; `<subject>_clean.nii` without a mask is known to be free of lesions."""

    Config = ScanConfig
    modality = "MRI"
    info = DatasetInfo("toy scans", "CC0-1.0", "generated", "MRI", "none needed", "1")

    def cases(self, root: Path) -> list[Case]:
        images = [path for path in root.iterdir() if path.suffix == ".nii" and not path.stem.endswith("_mask")]
        return [self.case(path) for path in images]

    def case(self, path: Path) -> Case:
        mask = path.with_name(f"{path.stem}_mask.nii")
        return Case(
            f"toy/{path.stem}",
            FileRef(path),
            FileRef(mask) if mask.exists() else None,
            lesion_free=path.stem.endswith("_clean"),
        )


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


def save(path: Path, data: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(data, np.diag([2.0, 2.0, 4.0, 1])), path)


def scan(seed: int) -> np.ndarray:
    brain = X**2 + Y**2 + Z**2 < 0.9
    values = np.where(brain, 100 + 10 * np.random.default_rng(seed).standard_normal(SHAPE), 0)
    return np.where(LESION, 200, values).astype(np.float32)


def write(root: Path, n: int = N) -> Path:
    root.mkdir(exist_ok=True)
    for i in range(n):
        save(root / f"s{i}.nii", scan(i))
        save(root / f"s{i}_mask.nii", np.roll(LESION, i % 2, 2).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("toy") / "data")


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def make(
    root: Path | None, cls: type[ScanDataset] = Toy, cache: Path | None = None, said: list | None = None, **fields
):
    runtime = DataRuntime(cache, workers=1, notify=(said if said is not None else []).append)
    return cls(ScanConfig(**{**FEW, **fields}), root, runtime)


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


def test_slices_are_prepared_again_only_where_something_changed(tmp_path):
    data, cache = write(tmp_path / "data", 4), tmp_path / "cache"

    def made() -> set[str]:
        return {path.name for path in (cache / "slices").iterdir() if path.is_dir()}

    make(data, cache=cache).load()
    make(data, cache=cache, max_skipped_fraction=0.5).load()
    before = made()
    assert len(before) == 1
    make(data, cache=cache, min_lesion_px=2).load()
    assert len(made()) == 2
    make(data, cache=cache, split_seed=5).load()
    assert len(made()) == 3
    os.utime(data / "s0_mask.nii", ns=(1, 1))
    make(data, cache=cache).load()
    assert len(made()) == 3  # the content is what it was


def test_other_content_under_the_same_names_sizes_and_times_is_prepared_anew(tmp_path):
    first, second, cache = write(tmp_path / "a", 4), write(tmp_path / "b", 4), tmp_path / "cache"
    swapped = (second / "s3.nii").read_bytes(), (second / "s2.nii").read_bytes()
    for name, content in zip(("s2.nii", "s3.nii"), swapped, strict=True):
        (second / name).write_bytes(content)
    for path in (*first.iterdir(), *second.iterdir()):
        os.utime(path, ns=(1, 1))
    before = make(first, cache=cache).load_test()
    shutil.rmtree(first)
    second.rename(first)
    assert make(first, cache=cache).load_test().fingerprint != before.fingerprint


def test_files_are_read_for_their_hash_once_and_again_where_the_user_says_so(tmp_path, monkeypatch):
    data, cache, read = write(tmp_path / "data", 4), tmp_path / "cache", []
    plain = file_hashes._digest
    monkeypatch.setattr(file_hashes, "_digest", lambda ref, root: read.append(ref) or plain(ref, root))
    make(data, cache=cache).load()
    first = len(read)
    make(data, cache=cache).load()
    assert len(read) == first > 0
    dataset = make(data, cache=cache)
    dataset.runtime = replace(dataset.runtime, verify=True)
    dataset.load()
    assert len(read) == 2 * first


@pytest.mark.parametrize("module", [preprocessing, slice_cache])
def test_a_new_version_of_the_code_prepares_again(tmp_path, monkeypatch, module):
    data, cache = write(tmp_path / "data", 3), tmp_path / "cache"
    for version in (module.VERSION, module.VERSION + 1):
        monkeypatch.setattr(module, "VERSION", version)
        make(data, cache=cache).load()
    assert sum(path.is_dir() for path in (cache / "slices").iterdir()) == 2


def test_a_new_version_of_the_adapter_prepares_again(tmp_path, monkeypatch):
    data, cache = write(tmp_path / "data", 3), tmp_path / "cache"
    for version in ("1", "2"):
        monkeypatch.setattr(Toy, "info", replace(Toy.info, version=version))
        make(data, cache=cache).load()
    assert sum(path.is_dir() for path in (cache / "slices").iterdir()) == 2


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
    test = make(data, said=said).load_test()
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
    assert make(data).load().fingerprint == before.fingerprint


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


def test_a_case_that_was_skipped_is_used_once_it_can_be_read_whatever_its_file_looks_like(tmp_path, monkeypatch):
    data, cache = write(tmp_path / "data", 4), tmp_path / "cache"
    read = Toy.read

    def fails(self, case):
        if case.subject == "toy/s2":
            raise CaseError(data / "s2.nii", "may not be read")
        return read(self, case)

    monkeypatch.setattr(Toy, "read", fails)
    assert "toy/s2" not in make(data, cache=cache, max_skipped_fraction=0.5).load_test().subjects
    monkeypatch.setattr(Toy, "read", read)
    said: list[str] = []
    assert "toy/s2" in make(data, cache=cache, said=said).load_test().subjects
    assert said == ["A case that could not be used can be now: preparing all again."]


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


def test_maps_of_a_split_become_nifti_on_the_scan_s_own_grid(root, kept):
    dataset = make(root, cache=kept, min_area_fraction=0)
    test, placements = dataset.load().test, dataset.prepared().placements()
    for subject in set(test.subjects):
        source = subject.removeprefix("toy/") + ".nii"
        truth = nib.load(root / source.replace(".nii", "_mask.nii"))
        image = to_nifti(test.lesions.astype(np.float32), test, source, placements[source])
        assert (image.affine == truth.affine).all()
        assert (image.get_fdata() == truth.get_fdata()).all()
    other = next(source for source in placements if f"toy/{source.removesuffix('.nii')}" not in test.subjects)
    with pytest.raises(DataError, match=f"no slice of {other}"):
        to_nifti(test.images, test, other, placements[other])
    with pytest.raises(DataError, match="needs a map, got 1"):
        to_nifti(test.images[:1], test, other, placements[other])


def test_masks_of_the_test_split_go_back_to_their_scans(root, kept):
    dataset = make(root, cache=kept, min_area_fraction=0)
    placements, test = dataset.prepared().placements(), dataset.load_test()
    for name, placement in placements.items():
        mine = [f"{name}[{z}]" for z in placement.z]
        if set(mine) <= set(test.sources):
            maps = np.stack([test.lesions[test.sources.index(source)] for source in mine])
            i = int(name.removesuffix(".nii")[1:])
            assert (restore(maps.astype(np.float32), placement) == np.roll(LESION, i % 2, 2)).all()
    assert len(placements) == N


def test_the_scans_of_a_split_have_the_masks_as_they_were_drawn_and_all_its_slices(root, kept):
    dataset = make(root, cache=kept)
    split = dataset.load_test()
    scans = dataset.scans(split)
    assert [scan.source for scan in scans] == sorted(f"s{i}.nii" for i in range(N))
    assert sorted(i for scan in scans for i in scan.images) == list(range(len(split)))
    for scan in (scans[0], scans[-1]):
        drawn = np.asarray(nib.load(root / scan.source.replace(".nii", "_mask.nii")).dataobj) > 0
        truth = scan.truth()
        assert scan.subject == f"toy/{scan.source.removesuffix('.nii')}"
        assert np.array_equal(truth.lesion, drawn)
        back = scan.back(split.lesions[scan.images].astype(np.float32))
        seen = np.isfinite(back)
        assert np.array_equal(back[seen] > 0.5, drawn[seen]), "pixels are kept as stored"
    healthy, _ = dataset.load_healthy()
    assert {scan.subject for scan in dataset.scans(healthy)} == set(healthy.subjects)


def test_scans_without_a_voxel_size_say_so(root, kept, monkeypatch):
    dataset = make(root, cache=kept)
    split = dataset.load_test()
    for case in dataset.prepared().cases[1:]:
        monkeypatch.setitem(case["facts"], "spacing_mm", None)
    sized = [scan.source for scan in dataset.scans(split) if scan.sized]
    assert sized == [dataset.prepared().cases[0]["source"]]
