"""Processes that compute side by side share threads and cores; one GPU is seen where one is given."""

from __future__ import annotations

import os

import pytest
import torch

from adbench.devices.device import autocast, computing, in_float32
from adbench.devices.threads import threads_each, use_threads
from adbench.devices.workers import variables_of_worker


@pytest.fixture
def eight():
    before = torch.get_num_threads()
    use_threads(8)
    yield
    use_threads(before)


@pytest.mark.parametrize(("processes", "each"), [(1, 8), (2, 4), (3, 2), (16, 1)])
def test_threads_are_shared_and_nobody_goes_without(eight, processes, each):
    assert threads_each(processes) == each


def test_a_worker_alone_is_left_as_it_is():
    assert variables_of_worker(1, None) == {}


def test_workers_share_the_cores_of_this_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert variables_of_worker(3, None) == {"OMP_NUM_THREADS": "2"}
    assert variables_of_worker(20, "1") == {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "1"}


def test_a_worker_gets_no_more_threads_than_this_process_was_given(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for given, each in (("1", "1"), ("3", "3"), ("16", "4"), ("many", "4")):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert variables_of_worker(2, None) == {"OMP_NUM_THREADS": each}


def test_what_needs_float32_has_it_where_all_else_has_bf16():
    cpu = torch.device("cpu")
    a = torch.rand(4, 4)
    with computing(cpu, "bf16"), autocast(cpu):
        assert (a @ a).dtype == torch.bfloat16
        with in_float32(cpu):
            assert (a @ a).dtype == torch.float32
