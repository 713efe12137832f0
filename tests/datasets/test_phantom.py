"""The phantom is deterministic, keeps its splits apart, and puts lesions where it says they are."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from adbench_datasets.lesions.phantom_lesions import KINDS, MIN_AREA_MM2, draw_lesion, periventricular, smooth_field
from adbench_datasets.phantom import (
    FIELD_OF_VIEW_MM,
    Phantom,
    PhantomConfig,
    draw_case,
    draw_scan,
    draw_tissue,
    load_atlas,
)
from pydantic import ValidationError
from scipy.ndimage import binary_dilation

from adbench.config.options import Silent
from adbench.contracts.splits import Splits
from adbench.tuning.objective import prepare
from adbench.tuning.space import TuneOptions

SMALL = PhantomConfig(n_train=12, n_validation=6, n_test=16)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Phantom(SMALL).load()


def _cases(kind, size, count=6):
    config = PhantomConfig(size=size, data_seed=7)
    return [draw_case(config, "test", i, kind) for i in range(count)]


def test_the_same_seed_gives_the_same_bytes_in_a_fresh_process(splits):
    code = (
        "import sys; from adbench_datasets.phantom import Phantom, PhantomConfig\n"
        f"print(Phantom(PhantomConfig(**{SMALL.model_dump()!r})).load().fingerprint)\n"
        "print('nilearn.datasets' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    path = f"import sys; sys.path[:0] = {[str(root), str(root / 'datasets')]!r}\n"
    command = [sys.executable, "-c", path + code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    # the second line: nilearn.datasets takes two seconds to import, and only its files are needed
    assert done.stdout.split() == [splits.fingerprint, "False"]


def test_another_seed_gives_other_images(splits):
    other = Phantom(SMALL.model_copy(update={"data_seed": 1})).load()
    assert not set(other.train.hashes) & set(splits.train.hashes)


def test_images_are_float32_from_0_to_1_and_exactly_0_outside_the_brain(splits):
    for _, split in splits.items():
        assert split.images.shape == (len(split), 1, 64, 64)
        assert split.images.dtype == np.float32
        assert split.images.min() >= 0
        assert split.images.max() <= 1
        assert split.brains is not None
        assert not split.images[~split.brains].any()
        assert (split.images[split.brains] > 0).mean() > 0.99


def test_training_and_validation_images_are_healthy_and_every_image_is_of_its_own_subject(splits):
    assert splits.train.lesions is None
    assert splits.validation.lesions is None
    hashes = [digest for _, split in splits.items() for digest in split.hashes]
    subjects = [subject for _, split in splits.items() for subject in split.subjects]
    assert len(set(hashes)) == len(set(subjects)) == len(hashes)
    assert subjects[0] == "train-00000"


def test_a_larger_training_set_leaves_all_earlier_images_as_they_were(splits):
    grown = Phantom(SMALL.model_copy(update={"n_train": 20, "n_test": 24})).load()
    assert grown.validation.fingerprint == splits.validation.fingerprint
    np.testing.assert_array_equal(grown.train.images[:12], splits.train.images)
    np.testing.assert_array_equal(grown.test.images[:16], splits.test.images)
    np.testing.assert_array_equal(grown.test.lesions[:16], splits.test.lesions)


def test_healthy_images_are_those_of_all_splits_and_no_test_image_is_made_for_them(splits, monkeypatch):
    plain = Phantom._case

    def healthy_alone(self, split, index):
        assert split != "test"
        return plain(self, split, index)

    for name in ("load", "load_test"):
        monkeypatch.setattr(Phantom, name, lambda self: pytest.fail("the test split was loaded"))
    monkeypatch.setattr(Phantom, "_case", healthy_alone)
    train, validation = Phantom(SMALL).load_healthy()
    assert (train.fingerprint, validation.fingerprint) == (splits.train.fingerprint, splits.validation.fingerprint)
    assert (train.hashes, validation.hashes) == (splits.train.hashes, splits.validation.hashes)


def test_tuning_makes_no_test_image_of_the_phantom(tmp_path, monkeypatch):
    for name in ("load", "load_test"):
        monkeypatch.setattr(Phantom, name, lambda self: pytest.fail("tuning loaded the test split"))
    settings = ("data.n_train=12", "data.n_validation=12", "data.n_test=16")
    given = TuneOptions("healthy-zscore", "phantom", images=4, preset="smoke", settings=settings, cache=tmp_path)
    assert len(prepare(given, Silent()).development.lesioned) == 4


def test_half_of_the_test_images_are_clean_and_the_kinds_share_the_other_half_equally(splits):
    phantom = Phantom(SMALL)
    kinds = [phantom.kind(i) for i in range(SMALL.n_test)]
    assert kinds.count(None) == 8
    assert {kinds.count(kind) for kind in KINDS} == {2}
    ill = splits.test.lesions.any(axis=(1, 2, 3))
    assert ill.tolist() == [kind is not None for kind in kinds]


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_mask_of_the_stated_size_inside_the_brain(kind, size):
    for case in _cases(kind, size, 4):
        assert case.image.shape == (size, size)
        assert case.lesion.sum() * (FIELD_OF_VIEW_MM / size) ** 2 >= MIN_AREA_MM2
        assert not (case.lesion & ~case.brain).any()


@pytest.mark.parametrize("kind", ["periventricular", "plaques", "tumour"])
def test_lesions_other_than_infarcts_brighten_the_tissue_they_replace(kind):
    for case in _cases(kind, 64):
        # a tumour's core may be darker than the tissue it replaces, its oedema is not
        changes = (case.image - case.healthy)[case.lesion]
        assert np.percentile(changes, 75) > 0.03


def test_infarcts_darken_the_tissue_they_replace_and_reach_the_cortex():
    for case in _cases("infarct", 64):
        assert case.image[case.lesion].mean() < 0.8 * case.healthy[case.lesion].mean()
        assert (binary_dilation(case.lesion, iterations=3) & ~case.brain).any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_lesion_changes_no_pixel_where_its_weight_is_0(kind):
    rng = np.random.default_rng(5)
    lesion = None
    while lesion is None:
        tissue = draw_tissue(rng, 64)
        lesion = draw_lesion(kind, tissue, rng)
    scan = draw_scan(rng, tissue)
    changed = scan.acquire(lesion) != scan.acquire(None)
    assert changed[lesion.mask].mean() > 0.9
    assert not changed[lesion.weight == 0].any()
    assert lesion.weight.min() >= 0
    assert lesion.weight.max() <= 1 + 1e-9


def test_periventricular_lesions_hug_the_ventricles_and_spare_grey_matter():
    rng, found = np.random.default_rng(2), 0
    while found < 5:
        tissue = draw_tissue(rng, 128)
        lesion = draw_lesion("periventricular", tissue, rng)
        if lesion is None:
            continue
        found += 1
        assert tissue.ventricle_distance_mm[lesion.mask].max() < 2 * 9 + 1
        assert tissue.wm[lesion.mask].mean() > 0.7
        assert not (lesion.mask & tissue.ventricle).any()


def test_a_slice_without_ventricles_takes_no_periventricular_lesion():
    tissue = draw_tissue(np.random.default_rng(0), 64)
    dry = replace(tissue, csf=np.zeros_like(tissue.csf))
    assert periventricular(dry, np.random.default_rng(0)) is None


def test_grey_matter_is_brighter_than_white_matter_and_both_than_fluid():
    rng = np.random.default_rng(4)
    for _ in range(4):
        tissue = draw_tissue(rng, 128)
        image = draw_scan(rng, tissue).acquire(None)
        grey, white, fluid = (image[part > 0.8].mean() for part in (tissue.gm, tissue.wm, tissue.csf))
        assert grey > 1.1 * white > 2 * fluid


def test_a_subject_has_the_same_brain_at_both_sizes():
    coarse, fine = (draw_tissue(np.random.default_rng(9), size) for size in (64, 128))
    pooled = fine.brain.reshape(64, 2, 64, 2).mean(axis=(1, 3)) >= 0.5
    assert (pooled == coarse.brain).mean() > 0.98
    assert fine.spacing_mm == pytest.approx(1.6)


@pytest.mark.parametrize("step", [1, 2])
def test_the_atlas_places_the_frontal_horns_left_and_right_of_the_midline(step):
    atlas = load_atlas(step)
    fluid = atlas.brain - atlas.gm - atlas.wm

    def at(*point_mm):
        return fluid[tuple(np.round((np.array(point_mm) - atlas.origin_mm) / step).astype(int))]

    assert at(-8, 14, 14) > 0.6
    assert at(8, 14, 14) > 0.6
    assert at(30, 14, 20) < 0.3
    assert atlas.gm.max() <= 1


def test_a_smooth_field_has_unit_variance_and_does_not_depend_on_the_resolution():
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_field(rng, 7, 16) for _ in range(4000)])
    assert np.abs(fields.mean(axis=0)).max() < 0.08
    assert np.abs(fields.std(axis=0) - 1).max() < 0.06
    coarse, fine = (smooth_field(np.random.default_rng(1), 7, size) for size in (64, 128))
    assert np.abs(fine.reshape(64, 2, 64, 2).mean(axis=(1, 3)) - coarse).max() < 0.02


@pytest.mark.parametrize(
    "values",
    [
        {"size": 96},
        {"n_train": 0},
        {"n_test": 12},
        {"data_seed": -1},
        {"kinds": ()},
        {"kinds": ("tumour", "tumour"), "n_test": 16},
        {"kinds": ("fracture",)},
        {"noise": 1},
    ],
)
def test_an_invalid_configuration_is_rejected(values):
    with pytest.raises(ValidationError):
        PhantomConfig(**values)


def test_every_preset_is_a_valid_configuration():
    for values in Phantom.presets.values():
        assert PhantomConfig(**values).n_test >= 16


def test_a_choice_of_kinds_is_kept():
    phantom = Phantom(PhantomConfig(n_train=1, n_validation=1, n_test=4, kinds=["infarct"]))
    assert [phantom.kind(i) for i in range(4)] == [None, "infarct", None, "infarct"]
    assert phantom.load().test.lesions.any(axis=(1, 2, 3)).sum() == 2


def test_a_check_counts_the_lesions_of_each_kind():
    phantom = Phantom(SMALL)
    lesions = phantom.load().test.lesions
    facts = phantom.inspect().facts
    counts, _, sizes = facts["lesions"].partition("; ")
    assert sum(int(part.split()[0]) for part in counts.split(", ")) == lesions.any(axis=(1, 2, 3)).sum()
    assert sizes.endswith(f"to {lesions.sum(axis=(1, 2, 3)).max()} pixels")
