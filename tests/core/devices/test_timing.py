"""Time, memory, passes and FLOPs are those of what ran."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from adbench.devices import clock, repeats
from adbench.devices.clock import StageClock, clocked
from adbench.devices.cpu import Cpu
from adbench.devices.device import backend_of
from adbench.devices.flops import count_flops
from adbench.devices.load import others_share
from adbench.devices.repeats import Rules, Stopwatch
from adbench.devices.times import BUSY, Timing
from adbench.devices.timing import measure

CPU = torch.device("cpu")
"""A busy machine is no error."""


class Work:
    """A fake detector on a fake clock: every stage takes exactly as long as it says, the processor twice that."""

    def __init__(self, stages: dict[str, float], fits: int = 10**9, chain: int | None = None) -> None:
        self.clock, self.now, self.sizes, self.lengths = StageClock(), 0.0, [], []
        self._stages, self._fits, self._chain, self._base = stages, fits, chain, 0.0

    def score(self, images: torch.Tensor, passes: int | None = None) -> torch.Tensor:
        if len(images) > self._fits:
            raise torch.OutOfMemoryError("too large")
        passes = passes or self._chain or 5
        self.sizes.append(len(images))
        self.lengths.append(passes)
        for name, seconds in self._stages.items():
            with self.clock.stage(name, CPU, passes=passes if name == "heal" else 0):
                self.now += seconds * len(images) * (passes if name == "heal" else 1) + self._base
        return images

    def image_scores(self, images: torch.Tensor) -> torch.Tensor:
        self.now += 0.001 * len(images)
        return images.mean((1, 2, 3))

    def shortened(self, passes: int) -> Work | Short | None:
        return None if self._chain is None else Short(self, passes)

    def measure(self, monkeypatch: pytest.MonkeyPatch, n: int = 100, **rules: float) -> Timing:
        fake = SimpleNamespace(perf_counter=lambda: self.now, process_time=lambda: 2 * self.now)
        monkeypatch.setattr(clock, "time", fake)
        return measure(self, torch.zeros(n, 1, 2, 2), self.clock, Rules(**rules))


class Short:
    """The same with shorter chains."""

    def __init__(self, work: Work, passes: int) -> None:
        self._work, self._passes = work, passes

    def score(self, images: torch.Tensor) -> torch.Tensor:
        return self._work.score(images, self._passes)

    def image_scores(self, images: torch.Tensor) -> torch.Tensor:
        return self._work.image_scores(images)


def test_a_method_gets_ten_repeats_after_a_call_that_finds_its_batch_and_one_that_finds_its_time(monkeypatch):
    work = Work({"encode": 0.001, "heal": 0.0004})
    found = work.measure(monkeypatch)
    assert (found.warmups, found.repeats, found.batch_size, found.slices) == (2, 10, 100, 100)
    assert found.median_s == pytest.approx(0.3)
    assert found.cpu_s == pytest.approx({"score": 0.6, "image_scores": 0.2, "latency": 0.006})
    assert work.sizes.count(100) == 12 + 1, "and one for the FLOPs"
    assert (found.latency_s, found.image_scores_s) == pytest.approx((0.003, 0.1))
    assert not found.composed


def test_stages_add_up_to_the_total_and_passes_are_those_of_one_run(monkeypatch):
    found = Work({"encode": 0.001, "heal": 0.0004, "post": 0.0005}).measure(monkeypatch)
    assert found.stages_s == pytest.approx({"encode": 0.1, "heal": 0.2, "post": 0.05})
    assert sum(found.stages_s.values()) == pytest.approx(found.median_s)
    assert found.passes == {"heal": 5}


@pytest.mark.parametrize(("call_s", "repeats"), [(0.01, 50), (1.0, 10), (20.0, 6), (24.0, 5), (900.0, 5)])
def test_slow_calls_get_five_repeats_at_the_least_and_quick_ones_enough_to_tell_their_time(call_s, repeats):
    assert Rules(budget_s=120.0).number(call_s) == repeats


@given(call=st.floats(0, 1e5), budget=st.floats(0.01, 1e4), repeats=st.integers(5, 50))
def test_repeats_are_at_least_five_and_keep_within_the_budget_otherwise(call, budget, repeats):
    n = Rules(repeats, budget).number(call)
    assert 5 <= n <= 1000
    assert n == 5 or n * call <= budget * 1.001


def test_a_slow_method_without_chains_is_still_repeated_and_says_so(monkeypatch):
    said: list[str] = []
    work = Work({"heal": 1.8})
    fake = SimpleNamespace(perf_counter=lambda: work.now, process_time=lambda: work.now)
    monkeypatch.setattr(clock, "time", fake)
    found = measure(work, torch.zeros(100, 1, 2, 2), work.clock, Rules(budget_s=1.0), notify=said.append)
    assert (found.repeats, found.median_s) == (5, pytest.approx(900))
    assert said[0] == "a call takes 900 s, and is timed 5 times"


def test_a_long_chain_is_composed_of_shorter_ones_and_checked_against_one_whole_call(monkeypatch):
    work = Work({"encode": 0.1, "heal": 0.01, "post": 0.2}, chain=700)
    found = work.measure(monkeypatch, budget_s=200.0)
    whole = 10 + 700 + 20
    assert found.composed
    assert found.whole_s["score"] == pytest.approx(whole)
    assert found.median_s == pytest.approx(whole)
    assert found.stages_s == pytest.approx({"encode": 10, "heal": 700, "post": 20})
    assert found.passes == {"heal": 700}
    assert found.cpu_s["score"] == pytest.approx(2 * whole)
    hundreds = [n for n, size in zip(work.lengths, work.sizes, strict=True) if size == 100]
    assert hundreds.count(700) == 1, "the check; FLOPs are of one image"
    assert hundreds.count(20) == 2 + found.repeats >= 7


def test_a_chain_whose_whole_call_fits_is_not_composed(monkeypatch):
    work = Work({"heal": 0.001}, chain=100)
    found = work.measure(monkeypatch, budget_s=200.0)
    assert not found.composed
    assert (found.repeats, found.median_s) == (10, pytest.approx(10))


def test_what_does_not_compose_is_timed_whole(monkeypatch):
    said: list[str] = []
    work = Work({"heal": 0.01}, chain=700)
    work._base = 50.0  # every call takes that besides, in the stage of the chain: its passes are not equal
    fake = SimpleNamespace(perf_counter=lambda: work.now, process_time=lambda: work.now)
    monkeypatch.setattr(clock, "time", fake)
    found = measure(work, torch.zeros(100, 1, 2, 2), work.clock, Rules(budget_s=200.0), notify=said.append)
    assert not found.composed
    assert (found.repeats, found.median_s) == (5, pytest.approx(750))
    assert said[0].startswith("composed of shorter chains a call takes 2.45e+03 s, but a whole one took 750 s")


@pytest.mark.parametrize(("fits", "batch_size"), [(100, 100), (99, 50), (13, 12), (1, 1)])
def test_what_does_not_fit_is_halved_until_it_does_and_all_slices_are_still_timed(monkeypatch, fits, batch_size):
    work = Work({"heal": 0.002}, fits)
    found = work.measure(monkeypatch)
    assert found.batch_size == batch_size
    assert found.median_s == pytest.approx(1.0), "all hundred slices"
    assert max(work.sizes) == batch_size
    assert found.passes["heal"] == 5 * -(-100 // batch_size)


def test_what_does_not_fit_one_by_one_is_out_of_memory(monkeypatch):
    with pytest.raises(torch.OutOfMemoryError):
        Work({"heal": 0.01}, fits=0).measure(monkeypatch)


def test_stages_are_those_of_the_run_in_the_middle(monkeypatch):
    class Disturbed(Work):
        def score(self, images: torch.Tensor, passes: int | None = None) -> torch.Tensor:
            self._stages["encode"] = 1.0 if len(self.sizes) == 5 else 0.01
            return super().score(images, passes)

    found = Disturbed({"encode": 0.01}).measure(monkeypatch)
    assert (found.median_s, found.max_s) == pytest.approx((1.0, 100.0))
    assert found.stages_s == pytest.approx({"encode": 1.0})


def test_calls_that_are_not_timed_add_nothing_to_the_run_in_the_middle(monkeypatch):
    class LastIsInTheMiddle(Work):
        def score(self, images: torch.Tensor, passes: int | None = None) -> torch.Tensor:
            self._stages["encode"] = {2: 0.01, 3: 0.01, 4: 0.03, 5: 0.03}.get(len(self.sizes), 0.02)
            return super().score(images, passes)

        def image_scores(self, images: torch.Tensor) -> torch.Tensor:
            return self.score(images).mean((1, 2, 3))

    found = LastIsInTheMiddle({"encode": 0.02}).measure(monkeypatch, repeats=5)
    assert (found.repeats, found.median_s) == (5, pytest.approx(2.0))
    assert found.stages_s == pytest.approx({"encode": 2.0})


def test_memory_is_never_sampled_inside_a_timed_call(monkeypatch):
    inside: list[bool] = []
    sampling = [False]

    @contextmanager
    def peak_memory(self: Cpu, peak: list[int]) -> Iterator[None]:
        sampling[0] = True
        yield
        sampling[0] = False
        peak.append(7)

    monkeypatch.setattr(Cpu, "peak_memory", peak_memory)
    timed = repeats.elapsed
    monkeypatch.setattr(repeats, "elapsed", lambda *given: inside.append(sampling[0]) or timed(*given))
    found = Work({"encode": 0.001}).measure(monkeypatch)
    assert found.peak_memory_bytes == 7
    assert inside
    assert not any(inside)


@pytest.mark.parametrize(
    ("shares", "tries", "kept"), [([0.0], 1, 0.0), ([0.5, 0.04], 2, 0.04), ([0.5, 0.3, 0.4], 3, 0.3)]
)
def test_a_busy_machine_is_tried_again_and_the_quietest_series_kept(monkeypatch, shares, tries, kept):
    left, slept = list(shares), []

    @contextmanager
    def others_share(share: list[float]) -> Iterator[None]:
        yield
        share.append(left.pop(0))

    monkeypatch.setattr(repeats, "others_share", others_share)
    monkeypatch.setattr(repeats.time, "sleep", slept.append)
    watch = Stopwatch(CPU, StageClock(), Rules(), print)
    found = watch.repeats(lambda: None, None)
    assert (found.others, found.busy, left) == (kept, kept > BUSY, [])
    assert len(slept) == tries - 1


def test_a_time_on_a_busy_machine_is_busy_whatever_call_was_disturbed():
    quiet = Work({"encode": 0.001})
    timing = measure(quiet, torch.zeros(2, 1, 2, 2), quiet.clock, Rules(budget_s=0.01))
    for shares, busy in (({}, False), ({"score": 0.04}, False), ({"score": 0.0, "latency": 0.06}, True)):
        assert timing.model_copy(update={"others": shares}).busy is busy


def test_the_share_of_others_is_what_another_process_takes_of_our_cores():
    spin = "import time; end = time.monotonic() + 20\nwhile time.monotonic() < end: pass"
    share: list[float] = []
    with subprocess.Popen([sys.executable, "-c", spin]) as other:
        time.sleep(0.5)
        with others_share(share):
            time.sleep(1.0)
        other.kill()
    assert share[0] >= 0.5 / len(os.sched_getaffinity(0))
    with others_share(share):
        pass
    assert len(share) == 1, "too short to tell"


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


class Scored:
    """A detector of one function."""

    def __init__(self, score) -> None:
        self.score = score

    def image_scores(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((1, 2, 3))

    def shortened(self, passes: int) -> None: ...


def test_flops_are_of_the_whole_minibatch_where_it_fits_in_the_budget():
    layer = torch.nn.Linear(4, 4)

    def score(images):  # only images that are not blank cost anything
        return [layer(image.flatten()) for image in images if image.any()]

    images = torch.ones(3, 1, 2, 2)
    images[0] = 0
    assert measure(Scored(score), images, StageClock(), Rules(budget_s=0.1)).flops == 2 * 2 * 4 * 4


def test_flops_of_a_timed_scorer_are_those_of_all_slices():
    layer = torch.nn.Conv2d(1, 4, 3, padding=1)
    found = measure(Scored(layer), torch.zeros(6, 1, 8, 8), StageClock(), Rules(budget_s=0.01))
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
    found = measure(Scored(layer), images, StageClock(), Rules(budget_s=1.0))
    assert 0 < found.min_s <= found.median_s <= found.max_s
    assert found.latency_s > 0
    assert found.cpu_s["score"] > 0
