"""Volumes against masks: by the definitions taken literally, voxel by voxel, and by SimpleITK where it is installed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adbench.metrics.volumes import best_dice, compare, hd95_mm

SHAPE = (6, 5, 4)
MASKS = arrays(bool, SHAPE, elements=st.booleans())
SPARSE = arrays(bool, SHAPE, elements=st.integers(0, 7).map(lambda n: n == 0))
TURNED = np.array([[0.0, -1.5, 0, 7], [0.9, 0, 0, -3], [0, 0, 3.0, 1], [0, 0, 0, 1]])
"""Axes swapped and flipped, voxels of 0.9 x 1.5 x 3 mm."""
RELAXED = settings(max_examples=60)


def voxels(mask) -> set[tuple[int, ...]]:
    return set(map(tuple, np.argwhere(mask).tolist()))


def components(mask) -> list[set[tuple[int, ...]]]:
    """26-connected, by flooding."""
    left, found = voxels(mask), []
    while left:
        waiting, part = [left.pop()], set()
        while waiting:
            at = waiting.pop()
            part.add(at)
            steps = itertools.product((-1, 0, 1), repeat=3)
            near = {tuple(a + d for a, d in zip(at, step, strict=True)) for step in steps}
            waiting += near & left
            left -= near
        found.append(part)
    return found


def boundary(mask) -> list[tuple[int, ...]]:
    """Voxels with one of the eight neighbours in the plane within the grid and not in the mask."""

    def inner(x, y, z) -> bool:
        near = [(x + dx, y + dy, z) for dx, dy in itertools.product((-1, 0, 1), repeat=2)]
        return all(mask[at] for at in near if 0 <= at[0] < mask.shape[0] and 0 <= at[1] < mask.shape[1])

    return [at for at in sorted(voxels(mask)) if not inner(*at)]


def directed(a, b) -> float:
    mm = [TURNED[:3, :3] @ at + TURNED[:3, 3] for at in b]
    nearest = [min(math.dist(TURNED[:3, :3] @ at + TURNED[:3, 3], other) for other in mm) for at in a]
    return float(np.percentile(nearest, 95))


@given(SPARSE, SPARSE, SPARSE)
@RELAXED
def test_all_numbers_are_those_of_the_definitions(prediction, reference, ignore):
    found = compare(prediction, reference, TURNED, ignore)
    prediction = prediction & ~ignore
    p, r = voxels(prediction), voxels(reference)
    lesions, parts = components(reference), components(prediction)
    assert (found.lesions, found.components) == (len(lesions), len(parts))
    assert found.dice == (pytest.approx(2 * len(p & r) / (len(p) + len(r))) if p or r else None)
    assert found.avd_percent == (pytest.approx(100 * abs(len(p) - len(r)) / len(r)) if r else None)
    recall = sum(bool(lesion & p) for lesion in lesions) / len(lesions) if lesions else 1
    precision = sum(bool(part & r) for part in parts) / len(parts) if parts else 1
    assert (found.lesion_recall, found.lesion_precision) == pytest.approx((recall, precision))
    assert found.false_components == sum(not part & r for part in parts)
    f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0
    assert found.lesion_f1 == pytest.approx(f1)
    ours, theirs = boundary(prediction), boundary(reference)
    expected = max(directed(ours, theirs), directed(theirs, ours)) if ours and theirs else None
    assert found.hd95_mm == (None if expected is None else pytest.approx(expected))


@given(SPARSE, SPARSE)
@RELAXED
def test_the_one_to_one_matching_is_the_largest(prediction, reference):
    lesions, parts = components(reference), components(prediction)

    def most(i: int, free: frozenset[int]) -> int:
        if i == len(lesions):
            return 0
        alike = [j for j in free if len(lesions[i] & parts[j]) >= 0.1 * len(lesions[i] | parts[j])]
        return max([most(i + 1, free), *(1 + most(i + 1, free - {j}) for j in alike)])

    found = compare(prediction, reference, TURNED).lesion_f1_one_to_one
    if not lesions and not parts:
        assert found is None
    else:
        assert found == pytest.approx(2 * most(0, frozenset(range(len(parts)))) / (len(lesions) + len(parts)))


def test_a_mask_of_ones_has_a_perfect_f1_by_touch_and_none_one_to_one():
    reference = np.zeros((20, 20, 5), bool)
    reference[2:4, 2:4, 2] = reference[10:12, 3:5, 2] = reference[15, 15, 4] = True
    found = compare(np.ones_like(reference), reference, np.eye(4))
    assert (found.lesion_recall, found.lesion_f1, found.lesion_f1_one_to_one) == (1, 1, 0)
    assert found.hd95_mm is None, "it has no boundary: beyond the grid counts as mask"


@pytest.mark.parametrize(
    ("flagged", "lesion", "expected"),
    [
        (False, False, {"dice": None, "hd95_mm": None, "avd_percent": None, "lesion_recall": 1, "lesion_f1": 1}),
        (False, True, {"dice": 0, "hd95_mm": None, "avd_percent": 100, "lesion_recall": 0, "lesion_precision": 1}),
        (True, False, {"dice": 0, "hd95_mm": None, "avd_percent": None, "lesion_recall": 1, "lesion_precision": 0}),
        (True, True, {"dice": 1, "hd95_mm": 0, "avd_percent": 0, "lesion_recall": 1, "lesion_f1_one_to_one": 1}),
    ],
)
def test_empty_masks_have_the_rules_of_the_challenge_and_what_is_not_defined_is_none(flagged, lesion, expected):
    prediction, reference = np.zeros((2, 5, 5, 3), bool)
    prediction[2, 2, 1], reference[2, 2, 1] = flagged, lesion
    found = compare(prediction, reference, np.eye(4)).model_dump()
    assert {key: found[key] for key in expected} == expected


def test_masks_of_other_shapes_or_kinds_are_refused():
    mask = np.zeros((2, 2, 2), bool)
    for other in (np.zeros((2, 2, 1), bool), mask.astype(np.uint8)):
        with pytest.raises(ValueError, match="Masks must be bool of one shape"):
            compare(mask, other, np.eye(4))


@given(arrays(np.float32, SHAPE, elements=st.integers(0, 3).map(float)), MASKS)
@RELAXED
def test_the_best_dice_is_the_largest_of_all_thresholds(values, reference):
    found = best_dice(values, reference)
    if not reference.any():
        assert found is None
        return
    masks = [values > t for t in (0.0, 0.5, 1.5, 2.5, 3.5)]
    assert found == pytest.approx(max(2 * (m & reference).sum() / (m.sum() + reference.sum()) for m in masks))


@given(SPARSE, SPARSE)
@RELAXED
def test_simpleitk_agrees_on_components_boundaries_and_dice(prediction, reference):
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed (it is in the extra dev)")
    images = [sitk.GetImageFromArray(mask.astype(np.uint8).T) for mask in (prediction, reference)]
    for image in images:
        image.SetSpacing((0.9, 1.5, 3.0))
    edges = [sitk.GetArrayFromImage(image - sitk.BinaryErode(image, (1, 1, 0))).T > 0 for image in images]
    for mask, edge in zip((prediction, reference), edges, strict=True):
        assert sorted(map(tuple, np.argwhere(edge).tolist())) == boundary(mask)
    affine = np.diag([0.9, 1.5, 3.0, 1.0])
    found = compare(prediction, reference, affine)
    counts = [int(sitk.GetArrayFromImage(sitk.ConnectedComponent(image, True)).max()) for image in images]
    assert [found.components, found.lesions] == counts
    if prediction.any() and reference.any():
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(*images)
        assert found.dice == pytest.approx(overlap.GetDiceCoefficient())
    if all(edge.any() for edge in edges):
        far = [_distances(sitk, edges[i], edges[1 - i]) for i in (0, 1)]
        assert found.hd95_mm == pytest.approx(max(np.percentile(d, 95) for d in far), rel=1e-5)
    assert found.hd95_mm == hd95_mm(prediction, reference, affine)


def _distances(sitk, points, to) -> np.ndarray:
    """Distance of each of `points` to the nearest voxel of `to`, from SimpleITK's distance map."""
    image = sitk.GetImageFromArray(to.astype(np.uint8).T)
    image.SetSpacing((0.9, 1.5, 3.0))
    field = sitk.SignedMaurerDistanceMap(image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return np.maximum(0, sitk.GetArrayFromImage(field).T)[points]
