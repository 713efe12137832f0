"""A type of device is one file and one entry in the list: everything else asks it."""

from __future__ import annotations

import ast
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from adbench.devices import backends, device
from adbench.devices import precision as deciding
from adbench.devices.backend import Backend
from adbench.devices.backends import BACKENDS
from adbench.devices.clock import StageClock, clocked
from adbench.devices.device import autocast, backend_of, computing, pick_device, pick_devices, precision
from adbench.devices.environment import environment
from adbench.devices.graphs import Replayed, graph_training
from adbench.devices.precision import decide_for_all
from adbench.devices.repeats import Rules
from adbench.devices.timing import measure
from adbench.errors import DeviceError

CPU, XPU = torch.device("cpu"), torch.device("xpu")
ROOT = Path(__file__).parents[3]
OUTSIDE = [
    path
    for folder in ("adbench", "baselines", "datasets")
    for path in (ROOT / folder).rglob("*.py")
    if path.name not in ("cpu.py", "cuda.py")
]


class Toy(Backend):
    """A device of a type that PyTorch names and this machine has not; it remembers what it was asked."""

    here, asked = True, []

    @classmethod
    def missing(cls) -> str | None:
        return None if cls.here else "a toy. Buy one."

    name, has_bf16 = "Toy 3000", True

    def synchronise(self) -> None:
        self.asked.append("synchronise")

    @contextmanager
    def peak_memory(self, peak):
        yield
        peak.append(4096)

    def return_free_memory(self) -> None:
        self.asked.append("return free memory")


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setitem(BACKENDS, "xpu", f"{__name__}:Toy")
    monkeypatch.setattr(Toy, "asked", [])
    return Toy


class OnToy:
    """Images that say they are on the toy device."""

    device = XPU

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def split(self, size: int) -> list[OnToy]:
        return [OnToy(min(size, self.n - start)) for start in range(0, self.n, size)]

    def __getitem__(self, chosen: slice) -> OnToy:
        return OnToy(len(range(self.n)[chosen]))


def test_a_kind_of_device_that_is_added_is_picked_by_its_name_or_refused_in_its_words(toy, monkeypatch):
    assert pick_device("xpu") == XPU
    monkeypatch.setattr(toy, "here", False)
    with pytest.raises(DeviceError, match=r"--device xpu needs a toy\. Buy one\."):
        pick_device("xpu")


def test_auto_takes_the_first_of_the_list_that_is_here(toy, monkeypatch):
    listed = {"xpu": f"{__name__}:Toy", "cpu": BACKENDS["cpu"]}
    for module in (backends, device):
        monkeypatch.setattr(module, "BACKENDS", listed)
    assert pick_device("auto") == XPU
    monkeypatch.setattr(toy, "here", False)
    assert pick_device("auto") == CPU


@pytest.mark.parametrize("ask", [lambda: pick_device("tpu"), lambda: backend_of(torch.device("meta"))])
def test_a_kind_of_device_that_is_not_in_the_list_is_refused_with_the_list(ask):
    with pytest.raises(DeviceError, match="auto or one of cuda, cpu, got"):
        ask()


def test_a_device_is_picked_by_its_number_where_there_are_several(toy, monkeypatch):
    monkeypatch.setattr(toy, "count", lambda: 2)
    assert pick_device("xpu:1") == torch.device("xpu:1")
    assert pick_devices("xpu:0, xpu:1") == [torch.device("xpu:0"), torch.device("xpu:1")]


@pytest.mark.parametrize("number", ["2", "-1", "01", "one", ""])
def test_a_number_that_no_device_has_is_refused_with_those_that_are_here(toy, monkeypatch, number):
    monkeypatch.setattr(toy, "count", lambda: 2)
    with pytest.raises(DeviceError, match=f"^--device xpu:{number} needs a device that is here: xpu:0, xpu:1\\.$"):
        pick_device(f"xpu:{number}")


@pytest.mark.parametrize("names", ["xpu:1,xpu:1", "xpu,xpu:0", "xpu,xpu"])
def test_a_device_is_named_once(toy, monkeypatch, names):
    monkeypatch.setattr(toy, "count", lambda: 2)
    with pytest.raises(DeviceError, match=f"must be named once, got --device {names}"):
        pick_devices(names)


def test_a_processor_may_be_named_several_times():
    assert pick_devices("cpu,cpu") == [CPU, CPU]


@pytest.mark.parametrize("names", ["cpu,xpu", "auto,cpu", "xpu:0,cpu,xpu:1"])
def test_devices_of_several_kinds_are_refused(toy, names):
    with pytest.raises(DeviceError, match=f"must be of one type, got --device {names}"):
        pick_devices(names)


def test_devices_side_by_side_that_would_compute_in_several_precisions_are_refused(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(toy, "count", lambda: 2)
    monkeypatch.setattr(toy, "name", property(lambda self: f"Toy {self.device.index}"))
    monkeypatch.setattr(deciding, "measure", lambda device: (1.0, 0.5 + device.index))
    devices = pick_devices("xpu:0,xpu:1")
    with pytest.raises(DeviceError, match=r"xpu:0 takes bf16, xpu:1 takes float32\. Choose with --precision"):
        decide_for_all(devices, "auto", tmp_path, lambda text: None)
    assert decide_for_all(devices, "bf16", tmp_path, lambda text: None) == "bf16"


def test_what_is_computed_is_computed_with_the_device_as_the_current_one(toy, monkeypatch):
    monkeypatch.setattr(toy, "current", lambda self: nullcontext(toy.asked.append(f"current {self.device}")))
    with computing(torch.device("xpu:1"), "float32"):
        assert toy.asked == ["current xpu:1"]


def test_clock_record_and_timing_ask_the_device(toy):
    assert environment(XPU)["device_name"] == "Toy 3000"
    assert environment(XPU)["device"] == "xpu"
    clocked(lambda: toy.asked.append("work"), XPU)
    assert toy.asked == ["synchronise", "work", "synchronise"]


def test_a_scorer_on_it_is_timed_with_its_memory_and_halved_batches_give_memory_back(toy):
    def score(images: OnToy) -> None:
        if len(images) > 2:
            raise torch.OutOfMemoryError("too large")

    scored = SimpleNamespace(score=score, image_scores=score, shortened=lambda passes: None)
    found = measure(scored, OnToy(4), StageClock(), Rules(budget_s=0.01))
    assert (found.batch_size, found.peak_memory_bytes) == (2, 4096)
    assert toy.asked.count("return free memory") == 1


def test_a_device_without_graphs_runs_and_trains_as_it_is(toy, monkeypatch):
    monkeypatch.setitem(BACKENDS, "cpu", f"{__name__}:Toy")
    module, x = nn.Linear(2, 2), torch.ones(1, 2)
    forward = module.forward
    graph_training(module, x)
    assert module.forward == forward
    with torch.no_grad():
        assert torch.equal(Replayed(module)(x), module(x))


def test_networks_compute_in_float32_unless_a_run_decided_otherwise(toy):
    with autocast(XPU):
        assert not torch.is_autocast_enabled("xpu")
    assert environment(XPU)["precision"] == "float32"
    with computing(XPU, "bf16"):
        assert environment(XPU)["precision"] == "bf16 autocast"
        with autocast(XPU):
            assert torch.is_autocast_enabled("xpu")


def test_a_decision_is_of_one_kind_of_device_and_ends_with_its_block_in_its_thread():
    seen = []
    with computing(CPU, "bf16"):
        with computing(CPU, "float32"):
            assert precision(CPU) == "float32"
        assert (precision(CPU), precision(XPU)) == ("bf16", "float32")
        thread = threading.Thread(target=lambda: seen.append(precision(CPU)))
        thread.start()
        thread.join()
        with autocast(CPU):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16
    assert (precision(CPU), seen) == ("float32", ["float32"])


def test_a_block_that_fails_ends_its_decision_too():
    with pytest.raises(ValueError, match="broken"), computing(CPU, "bf16"):
        raise ValueError("broken")
    assert precision(CPU) == "float32"


def test_drawing_numbers_in_a_fork_leaves_the_generators_as_they_were():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with backend_of(CPU).fork_rng():
        torch.rand(5)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_other_file_names_a_kind_of_accelerator(path):
    tree = ast.parse(path.read_text("utf-8"))
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert not named & {"cuda", "xpu", "mps"}
    assert path.name == "backends.py" or not words & {"cuda", "xpu", "mps"}
