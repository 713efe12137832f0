"""A part to send around, and stores that hold it."""

from __future__ import annotations

from pathlib import Path

import torch

from adbench.storage.spec import PartSpec
from adbench.storage.store import ArtifactStore

SPEC = PartSpec("net", 1, {"width": 8, "of": None}, "data", 0)
TENSORS = {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3)}
KEY = SPEC.key


def never(checkpoint: object) -> dict[str, torch.Tensor]:
    raise AssertionError("made again")


def store_with(root: Path, *specs: PartSpec, scale: float = 1) -> ArtifactStore:
    """A store that has made these parts."""
    store = ArtifactStore(root)
    for spec in specs:
        store.get(spec, lambda checkpoint: {name: tensor * scale for name, tensor in TENSORS.items()})
    return store


def files_of(folder: Path) -> dict[str, bytes]:
    """Relative name -> content of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
