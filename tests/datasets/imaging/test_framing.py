"""The region of the brain depends neither on how much air was stored around it nor on the lesion in it."""

from __future__ import annotations

import numpy as np
import pytest
from adbench_datasets.imaging.cases import Scan
from adbench_datasets.imaging.preprocessing import prepare
from adbench_datasets.imaging.preprocessing_config import PreprocessingConfig
from adbench_datasets.imaging.region import Units, check_units, region_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from adbench.errors import DataError

H, W, Z = 60, 72, 3
Y, X = np.mgrid[:H, :W]
HEAD = np.broadcast_to((((Y - 29.5) / 30) ** 2 + ((X - 35.5) / 36) ** 2 < 1)[..., None], (H, W, Z))
"""It touches all four edges."""


def scan(image: np.ndarray, spacing: tuple[float, float, float] | None = (1.0, 1.0, 1.0)) -> Scan:
    affine = np.eye(4)
    return Scan("s", image.astype(np.float32), None, None, None, spacing, affine, "scan.nii", image.shape, affine)


def brain(seed: int = 0, lesion: float | None = None) -> np.ndarray:
    image = np.where(HEAD, np.clip(90 + 18 * np.random.default_rng(seed).standard_normal(HEAD.shape), 1, None), 0)
    if lesion is not None:
        image[((Y - 22) ** 2 + (X - 40) ** 2 < 17**2)[..., None] & HEAD] = lesion
    return image


def padded(image: np.ndarray, low: tuple[int, int], high: tuple[int, int], value: float = 0) -> np.ndarray:
    return np.pad(image, (*zip(low, high, strict=True), (0, 0)), constant_values=value)


def within(array: np.ndarray, low: tuple[int, int]) -> np.ndarray:
    return array[low[0] : low[0] + H, low[1] : low[1] + W]


borders = st.tuples(st.integers(0, 40), st.integers(0, 40))


@settings(max_examples=40)
@given(low=borders, high=borders, lesion=st.sampled_from([None, 20.0, 230.0]), air=st.sampled_from([0.0, 4.0]))
def test_padding_with_air_changes_nothing_inside(
    low: tuple[int, int], high: tuple[int, int], lesion: float | None, air: float
) -> None:
    bare = brain(lesion=lesion) + air
    region = region_of(scan(padded(bare, low, high, air)), "mri")
    assert_array_equal(within(region, low), region_of(scan(bare), "mri"))
    assert region.sum() == within(region, low).sum()
    assert within(region, low)[HEAD].mean() > 0.999


@settings(max_examples=20)
@given(low=borders, high=borders, noise=st.sampled_from([2.0, 5.0]), lesion=st.sampled_from([None, 230.0]))
def test_a_head_in_noisy_air_is_found_within_any_black_border(
    low: tuple[int, int], high: tuple[int, int], noise: float, lesion: float | None
) -> None:
    rng = np.random.default_rng(1)
    noisy = padded(brain(lesion=lesion), (6, 6), (6, 6))
    noisy = np.hypot(noisy + noise * rng.standard_normal(noisy.shape), noise * rng.standard_normal(noisy.shape))
    inner = region_of(scan(noisy), "mri")
    region = region_of(scan(padded(noisy, low, high)), "mri")
    assert_array_equal(region[low[0] : low[0] + H + 12, low[1] : low[1] + W + 12], inner)
    assert 0.95 * HEAD.sum() < inner.sum() < 1.08 * HEAD.sum()


@settings(max_examples=25)
@given(
    low=borders,
    high=borders,
    air=st.floats(25, 55),
    noise=st.sampled_from([2.0, 5.0]),
    value=st.sampled_from([0.0, None]),
    crop=st.integers(0, 8),
    seed=st.integers(0, 9),
)
def test_a_head_in_bright_noise_is_found_within_any_border(
    low: tuple[int, int], high: tuple[int, int], air: float, noise: float, value: float | None, crop: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    inner = padded(brain(seed), (10, 10), (10, 10))
    noisy = np.where(inner > 0, inner, air) + noise * rng.standard_normal(inner.shape)
    noisy = np.rint(noisy).clip(0)
    region = region_of(scan(noisy), "mri")
    assert region.sum() == pytest.approx(HEAD.sum(), rel=0.05)
    wide = region_of(scan(padded(noisy, low, high, round(air) if value is None else value)), "mri")
    assert wide.sum() == pytest.approx(region.sum(), rel=0.02)
    tight = region_of(scan(noisy[crop : len(noisy) - crop]), "mri")
    assert np.mean(tight == region[crop : len(noisy) - crop]) > 0.98


@settings(max_examples=25)
@given(
    low=borders,
    high=borders,
    noise=st.sampled_from([1.0, 4.0, 8.0]),
    brightest=st.sampled_from([160.0, 255.0]),
    lesion=st.sampled_from([None, 20.0, 230.0]),
    seed=st.integers(0, 9),
)
def test_an_inverted_head_in_noise_is_refused_within_any_black_border(
    low: tuple[int, int], high: tuple[int, int], noise: float, brightest: float, lesion: float | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    inner = padded(brain(seed, lesion), (6, 6), (6, 6))
    noisy = np.hypot(inner + noise * rng.standard_normal(inner.shape), noise * rng.standard_normal(inner.shape))
    noisy[40, 40] = brightest
    with pytest.raises(DataError, match="it is inverted, or filled"):
        check_units(scan(padded(noisy.max() - noisy, low, high)), "mri")
    check_units(scan(padded(noisy, low, high)), "mri")


def test_specks_of_noise_in_black_air_are_not_the_head() -> None:
    rng = np.random.default_rng(2)
    image = padded(brain(), (30, 30), (30, 30))
    specks = (rng.random(image.shape) < 0.5) & (image == 0)
    image[specks] = rng.integers(1, 6, specks.sum())
    assert region_of(scan(image), "mri").sum() < 1.08 * HEAD.sum()


@settings(max_examples=20)
@given(low=borders, high=borders, padding=st.sampled_from([-1000.0, -2000.0, -3024.0]))
def test_ct_is_found_in_air_or_padding_of_any_width(
    low: tuple[int, int], high: tuple[int, int], padding: float
) -> None:
    skull = HEAD & (((Y - 29.5) / 28) ** 2 + ((X - 35.5) / 34) ** 2 >= 1)[..., None]
    ct = padded(np.where(skull, 900.0, np.where(HEAD, 35.0, -1000.0)), (2, 2), (2, 2), -1000)
    stored = scan(padded(ct, low, high, padding))
    check_units(stored, "hu")
    region = region_of(stored, "hu")
    assert region.sum() == HEAD.sum()
    assert within(region, (low[0] + 2, low[1] + 2))[HEAD].all()


def test_prepared_slices_do_not_depend_on_the_border_where_the_spacing_is_known() -> None:
    config = PreprocessingConfig(size=64, spacing_mm=2.0)
    bare, wide = (prepare(scan(padded(brain(), (n, n), (n, n))), config, "mri") for n in (0, 20))
    assert np.abs(bare.images - wide.images).max() < 1e-6


def test_empty_slices_are_left_out() -> None:
    image = np.concatenate([np.zeros((H, W, 2)), brain(), np.zeros((H, W, 4))], axis=2)
    assert prepare(scan(image), PreprocessingConfig(size=64), "mri").placement.z == (2, 3, 4)


def shifted(offset: float) -> np.ndarray:
    ct = padded(np.where(HEAD, 35.0, -1000.0), (8, 8), (8, 8), -1000) + offset
    ct[8:10] = 900 + offset
    return ct


@pytest.mark.parametrize(
    ("image", "units", "words"),
    [
        (shifted(1024), "hu", "CT must be in HU"),
        (padded(shifted(1024), (9, 9), (9, 9), -2000), "hu", "CT must be in HU"),
        (-shifted(0), "hu", "it is inverted"),
        (np.clip(shifted(0), -40, 80), "hu", "CT must be in HU"),
        (shifted(-1024) + np.pad([[[1500.0]]], ((0, 75), (0, 87), (0, 2))), "hu", "applied twice|CT must be in HU"),
        (255 - padded(brain(), (8, 8), (8, 8)).clip(0, 255), "grey", "it is inverted"),
        (padded(255 - brain().clip(0, 255), (8, 8), (8, 8), 255), "mri", "Air must be darker than tissue"),
        (padded(brain(), (8, 8), (8, 8), 255), "mri", "Air must be darker than tissue"),
        (np.full((H, W, Z), -3.0) - brain() / 100, "mri", "must not be negative"),
    ],
)
def test_values_that_are_shifted_windowed_or_inverted_are_refused(image: np.ndarray, units: Units, words: str) -> None:
    with pytest.raises(DataError, match=words):
        prepare(scan(image), PreprocessingConfig(size=64), units)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_single_sagittal_or_coronal_slice_is_refused(axis: int) -> None:
    image = np.moveaxis(padded(brain(), (9, 9), (9, 9))[..., :1], 2, axis)
    with pytest.raises(DataError, match="Axial slices are needed, but those of"):
        prepare(scan(image), PreprocessingConfig(size=64), "mri")


@pytest.mark.parametrize(("mm", "said"), [(0.3, True), (1.6, False), (2.5, False), (6.0, True), (None, False)])
def test_a_head_of_an_unlikely_size_is_said(mm: float | None, said: bool) -> None:
    spacing = None if mm is None else (mm, mm, 5.0)
    prepared = prepare(scan(padded(brain(), (9, 9), (9, 9)), spacing), PreprocessingConfig(size=64), "mri")
    assert any("the voxel sizes may be wrong" in note for note in prepared.facts["notes"]) == said
