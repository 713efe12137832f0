"""Slices show the scan the right way round, in the right place, and maps find their way back."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from adbench_datasets.imaging.cases import Scan
from adbench_datasets.imaging.placement import Placement, as_stored, axial, restore
from adbench_datasets.imaging.preprocessing import Content, prepare, scale_of
from adbench_datasets.imaging.preprocessing_config import PreprocessingConfig
from adbench_datasets.imaging.region import otsu, region_of
from scipy import ndimage

from adbench.errors import DataError

SHAPE = (90, 100, 12)
GRID = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")


def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    return sum(((g - c) / r) ** 2 for g, c, r in zip(GRID, centre, radii, strict=True)) < 1


BRAIN = ball((46, 51, 5.5), (34, 41, 6.2))
LESION = ball((60, 70, 6), (9, 6, 2.5)) & BRAIN
"""In the right frontal part."""


def scan(lesion: np.ndarray | None = LESION, spacing=(1.0, 1.0, 1.0), **fields) -> Scan:
    rng = np.random.default_rng(0)
    image = np.where(BRAIN, rng.normal(100, 8, SHAPE), 0).astype(np.float32)
    image[LESION] = 220
    affine = np.diag([*(spacing or (1.0, 1.0, 1.0)), 1.0])
    made = Scan("s/1", image, lesion, None, None, spacing, affine, "scan.nii.gz", SHAPE, affine)
    return replace(made, **fields)


def config(**fields) -> PreprocessingConfig:
    return PreprocessingConfig(**{"size": 128, "spacing_mm": "keep", **fields})


def ct(**fields) -> Scan:
    image = np.where(BRAIN, 35.0, -1000.0).astype(np.float32)
    image[BRAIN & ~ndimage.binary_erosion(BRAIN, iterations=2)] = 1000
    image[LESION] = 70
    return scan(image=image, **fields)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def middle(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0)


def test_slices_show_the_front_at_the_top_and_the_right_of_the_patient_on_the_left():
    volume = np.zeros((5, 7, 3))
    volume[4, 6, 1] = 1  # the most right, the most anterior
    assert axial(volume, 1).shape == (7, 5)
    assert axial(volume, 1)[0, 0] == 1
    made = prepare(scan(), config(), "mri")
    at = list(made.placement.z).index(6)
    row, column = middle(made.lesions[at, 0])
    brain_row, brain_column = middle(made.brains[at, 0])
    assert row < brain_row - 10  # frontal: above
    assert column < brain_column - 8  # right: on the left


@pytest.mark.parametrize("spacing_mm", [1.0, "keep"])
def test_without_resampling_pixels_are_copied_and_masks_come_back_exactly(spacing_mm):
    given = scan()
    made = prepare(given, config(spacing_mm=spacing_mm, min_area_fraction=0), "mri")
    assert made.placement.step == (1.0, 1.0)
    region = region_of(given, "mri")
    values = scale_of(given, region, "mri", config())(given.image) * region
    assert (restore(made.images, made.placement) == values).all()
    assert (restore(made.lesions.astype(np.float32), made.placement) == LESION).all()
    assert (restore(made.brains.astype(np.float32), made.placement) == region_of(given, "mri")).all()


@pytest.mark.parametrize("spacing_mm", [0.7, 1.3, 1.5, 2.0])
@pytest.mark.parametrize("stored", [(1.0, 1.0, 1.0), (0.8, 1.25, 3.0)])
def test_resampling_shifts_neither_image_nor_mask(spacing_mm, stored):
    wide = ball((60, 70, 6), (16, 9, 4)) & BRAIN
    image = np.where(BRAIN, 1.0, 0.0).astype(np.float32) + 99 * wide
    made = prepare(
        scan(image=image, lesion=wide, spacing=stored, brain=BRAIN),
        config(spacing_mm=spacing_mm, size=160, upper_percentile=100),
        "mri",
    )
    at = list(made.placement.z).index(6)
    source = axial(wide, 6)
    for mask, what in ((made.lesions[at, 0].astype(float), "mask"), (made.images[at, 0].astype(float), "image")):
        centre = np.array([np.average(made.placement.positions(a), weights=mask.sum(axis=1 - a)) for a in (0, 1)])
        off = (centre - middle(source)) / made.placement.step
        limit = {"mask": 0.3, "image": 0.05}[what]  # in output pixels; nearest neighbour may be off by rounding
        assert np.abs(off).max() < limit, (what, off)
    area = made.lesions[at, 0].sum() * np.prod(made.placement.step)
    assert area == pytest.approx(source.sum(), rel=0.08)


@pytest.mark.parametrize(
    ("spacing_mm", "spacing"), [(1.3, (1.0, 1.0, 1.0)), (0.6, (1.0, 1.0, 1.0)), (1.5, (0.8, 1.2, 4.0))]
)
def test_a_large_lesion_brought_there_and_back_overlaps_itself(spacing_mm, spacing):
    made = prepare(scan(spacing=spacing), config(spacing_mm=spacing_mm, size=192, min_area_fraction=0), "mri")
    assert dice(restore(made.lesions.astype(np.float32), made.placement) >= 0.5, LESION) > 0.9


def test_downsampling_averages_instead_of_picking():
    rng = np.random.default_rng(1)
    image = np.where(BRAIN, rng.uniform(0, 100, SHAPE), 0).astype(np.float32)
    wide = config(spacing_mm=3.0, size=64, lower_percentile=0, upper_percentile=100)
    made = prepare(scan(image=image), wide, "mri")
    inner = made.images[len(made.images) // 2, 0][24:40, 24:40]
    assert inner.mean() == pytest.approx(0.5, abs=0.04)
    assert inner.std() < 0.5 * np.std(image[BRAIN]) / 100


def test_size_and_field_of_view_decide_the_pixel_size():
    assert prepare(scan(), config(spacing_mm="fit", fov_mm=192, size=64), "mri").placement.step == (3.0, 3.0)
    assert prepare(scan(spacing=(0.5, 1.0, 2.0)), config(spacing_mm="fit", size=128), "mri").placement.step == (
        1.5,
        3.0,
    )


def test_a_slice_of_unknown_spacing_is_shown_whole():
    made = prepare(scan(spacing=None), config(spacing_mm="fit", size=64), "mri")
    assert made.placement.step == (100 / 64, 100 / 64)
    assert abs(made.placement.centre[0] - 49.5) < 1
    assert abs(made.placement.centre[1] - 44.5) < 1


def test_the_brain_stands_in_the_middle():
    made = prepare(scan(), config(), "mri")
    rows, columns = np.nonzero(made.brains.any(axis=(0, 1)))
    assert abs(rows.min() + rows.max() - 127) <= 2
    assert abs(columns.min() + columns.max() - 127) <= 2


def test_mri_runs_from_percentile_to_percentile_of_the_brain_with_air_at_0():
    made = prepare(scan(), config(lower_percentile=5, upper_percentile=90), "mri")
    inside = scan().image[region_of(scan(), "mri")]
    assert made.images.dtype == np.float32
    assert (made.images[~made.brains] == 0).all()
    low, high = np.percentile(inside, [5, 90])
    wanted = np.clip((np.median(inside) - low) / (high - low), 0, 1)
    assert np.median(made.images[made.brains]) == pytest.approx(wanted, abs=0.02)
    assert (made.images == 1).any()


def test_intensities_do_not_depend_on_the_scanner_s_scale():
    plain = prepare(scan(), config(), "mri")
    scaled = prepare(scan(image=scan().image * 37), config(), "mri")
    assert np.abs(plain.images - scaled.images).max() < 1e-5


def test_ct_is_shown_through_the_window_in_hu():
    made = prepare(ct(), config(window_centre_hu=40, window_width_hu=120), "hu")
    values = restore(made.images, made.placement)[..., 6]
    assert values[46, 51] == pytest.approx((35 + 20) / 120, abs=1e-6)
    assert values[60, 70] == pytest.approx((70 + 20) / 120, abs=1e-6)
    assert values.max() == 1  # bone
    assert values[0, 0] == 0


def test_grey_values_of_a_window_are_divided_by_255():
    made = prepare(scan(image=np.where(BRAIN, 51, 0).astype(np.float32)), config(), "grey")
    assert made.images.max() == pytest.approx(0.2)


def normalised(given: Scan, within: np.ndarray | None = None) -> Scan:
    """Mean 0 and spread 1, of all voxels or of some beside which the rest is 0."""
    values = given.image if within is None else given.image[within]
    scores = (given.image - values.mean()) / values.std()
    return replace(given, image=(scores if within is None else np.where(within, scores, 0)).astype(np.float32))


def test_what_interpolation_makes_negative_is_no_fault():
    edge = ndimage.binary_dilation(BRAIN) & ~BRAIN
    given = scan()
    prepare(replace(given, image=np.where(edge, -3, given.image).astype(np.float32)), config(), "mri")


@pytest.mark.parametrize(
    ("given", "units", "message"),
    [
        (scan(), "hu", r"CT must be in HU.*scan.nii.gz runs from 0 to"),
        (scan(image=np.where(BRAIN, 80, -1000).astype(np.float32)), "hu", "bone above 200"),
        (ct(), "mri", "MRI must not be strongly negative.*as CT in HU does"),
        (normalised(scan()), "mri", "not be negative but for noise.*it was normalised"),
        (normalised(scan(), BRAIN), "mri", "not be negative but for noise.*it was normalised"),
        (ct(), "grey", "grey values from 0 to 255"),
        (scan(image=np.zeros(SHAPE, np.float32)), "mri", "it is empty"),
        (
            scan(image=np.where(BRAIN, 7, 0).astype(np.float32)),
            "mri",
            "more than one intensity.*scan.nii.gz has only 7",
        ),
        (scan(brain=np.zeros(SHAPE, bool)), "mri", "none was found in scan.nii.gz"),
    ],
)
def test_a_scan_of_the_wrong_kind_is_refused(given, units, message):
    with pytest.raises(DataError, match=message):
        prepare(given, config(), units)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"spacing_mm": 2.0}, "needs the size of the stored pixels"), ({"slice_step_mm": 5}, "how far slices lie apart")],
)
def test_mm_are_refused_where_the_scan_has_none(fields, message):
    with pytest.raises(DataError, match=message):
        prepare(scan(spacing=None), config(**fields), "mri")


def test_the_region_is_the_given_mask_the_rest_being_black():
    given = ball((46, 51, 5.5), (20, 20, 5))
    made = prepare(scan(brain=given), config(), "mri")
    assert (region_of(scan(brain=given), "mri") == given).all()
    assert (made.images[~made.brains] == 0).all()


def test_the_region_of_a_head_in_noisy_air_is_the_head_without_holes():
    rng = np.random.default_rng(2)
    image = np.abs(rng.normal(0, 4, SHAPE)).astype(np.float32)
    image[BRAIN] += 100
    hole = ball((46, 51, 5), (6, 6, 3))
    image[hole] = 0
    image[2:4, 2:4] = 150  # something else in the air
    assert dice(region_of(scan(image=image), "mri"), BRAIN) > 0.98
    assert region_of(scan(image=image), "mri")[hole].all()


def test_the_region_of_a_skull_stripped_brain_keeps_its_darkest_tissue():
    image = scan().image
    image[BRAIN & (GRID[0] < 30)] = 3
    assert (region_of(scan(image=image), "mri") == BRAIN).mean() > 0.999


def test_otsu_parts_two_classes():
    rng = np.random.default_rng(3)
    image = np.concatenate([rng.normal(10, 2, 7000), rng.normal(100, 5, 3000)]).astype(np.float32)
    assert 16 < otsu(image) < 85


def test_a_small_object_in_a_large_image_is_found():
    image = np.zeros((100, 100, 10), np.float32)
    image[:6, :6, 5] = np.arange(6) + 100
    tiny = scan(image=image, lesion=None)
    assert otsu(image) < 100
    assert (region_of(tiny, "mri") == (image > 0)).all()


@pytest.mark.parametrize("value", [0, -1, "other"])
def test_a_spacing_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="spacing_mm"):
        PreprocessingConfig(spacing_mm=value)


def test_kept_slices_have_a_stated_share_of_the_largest_area():
    area = region_of(scan(), "mri").sum(axis=(0, 1))
    for fraction in (0.0, 0.3, 0.9):
        kept = prepare(scan(), config(min_area_fraction=fraction), "mri").placement.z
        assert list(kept) == [k for k in range(SHAPE[2]) if area[k] and area[k] >= fraction * area.max()]


def test_slices_may_be_taken_some_mm_apart():
    made = prepare(scan(spacing=(1, 1, 2.0)), config(slice_step_mm=6, min_area_fraction=0), "mri")
    assert set(np.diff(made.placement.z)) == {3}


@pytest.mark.parametrize("margin", [0, 1, 3, 40])
def test_slices_near_a_lesion_are_not_called_healthy(margin):
    made = prepare(scan(), config(healthy_margin_slices=margin, min_area_fraction=0), "mri")
    sick = np.flatnonzero(LESION.any(axis=(0, 1)))
    for z, content in zip(made.placement.z, made.contents, strict=True):
        apart = np.abs(sick - z).min()
        assert content == (Content.LESION if apart == 0 else Content.NEAR if apart <= margin else Content.HEALTHY)


def test_a_scan_without_a_lesion_is_healthy_throughout():
    assert set(prepare(scan(lesion=None), config(), "mri").contents) == {Content.HEALTHY}


def test_a_slice_whose_lesion_vanished_is_neither_healthy_nor_tested_on():
    dot = np.zeros(SHAPE, bool)
    dot[40, 40, 5] = True
    made = [
        prepare(scan(lesion=np.roll(dot, shift, 0)), config(spacing_mm=3.0, size=64, healthy_margin_slices=0), "mri")
        for shift in range(3)
    ]
    contents = [part.contents[part.placement.z.index(5)] for part in made]
    assert sorted(set(contents)) == [Content.UNCLEAR] or sorted(set(contents)) == [Content.LESION, Content.UNCLEAR]
    for part, content in zip(made, contents, strict=True):
        at = part.placement.z.index(5)
        assert part.lesions[at].sum() == (content == Content.LESION)
        assert part.ignores[at].sum() == (content == Content.UNCLEAR)  # where it was


def test_small_lesions_are_ignored_and_large_ones_kept():
    mixed = LESION.copy()
    mixed[30:32, 40, 6] = True
    made = prepare(scan(lesion=mixed), config(min_lesion_px=3), "mri")
    at = made.placement.z.index(6)
    assert (restore(made.ignores.astype(np.float32), made.placement)[..., 6] == (mixed & ~LESION)[..., 6]).all()
    assert made.lesions[at].sum() == LESION[..., 6].sum()
    assert made.contents[at] == Content.LESION


def test_ignored_pathology_makes_a_slice_neither_healthy_nor_a_clean_test_image():
    other = np.zeros(SHAPE, bool)
    other[30:36, 40:46, 1] = True
    made = prepare(scan(ignore=other), config(min_area_fraction=0, healthy_margin_slices=0), "mri")
    assert made.contents[made.placement.z.index(1)] == Content.UNCLEAR
    assert (restore(made.ignores.astype(np.float32), made.placement) == other).all()


def test_the_hash_is_that_of_the_slice_before_preprocessing():
    plain, other = prepare(scan(), config(), "mri"), prepare(scan(), config(size=64, spacing_mm=2.0), "mri")
    assert plain.hashes == other.hashes
    assert len(set(plain.hashes)) == len(plain.hashes)
    image = scan().image
    image[0, 0, 6] = 1e-3
    changed = prepare(scan(image=image), config(), "mri").hashes
    assert [a == b for a, b in zip(changed, plain.hashes, strict=True)] == [z != 6 for z in plain.placement.z]


def test_maps_go_back_to_the_axes_of_the_file():
    stored_affine = np.array([[0, 0, -3.0, 30], [-1.0, 0, 0, 99], [0, 1.0, 0, 5], [0, 0, 0, 1]])  # P, S, L
    stored = nib.Nifti1Image(np.random.default_rng(4).random((100, 12, 90)), stored_affine)
    canonical = nib.as_closest_canonical(stored)
    given = scan(
        affine=canonical.affine, source_affine=stored_affine, source_shape=stored.shape, spacing=(3.0, 1.0, 1.0)
    )
    placement = Placement.model_validate_json(prepare(given, config(), "mri").placement.model_dump_json())
    assert (as_stored(canonical.get_fdata(), placement) == stored.get_fdata()).all()


def test_maps_of_another_shape_are_refused():
    made = prepare(scan(), config(), "mri")
    with pytest.raises(DataError, match=r"slices of 128 x 128, so maps must be .* got \(1, 1, 64, 64\)"):
        restore(np.zeros((1, 1, 64, 64), np.float32), made.placement)
