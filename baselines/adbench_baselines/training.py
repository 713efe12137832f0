"""One resumable training loop for every trained part.

The order of batches, the augmentation and all noise of step k come from a generator seeded by (seed, k), so that a run
that was cut off continues exactly as if it had not been (up to the device's own non-determinism).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adbench.artifacts import Checkpoint
from adbench.detector import Progress
from adbench.errors import TrainingError

Loss = Callable[[int, torch.Generator], Tensor]
"""loss(step, generator) -> scalar to descend."""


@dataclass(frozen=True)
class LoopOptions:
    """How one part is trained."""

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


def learning_rate_factor(step: int, options: LoopOptions) -> float:
    """Linear warm-up, then a half cosine from 1 to `final_learning_rate`."""
    if step < options.warmup_steps:
        return (step + 1) / options.warmup_steps
    done = (step - options.warmup_steps) / max(1, options.steps - options.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return options.final_learning_rate + (1 - options.final_learning_rate) * cosine


def step_generator(seed: int, step: int) -> torch.Generator:
    """A CPU generator whose stream depends on (seed, step) alone."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % (1 << 63))


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

    Raises TrainingError where the loss becomes NaN or infinite.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=options.learning_rate, weight_decay=options.weight_decay)
    ema = Ema(module, options.ema_decay) if options.ema_decay else None
    start = _restore(module, optimiser, ema, checkpoint)
    saved_at = time.monotonic()
    module.train()
    for step in range(start, options.steps):
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * learning_rate_factor(step, options)
        loss = loss_of(step, step_generator(options.seed, step))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(trained, options.clip_norm)
        if not torch.isfinite(norm):
            raise TrainingError(
                f"Training {options.what} diverged at step {step + 1} of {options.steps} (loss {loss.item()}, gradient "
                f"norm {norm.item()}). Lower its learning rate of {options.learning_rate}."
            )
        optimiser.step()
        if ema:
            ema.update(module, step)
        progress(options.what, step + 1, options.steps)
        if time.monotonic() - saved_at > options.checkpoint_every_s:
            _save(module, optimiser, ema, checkpoint, step + 1)
            saved_at = time.monotonic()
    if ema:
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(ema.shadow[name])
    module.eval()


def _save(
    module: nn.Module, optimiser: torch.optim.Optimizer, ema: Ema | None, checkpoint: Checkpoint, step: int
) -> None:
    tensors = {f"module.{k}": v for k, v in module.state_dict().items()}
    for i, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{k}": torch.as_tensor(v) for k, v in state.items()}
    if ema:
        tensors |= {f"ema.{k}": v for k, v in ema.shadow.items()}
    checkpoint.save(tensors, {"step": step})


def _restore(module: nn.Module, optimiser: torch.optim.Optimizer, ema: Ema | None, checkpoint: Checkpoint) -> int:
    """Return the number of steps already done."""
    found = checkpoint.load()
    if found is None:
        return 0
    tensors, meta = found

    def below(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    module.load_state_dict(below("module."))
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in below("optimiser.").items():
        i, key = name.split(".", 1)
        states.setdefault(int(i), {})[key] = value
    optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
    if ema:
        for name, value in below("ema.").items():
            ema.shadow[name].copy_(value)
    return int(meta["step"])
