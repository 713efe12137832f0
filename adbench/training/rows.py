"""A tensor with a row for each image, computed batch by batch, and kept in the artifact store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from adbench.contracts.detector import Images, Runtime
from adbench.contracts.plan import PartPlan
from adbench.storage.saved import Checkpoint
from adbench.storage.spec import PartSpec


@dataclass(frozen=True)
class Rows:
    """What is computed of every image, such as a map that a threshold is taken from."""

    spec: PartSpec
    name: str
    """Of the tensor."""
    title: str
    """What progress calls it."""
    row: tuple[int, ...]
    """Shape of what is computed of one image."""
    batch: int = 100
    """Images computed together."""

    def fetch(self, images: Images, compute: Callable[[Tensor], Tensor], runtime: Runtime) -> Tensor:
        """Return compute(batch) of all batches, (N, ...) on the CPU, going on where it was cut off."""

        def make(checkpoint: Checkpoint) -> dict[str, Tensor]:
            batches, saved = images.batches(self.batch), checkpoint.load()
            rows, done = ([saved[0][self.name]], saved[1]["batches"]) if saved else ([], 0)
            for i in range(done, len(batches)):
                rows.append(compute(batches[i].to(runtime.device)).cpu())
                checkpoint.save({self.name: torch.cat(rows)}, {"batches": i + 1})
                runtime.progress(self.title, i + 1, len(batches))
            return {self.name: torch.cat(rows)}

        return runtime.store.get(self.spec, make, {self.name: (len(images), *self.row)})[self.name]

    def plan(self, images: Images, passes: int) -> PartPlan:
        """The part as `--dry-run` shows it; each batch takes `passes` network passes."""
        return PartPlan(self.spec, len(images.batches(self.batch)) * passes, computed=True)
