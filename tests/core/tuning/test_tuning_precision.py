"""A study computes in one precision, in whatever process, and shares nothing with studies in another."""

from __future__ import annotations

import pytest
import torch
import tuning_toys
from tuning_toys import Keeping, Levels, options, tune

from adbench.config.options import Silent
from adbench.devices import precision as measuring
from adbench.devices.cpu import Cpu
from adbench.devices.device import precision
from adbench.errors import TuningError
from adbench.tuning import workers
from adbench.tuning.objective import prepare

CPU = torch.device("cpu")
VALUES = {"level": 0.3, "power": 1, "sign": "both"}


@pytest.fixture(autouse=True)
def _toys(tmp_path, monkeypatch):
    tuning_toys.install(tmp_path / "site", monkeypatch)


def test_a_trial_is_fitted_scored_and_timed_in_the_precision_of_its_study(tmp_path, monkeypatch):
    seen = []
    for verb in ("fit", "score"):
        original = getattr(Levels, verb)

        def watched(self, *given, original=original):
            seen.append(precision(CPU))
            return original(self, *given)

        monkeypatch.setattr(Levels, verb, watched)
    prepare(options(tmp_path, precision="bf16", objectives=("dice", "seconds")), Silent()).evaluate(VALUES)
    assert set(seen) == {"bf16"}
    assert precision(CPU) == "float32"


def test_a_study_does_not_go_on_in_another_precision(tmp_path):
    tune(options(tmp_path, precision="bf16"))
    with pytest.raises(TuningError, match="precision"):
        tune(options(tmp_path, precision="float32", trials=5))


def test_what_is_kept_in_one_precision_is_not_used_in_another(tmp_path):
    for chosen in ("float32", "bf16"):
        objective = prepare(options(tmp_path, "toy-keeping", precision=chosen), Silent())
        objective.evaluate(VALUES)
        assert objective.kept.folder.name == f"cpu-{chosen}"
    assert Keeping.computed == [0.3, 0.3]


def test_processes_of_a_study_are_told_what_was_decided_and_measure_nothing(tmp_path, monkeypatch):
    told, measured = [], [(0.2, 0.1)]
    monkeypatch.setattr(Cpu, "has_bf16", True)
    monkeypatch.setattr(measuring, "measure", lambda device: measured.pop())
    monkeypatch.setattr(workers.studies, "check_some_succeeded", lambda *_: None)
    monkeypatch.setattr(workers, "_work_in_processes", lambda study, given, *_: told.append(given.precision))
    tune(options(tmp_path, jobs=2))
    assert told == ["bf16"]
