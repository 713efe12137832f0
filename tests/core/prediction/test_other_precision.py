"""A model that was made on another device, in another precision, is used here in float32, and says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adbench.devices.cpu import Cpu
from adbench.errors import DeviceError
from adbench.prediction.model import load_model
from adbench.prediction.model_file import cards_of, read_model, write_model


def made_by_hand(trained, path, dtype):
    """The trained model with tensors of another type and a card of a GPU."""
    file = read_model(trained.path)
    tensors = {name: t.to(dtype) if t.is_floating_point() else t for name, t in file.tensors.items()}
    card = file.card.model_copy(
        update={
            "tensors": cards_of(tensors),
            "measured_in": "cuda in bf16",
            "made_with": {key: {"device": "cuda", "precision": "bf16"} for key in file.card.parts.values()},
        }
    )
    write_model(path, card, tensors)
    return path


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_of_a_gpu_scores_on_the_cpu_in_float32_and_says_what_differs(trained, model, tmp_path, dtype):
    theirs = load_model(made_by_hand(trained, tmp_path / "gpu.adbench", dtype), "cpu", "float32")
    floating = [t for t in theirs.detector.state().values() if t.is_floating_point()]
    assert {t.dtype for t in floating} == {torch.float32}
    found, ours = theirs.predict(trained.patient), model.predict(trained.patient)
    scores = np.asarray(found.scores.dataobj)
    assert scores.dtype == np.float32
    span = np.ptp(np.asarray(ours.scores.dataobj))
    assert np.abs(scores - np.asarray(ours.scores.dataobj)).max() < 0.05 * span
    (said,) = [text for text in found.report.warnings if "thresholds come from" in text]
    assert said.startswith("scores are computed on cpu in float32, thresholds come from cuda in bf16")
    assert not [text for text in ours.report.warnings if "thresholds come from" in text]


@pytest.mark.parametrize(
    ("measured_in", "has_bf16", "expected"),
    [
        ("cpu in float32", True, "float32"),
        ("cpu in bf16", True, "bf16"),
        ("cpu in bf16", False, "float32"),
        ("cuda in bf16", True, "float32"),
    ],
)
def test_the_precision_is_that_of_the_thresholds_on_such_a_device_and_else_float32(
    measured_in, has_bf16, expected, trained, tmp_path, monkeypatch
):
    monkeypatch.setattr(Cpu, "has_bf16", has_bf16)
    file = read_model(trained.path)
    write_model(tmp_path / "m.adbench", file.card.model_copy(update={"measured_in": measured_in}), file.tensors)
    assert load_model(tmp_path / "m.adbench", "cpu").precision == expected
    assert load_model(tmp_path / "m.adbench", "cpu", "float32").precision == "float32"


def test_a_precision_that_is_none_is_refused(trained):
    with pytest.raises(DeviceError, match="got 'half'"):
        load_model(trained.path, "cpu", "half")
