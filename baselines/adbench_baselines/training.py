"""One resumable training loop for every trained part.

The order of batches, the augmentation and all noise of step k come from a generator of its own, seeded by the part's
name, the seed and k, so that a run that was cut off continues exactly as if it had not been (up to the device's own
non-determinism).
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from adbench.contracts.detector import Progress
from adbench.errors import TrainingError
from adbench.storage.saved import Checkpoint, shapes_of

Loss = Callable[[int, torch.Generator], Tensor]
"""loss(step, generator) -> scalar to descend."""
LOOK_EVERY = 20
"""Steps between two looks at the gradient norms."""
TRIVIAL_STEPS = 200
"""A shorter training only shows that everything runs: it is not asked whether it learned anything."""
SNAPSHOTS = 8
"""Snapshots of the averaged weights that a part keeps, evenly spaced over its training (none of a trivial one)."""


@dataclass(frozen=True)
class LoopOptions:
    """How one part is trained. Clipping and warm-up are ours, for all parts alike: the papers name neither."""

    what: str
    steps: int
    learning_rate: float
    seed: int
    weight_decay: float = 0.0
    warmup_steps: int = 0
    final_learning_rate: float = 1.0
    """Fraction of `learning_rate` that a half cosine ends at; 1 keeps it constant."""
    ema_decay: float = 0.0
    """Decay of the exponential moving average of the weights; 0 keeps none."""
    clip_norm: float = 1.0
    checkpoint_every_s: float = 60.0


def loop_options(what: str, config: Any, seed: int, longest_warmup: int = 200) -> LoopOptions:
    """The options that a part's config names; warm-up takes a tenth of the steps, at most `longest_warmup`."""
    named = ("steps", "learning_rate", "final_learning_rate", "weight_decay", "ema_decay")
    values = {name: getattr(config, name) for name in named if hasattr(config, name)}
    return LoopOptions(what=what, seed=seed, warmup_steps=min(longest_warmup, config.steps // 10), **values)


def learning_rate_factor(step: int, options: LoopOptions) -> float:
    """Linear warm-up, then a half cosine from 1 to `final_learning_rate`."""
    if step < options.warmup_steps:
        return (step + 1) / options.warmup_steps
    done = (step - options.warmup_steps) / max(1, options.steps - options.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return options.final_learning_rate + (1 - options.final_learning_rate) * cosine


def stream(name: str, seed: int, index: int = 0) -> torch.Generator:
    """A CPU generator whose numbers depend on (name, seed, index) alone, apart from those of any other three."""
    digest = hashlib.sha256(f"{name}/{seed}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)


class Ema:
    """Exponential moving average of a module's parameters; buffers are taken as they are."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: p.detach().clone() for name, p in module.named_parameters()}

    def update(self, module: nn.Module, step: int) -> None:
        """Average in the present weights; the decay is lower in early steps, so that the start is forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        names, values = zip(*((n, p.detach()) for n, p in module.named_parameters()), strict=True)
        torch._foreach_lerp_([self.shadow[n] for n in names], list(values), 1 - decay)


def train(module: nn.Module, loss_of: Loss, options: LoopOptions, checkpoint: Checkpoint, progress: Progress) -> None:
    """Train `module` in place, from its checkpoint where there is one; leave the averaged weights in it.

    Raises TrainingError where the loss or a gradient becomes NaN or infinite. On a GPU a look at either would wait
    for the step to end, so that norms are looked at a few steps at a time, and always before weights are kept.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=options.learning_rate, weight_decay=options.weight_decay)
    ema = Ema(module, options.ema_decay) if options.ema_decay else None
    curve = LossCurve(options, trained[0].device)
    averages = {"ema": ema.shadow} if ema else {}
    state = TrainingState({"module": module}, {"optimiser": optimiser}, averages | {"curve": curve.tensors})
    start = state.restore(checkpoint)
    shots = snapshot_steps(options.steps)
    norms: list[Tensor] = []
    saved_at = time.monotonic()
    module.train()
    for step in range(start, options.steps):
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * learning_rate_factor(step, options)
        loss = loss_of(step, stream(options.what, options.seed, step))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(trained, options.clip_norm))
        optimiser.step()
        curve.add(step, loss)
        if ema:
            ema.update(module, step)
        late = time.monotonic() - saved_at > options.checkpoint_every_s
        if late or len(norms) == LOOK_EVERY or step + 1 == options.steps:
            check_finite(norms, step, options)
            norms.clear()
        if step + 1 in shots:
            weights = {**module.state_dict(), **(ema.shadow if ema else {})}
            checkpoint.keep(f"snapshot-{step + 1:07d}", weights, {"step": step + 1, "steps": options.steps})
        if late:
            state.save(checkpoint, step + 1)
            saved_at = time.monotonic()
        progress(options.what, step + 1, options.steps)
    checkpoint.keep("loss-curve", curve.tensors, {"what": options.what, "steps": options.steps})
    if ema:
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(ema.shadow[name])
    module.eval()


def snapshot_steps(steps: int) -> set[int]:
    """The numbers of steps after which weights are kept, the last among them."""
    return {round(i * steps / SNAPSHOTS) for i in range(1, SNAPSHOTS + 1)} if steps >= TRIVIAL_STEPS else set()


class LossCurve:
    """Mean loss over each of at most `POINTS` equal stretches of the training; it never waits for the device."""

    POINTS = 256

    def __init__(self, options: LoopOptions, device: torch.device) -> None:
        self.stretch = math.ceil(options.steps / self.POINTS)
        points = math.ceil(options.steps / self.stretch)
        self.tensors = {"loss": torch.zeros(points, device=device), "steps": torch.zeros(points, device=device)}
        """Mean loss of each stretch, and how many steps it holds so far."""

    def add(self, step: int, loss: Tensor) -> None:
        at = step // self.stretch
        self.tensors["steps"][at] += 1
        self.tensors["loss"][at] += (loss.detach() - self.tensors["loss"][at]) / self.tensors["steps"][at]


def check_finite(norms: Sequence[Tensor], step: int, options: LoopOptions) -> None:
    """Raise TrainingError where one of the last gradient norms, up to that of `step`, is NaN or infinite."""
    bad = (~torch.isfinite(torch.stack(list(norms)))).nonzero()
    if len(bad):
        first = int(bad[0])
        raise TrainingError(
            f"Training {options.what} diverged at step {step + 2 - len(norms) + first} of {options.steps} (gradient "
            f"norm {float(norms[first])}). Lower its learning rate of {options.learning_rate}."
        )


@dataclass
class TrainingState:
    """Everything that a training needs to go on where it was cut off, by name."""

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
        found = checkpoint.load(shapes)
        if found is None:
            return 0
        tensors, meta = found

        def below(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")}

        for name, module in self.modules.items():
            module.load_state_dict(below(name))
        for name, optimiser in self.optimisers.items():
            states: dict[int, dict[str, Tensor]] = {}
            for key, value in below(name).items():
                i, field_name = key.split(".", 1)
                states.setdefault(int(i), {})[field_name] = value
            optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
        for name, average in self.averages.items():
            for key, value in below(name).items():
                average[key].copy_(value)  # what an older checkpoint does not hold stays as it is
        return int(meta["step"])
