"""Where foreign patches lie, and what is blended."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.synthetic.patches import blended, foreign, shapes, shifted, squares
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from adbench.training.streams import stream

SIZE = (48, 64)


def test_every_image_of_a_batch_is_another_s_partner_and_none_its_own():
    images = torch.arange(5.0)[:, None, None, None].expand(5, 1, 2, 2)
    partners = foreign(images)[:, 0, 0, 0].tolist()
    assert sorted(partners) == [0, 1, 2, 3, 4]
    assert all(partner != own for own, partner in enumerate(partners))


@given(weight=st.floats(0, 1))
def test_a_blend_lies_between_both_images(weight):
    a, b = torch.rand(2, 3, 1, 4, 4, generator=stream("pair", 0))
    mixed = blended(a, b, torch.full_like(a, weight))
    torch.testing.assert_close(mixed, (1 - weight) * a + weight * b)


def test_squares_are_one_box_each_whose_sides_lie_within_the_limits_or_are_cut_off_at_the_border():
    for (mask,) in squares(100, SIZE, 0.1, 0.4, stream("squares", 0)):
        _, count = ndimage.label(mask)
        (rows, columns) = (mask.any(dim).sum() for dim in (1, 0))
        assert count == 1
        assert int(mask.sum()) == int(rows * columns)
        assert max(rows, columns) <= 0.4 * 48 + 1


def test_no_square_is_ever_empty():
    assert bool(squares(200, (16, 16), 0.001, 0.001, stream("squares", 1)).flatten(1).any(1).all())


def test_squares_have_the_mean_side_of_their_limits():
    inner = squares(2000, (256, 256), 0.05, 0.1, stream("squares", 2))
    sides = inner.any(3).sum(2).float() / 256
    assert float(sides.mean()) == pytest.approx(0.075, rel=0.05)


def test_shapes_are_smooth_and_reach_from_0_to_1():
    masks = shapes(50, SIZE, 0.15, 0.25, 1.0, stream("shapes", 0))
    assert masks.shape == (50, 1, *SIZE)
    assert 0 <= float(masks.min()) <= float(masks.max()) <= 1
    assert float(masks.flatten(1).amax(1).min()) > 0.9
    steps = (masks[..., 1:] - masks[..., :-1]).abs()
    assert float(steps.flatten(1).median()) < 0.05


def test_no_two_shapes_are_the_same():
    masks = shapes(20, SIZE, 0.15, 0.25, 1.0, stream("shapes", 1)).flatten(1)
    assert len({tuple(row) for row in (masks > 0.5).int().tolist()}) == 20


def test_the_stream_decides_the_shapes():
    first, again, other = (shapes(3, SIZE, 0.1, 0.2, 1.0, stream("shapes", key)) for key in (2, 2, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_shifted_image_is_the_image_rolled_by_itself_and_no_further_than_asked():
    images = torch.rand(20, 1, 16, 24, generator=stream("images", 0))
    found = set()
    for image, moved in zip(images, shifted(images, 0.25, stream("shift", 0)), strict=True):
        shifts = [(d, r) for d in range(-4, 5) for r in range(-6, 7) if torch.equal(image.roll((d, r), (1, 2)), moved)]
        assert len(shifts) == 1
        found |= set(shifts)
    assert len(found) > 10
