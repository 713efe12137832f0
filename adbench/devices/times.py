"""What is known of how long a detector takes: one description, for measuring and for the files of times."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Call = Literal["score", "image_scores", "latency"]
"""What is timed: score maps and image-level scores of the minibatch, and the score map of a single image."""
LEAST = 5
"""Repeats of any call, however slow."""
BUSY = 0.05
"""Share of the machine from which others disturb a time, so that it is not compared."""


class Timing(BaseModel):
    """Seconds for `slices` images in one minibatch, and what went into them."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    slices: int
    batch_size: int
    """The minibatch in use; smaller than `slices` only where that did not fit into memory."""
    warmups: int
    """Calls of `score` before the first that counts."""
    repeats: int
    """Timed calls of `score`."""
    median_s: float
    min_s: float
    max_s: float
    stages_s: dict[str, float]
    """Of the repeat in the middle, so that they add up to about the median."""
    passes: dict[str, int]
    """Stage -> network passes of one call."""
    flops: int
    """Of all `slices` images by PyTorch's formulas; where a call is composed, those of one image times their number."""
    peak_memory_bytes: int
    """Above what was in use before: allocated on CUDA, resident on the CPU (sampled); of a call that is not timed."""
    latency_s: float
    """Median seconds for a single image, over the first few images."""
    image_scores_s: float
    """Median seconds for the image-level scores of the slices, timed apart."""
    fit_s: float
    """Seconds that `fit` took in this run; parts that were reused cost only their loading."""
    cpu_s: dict[Call, float] = {}
    """Median processor seconds; times of earlier versions have none."""
    others: dict[Call, float] = {}
    """Share of the machine that others used meanwhile, in [0, 1]; none for calls too short to tell."""
    whole_s: dict[Call, float] = {}
    """Of what is composed from calls with shorter chains of network passes: seconds of the one whole call beside."""

    @property
    def composed(self) -> bool:
        """Whether the seconds of `score` are composed."""
        return "score" in self.whole_s

    @property
    def busy(self) -> bool:
        """Whether others disturbed any of the times: they are not to be compared."""
        return any(share > BUSY for share in self.others.values())
