"""Maps back on the scan, and the perfect map: linear, in place, and honest about what was not seen."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from adbench_datasets.imaging.cases import Scan
from adbench_datasets.imaging.preprocessing import PreprocessingConfig, axial, prepare
from adbench_datasets.imaging.scan_views import views
from hypothesis import given, settings
from hypothesis import strategies as st

from adbench.contracts.splits import Split
from adbench.errors import DataError
from adbench.metrics.volumes import best_dice

SHAPE = (90, 110, 12)
X, Y, Z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
LESION = ((X - 0.3) / 0.15) ** 2 + ((Y - 0.3) / 0.2) ** 2 + ((Z - 0.2) / 0.4) ** 2 < 1
SPECK = (20, 60, 6)
"""A lesion of one voxel."""


def scan() -> Scan:
    brain = X**2 + Y**2 + Z**2 < 0.9
    values = np.where(brain, 100 + 10 * np.random.default_rng(0).standard_normal(SHAPE), 0).astype(np.float32)
    lesion = LESION.copy()
    lesion[SPECK] = True
    affine = np.diag([1.0, 1.2, 4.0, 1.0])
    return Scan("toy/a", values, lesion, None, None, (1.0, 1.2, 4.0), affine, "a.nii", SHAPE, affine)


def view_of(found: Scan, **config):
    made = prepare(found, PreprocessingConfig(size=64, **config), "mri")
    sources = [f"a.nii[{z}]" for z in made.placement.z]
    n = len(sources)
    split = Split(made.images, ["toy/a"] * n, made.hashes, made.lesions, sources=sources)
    (view,) = views(split, {"a.nii": made.placement}, lambda source: (found, "mri"), {"a.nii"})
    return view, made


VIEW = view_of(scan())


def test_a_constant_comes_back_constant_wherever_an_image_shows_the_scan_and_nowhere_else():
    view, made = view_of(scan(), fov_mm=80.0)
    volume = view.back(np.full((len(made.placement.z), 1, 64, 64), 3.25, np.float32))
    seen = np.isfinite(volume)
    assert np.unique(volume[seen]) == [3.25]
    assert np.isneginf(volume[~seen]).all()
    assert not seen[..., [z for z in range(SHAPE[2]) if z not in made.placement.z]].any()
    shown = axial(seen, made.placement.z[0])
    assert shown.any(axis=1).sum() == pytest.approx(80 / 1.2, abs=1)
    assert shown.any(axis=0).sum() == pytest.approx(80, abs=1)


def test_the_way_back_commutes_with_any_linear_change_of_the_scores():
    view, made = view_of(scan())
    maps = np.random.default_rng(1).random((len(made.placement.z), 1, 64, 64)).astype(np.float32)
    before, after = view.back(maps), view.back(8 * maps - 3)
    seen = np.isfinite(before)
    np.testing.assert_allclose(after[seen], 8 * before[seen] - 3, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(a=st.floats(2**-10, 2**10, width=32), b=st.floats(-100, 100, width=32))
def test_scores_that_tie_still_tie_on_the_scan_s_grid_whatever_their_scale(a: float, b: float):
    view, made = VIEW
    maps = np.random.default_rng(2).random((len(made.placement.z), 1, 64, 64)).astype(np.float32)
    maps[maps < 0.9] = 0  # as a masked map is
    before, after = view.back(maps), view.back(np.float32(a) * maps + np.float32(b))
    assert (before == 0).mean() > 0.05
    assert np.unique(after[before == 0]) == [np.float32(b)], "none is flagged at a threshold of b"
    seen = np.isfinite(before)
    np.testing.assert_allclose(after[seen], a * before[seen] + b, rtol=1e-6, atol=1e-6 * (a + abs(b)))


def test_a_gradient_comes_back_where_it_was():
    view, made = view_of(scan())
    rows, columns = np.meshgrid(*(made.placement.positions(axis) for axis in (0, 1)), indexing="ij")
    for truth, ramp in (
        (SHAPE[1] - 1 - np.arange(SHAPE[1])[None, :, None], rows),
        (SHAPE[0] - 1 - np.arange(SHAPE[0])[:, None, None], columns),
    ):
        volume = view.back(np.broadcast_to(ramp.astype(np.float32), (len(made.placement.z), 1, 64, 64)))
        inner = np.isfinite(volume)
        inner[:8] = inner[-8:] = inner[:, :8] = inner[:, -8:] = False
        np.testing.assert_allclose(volume[inner], np.broadcast_to(truth, SHAPE)[inner], atol=1e-3)


def test_area_fractions_hold_the_area_of_the_lesion_and_are_one_within_it():
    view, made = view_of(scan())
    lesion = view.truth().lesion
    fractions = view.fractions(lesion)
    assert fractions.min() >= 0
    assert fractions.max() == pytest.approx(1, abs=1e-5)
    kept = lesion[..., list(made.placement.z)]
    area = made.placement.step[0] * made.placement.step[1]
    assert fractions.sum() * area == pytest.approx(kept.sum(), rel=1e-4)


def test_a_perfect_map_reaches_one_where_pixels_are_kept_and_less_where_they_are_lost():
    found = scan()
    small = replace(
        found, image=found.image[13:77, 23:87], lesion=found.lesion[13:77, 23:87], source_shape=(64, 64, 12)
    )
    view, _ = view_of(small, spacing_mm="keep", min_area_fraction=0.0)
    lesion = view.truth().lesion
    assert best_dice(view.back(view.fractions(lesion)), lesion) == 1
    coarse, _ = view_of(found)
    lesion = coarse.truth().lesion
    assert 0.8 < best_dice(coarse.back(coarse.fractions(lesion)), lesion) < 1


def test_what_vanishes_at_network_size_is_still_in_the_truth():
    view, made = view_of(scan())
    z = made.placement.z.index(SPECK[2])
    assert view.truth().lesion[SPECK]
    column, row = SHAPE[0] - 1 - SPECK[0], SHAPE[1] - 1 - SPECK[1]
    at = [
        round((where - made.placement.centre[a]) / made.placement.step[a] + 31.5)
        for a, where in enumerate((row, column))
    ]
    assert not made.lesions[z, 0, at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2].any()


def test_the_brain_is_found_only_where_it_is_asked_for_and_a_scan_that_changed_is_refused():
    found = scan()
    view, made = view_of(found)
    assert view.truth().brain is None
    assert view.truth(with_brain=True).brain.any()
    changed = replace(found, image=found.image[:, :, :5], lesion=found.lesion[:, :, :5])
    split = Split(made.images[:1], ["toy/a"], made.hashes[:1], sources=[f"a.nii[{made.placement.z[0]}]"])
    (other,) = views(split, {"a.nii": made.placement}, lambda source: (changed, "mri"), ())
    with pytest.raises(DataError, match=r"a\.nii has the shape \(90, 110, 5\), but had \(90, 110, 12\)"):
        other.truth()
    assert (view.sized, other.sized) == (True, False)
    assert nib.aff2axcodes(view.truth().affine) == ("R", "A", "S")
