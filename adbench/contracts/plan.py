"""What a detector will do, said without doing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from adbench.storage.spec import PartSpec

Run = Callable[[], object]


@dataclass(frozen=True)
class PartPlan:
    """One part, as `adbench run --dry-run` shows it."""

    spec: PartSpec
    steps: int
    """Optimiser steps; of a part that is `computed`, network passes of `Plan.forward`."""
    build: Callable[[], tuple[torch.nn.Module, Run]] | None = None
    """Returns the network with fresh weights and a function that runs one training step, for the estimate."""
    computed: bool = False
    """Whether it is computed and not trained."""


@dataclass(frozen=True)
class Plan:
    """What a detector will do: its parts in order, and the network passes of one `score` call."""

    parts: Sequence[PartPlan] = ()
    passes: Mapping[str, int] = field(default_factory=dict)
    """Stage -> network passes for one batch, as counted by the method's definition."""
    image_passes: int = 0
    """Network passes of one `image_scores` call."""
    forward: Callable[[int], Run] | None = None
    """Given a batch size, builds the network with fresh weights and returns a function that runs one pass."""
