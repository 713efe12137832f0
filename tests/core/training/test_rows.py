"""Rows of images, computed batch by batch: kept, resumed, and equal to what one batch gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adbench.contracts.detector import Images, Runtime
from adbench.storage.spec import PartSpec
from adbench.testing import toy_split
from adbench.training.rows import Rows

ROWS = Rows(PartSpec("sums", 1, {}, "data", 0), "sums", "summing", (), batch=4)
IMAGES = Images(toy_split(10, 16, 1).images, "data")


def sums(images: Tensor) -> Tensor:
    return images.sum((1, 2, 3))


def test_rows_are_those_of_all_images_at_once_and_are_computed_once():
    runtime = Runtime()
    found = ROWS.fetch(IMAGES, sums, runtime)
    torch.testing.assert_close(found, sums(IMAGES[:]))
    assert torch.equal(ROWS.fetch(IMAGES, lambda _: pytest.fail("it is there already"), runtime), found)
    assert ROWS.plan(IMAGES, passes=5).steps == 15


def test_rows_that_were_cut_off_go_on_with_the_next_batch():
    runtime, seen = Runtime(), []

    def cut(images: Tensor) -> Tensor:
        seen.append(len(images))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return sums(images)

    with pytest.raises(KeyboardInterrupt):
        ROWS.fetch(IMAGES, cut, runtime)
    found = ROWS.fetch(IMAGES, cut, runtime)
    assert seen == [4, 4, 4, 2]
    torch.testing.assert_close(found, sums(IMAGES[:]))
