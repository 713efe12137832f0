"""Everything that a training needs to go on where it was cut off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from adbench.storage.saved import Checkpoint, shapes_of


@dataclass
class TrainingState:
    """Networks, optimisers and averages by name."""

    modules: Mapping[str, nn.Module]
    optimisers: Mapping[str, torch.optim.Optimizer]
    averages: Mapping[str, dict[str, Tensor]] = field(default_factory=dict)

    def save(self, checkpoint: Checkpoint, step: int) -> None:
        """Write the state after `step` steps."""
        tensors: dict[str, Tensor] = {}
        for name, module in self.modules.items():
            tensors |= {f"{name}.{k}": v for k, v in module.state_dict().items()}
        for name, optimiser in self.optimisers.items():
            for i, state in optimiser.state_dict()["state"].items():
                tensors |= {f"{name}.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
        for name, average in self.averages.items():
            tensors |= {f"{name}.{k}": v for k, v in average.items()}
        checkpoint.save(tensors, {"step": step})

    def restore(self, checkpoint: Checkpoint) -> int:
        """Load the last state saved, where there is one, and return the number of steps already done.

        Raises ArtifactError where it is of other networks.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for name, module in self.modules.items():
            shapes |= shapes_of(module.state_dict(), f"{name}.")
        saved = checkpoint.load(shapes)
        if saved is None:
            return 0
        tensors, meta = saved

        for name, module in self.modules.items():
            module.load_state_dict(below(name, tensors))
        for name, optimiser in self.optimisers.items():
            states: dict[int, dict[str, Tensor]] = {}
            for key, value in below(name, tensors).items():
                i, field_name = key.split(".", 1)
                states.setdefault(int(i), {})[field_name] = value
            optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
        for name, average in self.averages.items():
            for key, value in below(name, tensors).items():
                average[key].copy_(value)  # what an older checkpoint does not hold stays as it is
        return int(meta["step"])


def below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose key starts with `name.`, by what follows."""
    return {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}
