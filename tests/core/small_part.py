"""A part of a few numbers, and what makes it."""

from __future__ import annotations

import torch

from adbench.storage.spec import PartSpec

SPEC = PartSpec("net", 1, {"width": 8, "inner": {"a": 1, "b": (1, 2)}}, "data", 0, {"parent": "p-1"})

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3)}


def never(checkpoint: object) -> dict[str, torch.Tensor]:
    raise AssertionError("made again")


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor] = TENSORS) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[k], expected[k]) for k in expected)
