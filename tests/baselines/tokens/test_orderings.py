"""The eight orders of tokens: permutations, different, undone exactly, and the reflections that they are named for."""

from __future__ import annotations

import itertools

import pytest
import torch
from adbench_baselines.tokens.orderings import COUNT, arrange, ordering, restore
from hypothesis import given
from hypothesis import strategies as st

sides = st.integers(1, 9)


@given(index=st.integers(0, COUNT - 1), height=sides, width=sides)
def test_every_order_is_a_permutation_that_is_undone_exactly(index, height, width):
    order = ordering(index, height, width)
    assert sorted(order.tolist()) == list(range(height * width))
    tokens = torch.randint(1000, (2, height, width))
    assert torch.equal(restore(arrange(tokens, order), order, height, width), tokens)


@given(height=st.integers(2, 9), width=st.integers(2, 9))
def test_the_eight_orders_differ(height, width):
    orders = {tuple(ordering(i, height, width).tolist()) for i in range(COUNT)}
    assert len(orders) == COUNT == 8


def test_order_0_is_raster():
    assert ordering(0, 3, 5).tolist() == list(range(15))


def test_the_orders_read_the_grid_in_eight_known_ways():
    grid = torch.tensor([[0, 1, 2], [3, 4, 5]])
    read = ["".join(map(str, ordering(i, 2, 3).tolist())) for i in range(COUNT)]
    assert read == ["012345", "210543", "345012", "543210", "031425", "251403", "304152", "524130"]
    assert arrange(grid[None], ordering(5, 2, 3)).tolist() == [[2, 5, 1, 4, 0, 3]]


@pytest.mark.parametrize("index", range(COUNT))
def test_neighbours_in_every_order_are_neighbours_in_the_grid_but_where_a_line_ends(index):
    order = ordering(index, 4, 6).tolist()
    steps = [abs(a // 6 - b // 6) + abs(a % 6 - b % 6) for a, b in itertools.pairwise(order)]
    lines = 4 if index < 4 else 6
    assert sum(step != 1 for step in steps) == lines - 1
