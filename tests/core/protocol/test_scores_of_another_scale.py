"""From the scores of a detector to its record: their scale decides no number, nor, at network size, their shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import toys
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from measuring import measured, scorer
from torch import Tensor

OWN = ("image_auroc", "image_auprc")
"""By the mean of a map, which commutes with a*s + b alone, and that but for rounding."""
THRESHOLDS = {"best_threshold": True, "points": {"__all__": {"threshold"}}, "froc": {"__all__": {"threshold"}}}
FINAL: dict[str, Callable[[Tensor], Tensor]] = {
    "exponential": lambda s: (3 * s).exp(),
    "logarithm": lambda s: (s + 0.5).log(),
    "cubed": lambda s: (s - 0.5) ** 3,
    "ranks": lambda s: torch.searchsorted(torch.arange(-100, 400) / 100, s.contiguous()).float(),
}


@pytest.fixture
def numbers(tmp_path_factory, monkeypatch) -> Callable[[Callable[[Tensor], Tensor], str], Any]:
    """Measures the phantom's brightness, to the next hundredth, as a function changes it, in a folder of its own."""
    toys.install(tmp_path_factory.mktemp("site"), monkeypatch)

    def of(change: Callable[[Tensor], Tensor], postprocess: str) -> tuple[Any, ...]:
        def score(_: object, images: Tensor) -> Tensor:
            before = (images * 100).round() / 100
            after = change(before)
            assume(after.unique().numel() == before.unique().numel())  # else float32 makes new ties
            return after

        monkeypatch.setattr(toys.Brightness, "score", score)
        work = scorer(
            tmp_path_factory.mktemp("run"), "toy-brightness", f"protocol.postprocess={postprocess}", dataset="phantom"
        )
        found = measured(work)
        metrics = {key: estimate for key, estimate in found.metrics.items() if key not in OWN}
        flagged = {subject: at.tolist() for subject, at in found.evidence.flagged.pixels.items()}
        return metrics, flagged, found.measurement.model_dump(exclude=THRESHOLDS), found.subjects.to_csv()

    return of


SOME = settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@pytest.mark.parametrize("postprocess", ["none", "median"])
@SOME
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-1, 1))
def test_raw_maps_may_be_scaled_and_shifted(numbers, postprocess: str, scale: float, shift: float):
    assert numbers(lambda s: scale * s + shift, postprocess) == numbers(lambda s: s, postprocess)


@pytest.mark.slow
@pytest.mark.parametrize("name", FINAL)
def test_final_maps_at_network_size_may_be_mapped_by_what_increases(numbers, name: str):
    assert numbers(FINAL[name], "none") == numbers(lambda s: s, "none")
