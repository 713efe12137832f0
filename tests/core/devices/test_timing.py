"""Time, memory, passes and FLOPs are those of what ran."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from adbench.devices import clock
from adbench.devices.clock import StageClock, clocked
from adbench.devices.device import backend_of
from adbench.devices.flops import count_flops
from adbench.devices.timing import Timing, TimingProtocol, measure, plan_repeats
from adbench.results.timing import TimingRecord

CPU = torch.device("cpu")
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no error."""


class Work:
    """A fake scorer on a fake clock: every stage takes exactly as long as it says."""

    def __init__(self, stages: dict[str, float], fits: int = 10**9) -> None:
        self.clock, self.now, self.sizes = StageClock(), 0.0, []
        self._stages, self._fits = stages, fits

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self._fits:
            raise torch.OutOfMemoryError("too large")
        self.sizes.append(len(images))
        for name, seconds in self._stages.items():
            with self.clock.stage(name, CPU, passes=5 if name == "heal" else 0):
                self.now += seconds * len(images)
        return images

    def measure(self, monkeypatch: pytest.MonkeyPatch, n: int = 100, **protocol: float) -> Timing:
        monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: self.now))
        return measure(self, torch.zeros(n, 1, 2, 2), self.clock, TimingProtocol(slices=n, **protocol))


def test_a_quick_method_gets_three_warm_ups_and_ten_repeats(monkeypatch):
    work = Work({"encode": 0.001, "heal": 0.002})
    found = work.measure(monkeypatch)
    assert (found.warmups, found.repeats, found.batch_size, found.slices) == (3, 10, 100, 100)
    assert found.median_s == pytest.approx(0.3)
    assert work.sizes.count(100) == 13 + 1, "and one for the FLOPs"
    assert found.latency_s == pytest.approx(0.003)


def test_stages_add_up_to_the_total_and_passes_are_those_of_one_run(monkeypatch):
    found = Work({"encode": 0.001, "heal": 0.002, "post": 0.0005}).measure(monkeypatch)
    assert found.stages_s == pytest.approx({"encode": 0.1, "heal": 0.2, "post": 0.05})
    assert sum(found.stages_s.values()) == pytest.approx(found.median_s)
    assert found.passes == {"heal": 5}


def test_a_slow_method_gets_fewer_repeats_and_the_numbers_say_so(monkeypatch):
    work = Work({"heal": 0.4})
    found = work.measure(monkeypatch, budget_s=300.0)
    assert 1 <= found.repeats < 10
    assert found.warmups == 1
    assert work.sizes.count(100) == found.warmups + found.repeats + 1, "one for the FLOPs"
    assert (found.warmups + found.repeats) * 40 <= 300


def test_a_method_slower_than_the_budget_is_still_timed_once(monkeypatch):
    found = Work({"heal": 9.0}).measure(monkeypatch, budget_s=1.0)
    assert (found.warmups, found.repeats) == (0, 1), "its first call is the measurement"
    assert found.stages_s == pytest.approx({"heal": 900})
    assert found.min_s == found.median_s == found.max_s == pytest.approx(900)


@pytest.mark.parametrize(("fits", "batch_size"), [(100, 100), (99, 50), (13, 12), (1, 1)])
def test_what_does_not_fit_is_halved_until_it_does_and_all_slices_are_still_timed(monkeypatch, fits, batch_size):
    work = Work({"heal": 0.01}, fits)
    found = work.measure(monkeypatch)
    assert found.batch_size == batch_size
    assert found.median_s == pytest.approx(1.0), "all hundred slices"
    assert max(work.sizes) == batch_size
    assert found.passes["heal"] == 5 * -(-100 // batch_size)


def test_what_does_not_fit_one_by_one_is_out_of_memory(monkeypatch):
    with pytest.raises(torch.OutOfMemoryError):
        Work({"heal": 0.01}, fits=0).measure(monkeypatch)


@given(first=st.floats(1e-6, 1e5), budget=st.floats(0.01, 1e4), repeats=st.integers(1, 50))
@RELAXED
def test_repeats_keep_within_budget_or_the_first_call_is_all(first, budget, repeats):
    protocol = TimingProtocol(repeats=repeats, budget_s=budget)
    further_warmups, planned = plan_repeats(first, protocol)
    assert 0 <= planned <= repeats
    assert planned == 0 or (1 + further_warmups + planned) * first <= budget * 1.001
    assert planned < repeats or further_warmups in (0, protocol.warmups - 1)


def test_a_timing_record_holds_all_that_is_timed():
    timed = {field.name for field in dataclasses.fields(Timing)}
    assert timed | {"fit_s", "image_scores_s"} == set(TimingRecord.model_fields)


def test_stages_are_those_of_the_run_in_the_middle(monkeypatch):
    class Disturbed(Work):
        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            self._stages["heal"] = 1.0 if len(self.sizes) == 5 else 0.01
            return super().__call__(images)

    found = Disturbed({"heal": 0.01}).measure(monkeypatch)
    assert (found.median_s, found.max_s) == pytest.approx((1.0, 100.0))
    assert found.stages_s == pytest.approx({"heal": 1.0})


def test_a_clock_that_does_not_run_records_nothing():
    clock = StageClock()
    with clock.stage("a", CPU, passes=3):
        pass
    assert (clock.seconds, clock.passes) == ({}, {})


def test_a_stage_that_comes_twice_is_added_up():
    clock = StageClock(running=True)
    for _ in range(3):
        with clock.stage("a", CPU, passes=2):
            pass
    assert clock.passes == {"a": 6}
    clock.reset()
    assert clock.seconds == {}


@pytest.mark.parametrize("batch", [1, 7])
def test_flops_of_a_linear_layer_are_two_for_each_weight_and_row(batch):
    layer = torch.nn.Linear(12, 5)
    assert count_flops(lambda: layer(torch.zeros(batch, 12))) == 2 * 12 * 5 * batch


def test_flops_of_a_convolution_are_two_for_each_weight_and_output_pixel():
    layer = torch.nn.Conv2d(3, 4, 3, padding=1)
    assert count_flops(lambda: layer(torch.zeros(2, 3, 8, 8))) == 2 * (3 * 4 * 9) * (8 * 8) * 2


def test_flops_are_those_of_pytorchs_own_counter():
    layers = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 8))

    def run():
        layers(torch.ones(3, 1, 8, 8)).sum().backward()

    with FlopCounterMode(display=False) as theirs:
        run()
    assert count_flops(run) == theirs.get_total_flops() > 0


def test_flops_of_attention_are_those_of_its_two_products():
    q, k = torch.ones(2, 3, 5, 8), torch.ones(2, 3, 7, 8)
    with torch.no_grad():
        counted = count_flops(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, k))
    assert counted == 2 * (2 * 3) * (5 * 7 * 8) * 2


def test_flops_are_of_the_whole_minibatch_where_it_fits_in_the_budget():
    layer = torch.nn.Linear(4, 4)

    def score(images):  # only images that are not blank cost anything
        return [layer(image.flatten()) for image in images if image.any()]

    images = torch.ones(3, 1, 2, 2)
    images[0] = 0
    found = measure(score, images, StageClock(), TimingProtocol(slices=3, repeats=1, budget_s=5.0))
    assert found.flops == 2 * 2 * 4 * 4


def test_flops_of_a_timed_scorer_are_those_of_all_slices():
    layer = torch.nn.Conv2d(1, 4, 3, padding=1)
    found = measure(layer, torch.zeros(6, 1, 8, 8), StageClock(), TimingProtocol(slices=6, budget_s=0.01))
    assert found.flops == 2 * (4 * 9) * 64 * 6


def test_peak_memory_is_what_the_block_takes_above_what_was_in_use():
    peak: list[int] = []
    size = 96 * 2**20
    with backend_of(CPU).peak_memory(peak):
        held = torch.ones(size // 4)
        clocked(lambda: held.sum(), CPU)
        until_sampled = [clocked(lambda: held.add_(1), CPU) for _ in range(8)]
    assert len(until_sampled) == 8
    assert 0.5 * size < peak[0] < 3 * size


def test_peak_memory_is_appended_when_the_block_fails():
    peak: list[int] = []

    def fail():
        with backend_of(CPU).peak_memory(peak):
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert len(peak) == 1


def test_time_is_about_that_of_a_real_call():
    images = torch.randn(4, 1, 64, 64)
    layer = torch.nn.Conv2d(1, 64, 5, padding=2)
    found = measure(layer, images, StageClock(), TimingProtocol(slices=4, budget_s=5.0))
    assert 0 < found.min_s <= found.median_s <= found.max_s
    assert found.latency_s > 0
