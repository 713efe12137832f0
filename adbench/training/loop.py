"""One resumable training loop for every trained part.

The order of batches, the augmentation and all noise of step k come from a generator of its own, seeded by the part's
name, the seed and k, so that a run that was cut off continues exactly as if it had not been (up to the device's own
non-determinism).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from adbench.config.options import Progress
from adbench.errors import TrainingError
from adbench.storage.saved import Checkpoint
from adbench.training.average import Ema
from adbench.training.curve import LossCurve, snapshot_steps
from adbench.training.interruption import deferred
from adbench.training.state import TrainingState
from adbench.training.streams import stream

Loss = Callable[[int, torch.Generator], Tensor]
"""loss(step, generator) -> scalar to descend."""
LOOK_EVERY = 20
"""Steps between two looks at the gradient norms."""
CHECKPOINT_EVERY_S = 60.0


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


def remaining_steps(
    state: TrainingState,
    options: LoopOptions,
    checkpoint: Checkpoint,
    progress: Progress,
    look: Callable[[int], object],
) -> Iterator[int]:
    """Yield the number of each step that is still to do, for the caller to take; save the state once in a while.

    Ctrl-C ends it after the step that it is in, with that state saved; a second one at once.

    `look(step)` is called every few steps, and always before weights are kept: what it reads of the device makes the
    processor wait for the step to end.
    """
    saved_at, unseen = time.monotonic(), 0
    with deferred() as interrupted:
        for step in range(state.restore(checkpoint), options.steps):
            yield step
            unseen += 1
            ends = interrupted()
            late = ends or time.monotonic() - saved_at > CHECKPOINT_EVERY_S
            if late or unseen == LOOK_EVERY or step + 1 == options.steps:
                look(step)
                unseen = 0
            if late:
                state.save(checkpoint, step + 1)
                saved_at = time.monotonic()
            if ends:
                raise KeyboardInterrupt
            progress(options.what, step + 1, options.steps)


def train(module: nn.Module, loss_of: Loss, options: LoopOptions, checkpoint: Checkpoint, progress: Progress) -> None:
    """Train `module` in place, from its checkpoint where there is one; leave the averaged weights in it.

    Raises TrainingError where the loss or a gradient becomes NaN or infinite.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=options.learning_rate, weight_decay=options.weight_decay)
    ema = Ema(module, options.ema_decay) if options.ema_decay else None
    curve = LossCurve(options.steps, trained[0].device)
    averages = {"ema": ema.shadow} if ema else {}
    state = TrainingState({"module": module}, {"optimiser": optimiser}, averages | {"curve": curve.tensors})
    shots = snapshot_steps(options.steps)
    norms: list[Tensor] = []

    def look(step: int) -> None:
        check_finite(norms, step, options)
        norms.clear()

    module.train()
    for step in remaining_steps(state, options, checkpoint, progress, look):
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
        if step + 1 in shots:
            look(step)
            weights = {**module.state_dict(), **(ema.shadow if ema else {})}
            checkpoint.keep(f"snapshot-{step + 1:07d}", weights, {"step": step + 1, "steps": options.steps})
    checkpoint.keep("loss-curve", curve.tensors, {"what": options.what, "steps": options.steps})
    if ema:
        ema.copy_to(module)
    module.eval()


def check_finite(norms: Sequence[Tensor], step: int, options: LoopOptions) -> None:
    """Raise TrainingError where one of the last gradient norms, up to that of `step`, is NaN or infinite."""
    bad = (~torch.isfinite(torch.stack([*norms]))).nonzero() if norms else torch.empty(0)
    if len(bad):
        first = int(bad[0])
        raise TrainingError(
            f"Training {options.what} diverged at step {step + 2 - len(norms) + first} of {options.steps} (gradient "
            f"norm {float(norms[first])}). Lower its learning rate of {options.learning_rate}."
        )
