"""The precision of a device is measured once, kept, and overruled by whoever asks for another."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from adbench.devices import precision as module
from adbench.devices.cpu import Cpu
from adbench.devices.device import precision
from adbench.devices.precision import GAIN, PAIRS, decide, measure
from adbench.errors import ArtifactError, DeviceError

CPU = torch.device("cpu")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def trials(monkeypatch) -> list[tuple[float, float]]:
    """A processor with bfloat16 on which the measurements to come are these; each is taken away when it is made."""
    monkeypatch.setattr(Cpu, "has_bf16", True)
    made: list[tuple[float, float]] = []
    monkeypatch.setattr(module, "measure", lambda device: made.pop(0))
    return made


def test_the_faster_precision_is_taken_and_the_reason_is_said(trials, tmp_path, said):
    trials += [(0.2, 0.1)]
    assert decide(CPU, "auto", tmp_path, said.append) == "bf16"
    assert said == [
        "precision: bf16, as bf16 took 100.0 ms against 200.0 ms in float32 (measured once; --precision overrides)"
    ]


@pytest.mark.parametrize(
    ("bf16_s", "decided"), [(0.05, "bf16"), (0.99 / GAIN, "bf16"), (0.95, "float32"), (50, "float32")]
)
def test_bf16_must_be_faster_by_more_than_chance(trials, tmp_path, said, bf16_s, decided):
    trials += [(1.0, bf16_s)]
    assert decide(CPU, "auto", tmp_path, said.append) == decided


def test_later_runs_agree_without_measuring_and_say_the_same(trials, tmp_path, said):
    trials += [(0.2, 0.1)]
    assert [decide(CPU, "auto", tmp_path, said.append) for _ in range(3)] == ["bf16"] * 3
    assert len(set(said)) == 1


def test_another_number_of_threads_another_torch_or_another_device_is_measured_anew(
    trials, tmp_path, said, monkeypatch
):
    trials += [(0.2, 0.1), (0.1, 0.2), (0.1, 0.2), (0.1, 0.2)]
    assert decide(CPU, "auto", tmp_path, said.append) == "bf16"
    changes = [
        (torch, "get_num_threads", lambda: 77),
        (torch, "__version__", "9.9"),
        (Cpu, "name", "Another processor"),
    ]
    for owner, name, value in changes:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            assert decide(CPU, "auto", tmp_path, said.append) == "float32"
    assert decide(CPU, "auto", tmp_path, said.append) == "bf16"


@pytest.mark.parametrize("wanted", ["float32", "bf16"])
def test_what_is_asked_for_is_taken_and_nothing_is_measured(trials, tmp_path, said, wanted):
    assert decide(CPU, wanted, tmp_path, said.append) == wanted
    assert (said, list(tmp_path.iterdir())) == ([], [])


def test_a_device_without_bfloat16_computes_in_float32_and_is_not_measured(tmp_path, said, monkeypatch):
    monkeypatch.setattr(module, "measure", pytest.fail)
    assert decide(CPU, "auto", tmp_path, said.append) == "float32"
    assert (said, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("content", ["", "{}", '{"device": "x", "precision": "f16"}'])
def test_a_damaged_measurement_is_said_and_made_again(trials, tmp_path, said, content):
    trials += [(0.2, 0.1), (0.2, 0.1)]
    decide(CPU, "auto", tmp_path, said.append)
    (path,) = (tmp_path / "precision").glob("*.json")
    path.write_text(content)
    assert decide(CPU, "auto", tmp_path, said.append) == "bf16"
    assert f"{path} is damaged" in said[1]
    assert json.loads(path.read_text("utf-8"))["float32_s"] == 0.2


def test_what_cannot_be_kept_or_does_not_exist_is_refused(trials, tmp_path, said):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"cannot be written .* --cache, or choose with --precision"):
        decide(CPU, "auto", tmp_path / "file", said.append)
    with pytest.raises(DeviceError, match="A precision is auto, float32, bf16; got 'f16'"):
        decide(CPU, "f16", tmp_path, said.append)


class FakeClock:
    """Passes take what they are said to in each precision, and the first of each ten times as long."""

    def __init__(self, monkeypatch, **seconds: float) -> None:
        self.now, self.passes, self.seconds = 0.0, [], seconds
        monkeypatch.setattr(module, "clocked", self)
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def __call__(self, run, device) -> float:
        made_in = precision(device)
        seconds = self.seconds[made_in] * (1 if made_in in self.passes else 10)
        self.now += seconds
        self.passes.append(made_in)
        return seconds


def test_passes_alternate_and_warm_ups_do_not_count(monkeypatch):
    fake = FakeClock(monkeypatch, float32=0.02, bf16=0.03)
    assert measure(CPU) == (0.02, 0.03)
    assert fake.passes[-2 * PAIRS :] == ["float32", "bf16"] * PAIRS


def test_measuring_ends_after_one_pair_where_a_pass_is_very_slow(monkeypatch):
    fake = FakeClock(monkeypatch, float32=0.1, bf16=5.0)
    assert measure(CPU) == (0.1, 5.0)
    assert fake.passes.count("bf16") == 2


def test_measuring_computes_in_both_precisions_and_draws_nothing_from_the_global_generator(monkeypatch):
    dtypes = []

    def watched(run, device):
        handle = torch.nn.modules.module.register_module_forward_hook(lambda m, x, out: dtypes.append(out.dtype))
        run()
        handle.remove()
        return 1.0

    monkeypatch.setattr(module, "clocked", watched)
    monkeypatch.setattr(module, "PAIRS", 1)
    before = torch.get_rng_state()
    measure(CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert set(dtypes) == {torch.float32, torch.bfloat16}
