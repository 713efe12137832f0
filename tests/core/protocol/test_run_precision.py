"""A run computes in one precision from fitting to timing, says which, and leaves nothing of it behind."""

from __future__ import annotations

import pytest
import torch
import toys

from adbench.devices import precision as measuring
from adbench.devices.cpu import Cpu
from adbench.devices.device import precision
from adbench.errors import ArtifactError
from adbench.protocol import forecast, harness
from adbench.storage.saved import Saved

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


@pytest.fixture
def seen(monkeypatch) -> set[tuple[str, str]]:
    """(verb, precision) of whatever a detector was asked."""
    found: set[tuple[str, str]] = set()
    for verb in ("fit", "score", "plan"):
        original = getattr(toys.Trained, verb)

        def watched(self, *given, verb=verb, original=original):
            found.add((verb, precision(CPU)))
            return original(self, *given)

        monkeypatch.setattr(toys.Trained, verb, watched)
    return found


def run(tmp_path, wanted="auto", **given):
    (record,) = harness.run(["toy-trained"], "toy", toys.options(tmp_path, precision=wanted, **given), toys.Diary())
    return record


@pytest.mark.parametrize(("wanted", "said"), [("float32", "float32"), ("bf16", "bf16 autocast")])
def test_all_of_a_run_is_computed_in_the_precision_asked_for_and_record_and_part_say_it(tmp_path, seen, wanted, said):
    record = run(tmp_path, wanted)
    assert {(verb, used) for verb, used in seen if verb != "plan"} == {("fit", wanted), ("score", wanted)}
    assert record.environment.precision == said
    meta = Saved(tmp_path / "cache/artifacts" / record.detector.artifacts["toy"], "part").read_meta()
    assert (meta["device"], meta["precision"]) == ("cpu", wanted)
    assert precision(CPU) == "float32"


def test_the_precision_decides_neither_the_record_s_name_nor_the_part_s_key(tmp_path):
    records = [run(tmp_path / wanted, wanted) for wanted in ("float32", "bf16")]
    assert records[0].config_hash == records[1].config_hash
    assert records[0].detector.artifacts == records[1].detector.artifacts


def test_a_run_and_its_dry_run_take_what_was_measured_once(tmp_path, seen, monkeypatch):
    measured = [(0.2, 0.1)]
    monkeypatch.setattr(Cpu, "has_bf16", True)
    monkeypatch.setattr(measuring, "measure", lambda device: measured.pop())
    diary = toys.Diary()
    forecast.forecast(["toy-trained"], "toy", toys.options(tmp_path), diary)
    assert ("plan", "bf16") in seen
    assert "precision: bf16, as bf16 took 100.0 ms" in diary.text
    assert run(tmp_path).environment.precision == "bf16 autocast"


def test_what_was_cut_off_goes_on_in_its_own_precision_alone(tmp_path):
    class Cut(toys.Diary):
        def progress(self, what: str, done: int, total: int) -> None:
            if what == "toy training" and done == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        harness.run(["toy-trained"], "toy", toys.options(tmp_path, precision="bf16"), Cut())
    with pytest.raises(ArtifactError, match="--precision bf16"):
        run(tmp_path)
    assert list((tmp_path / "out").glob("records/*/*/*.json")) == []
    assert run(tmp_path, "bf16").status == "ok"
