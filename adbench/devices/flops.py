"""Floating-point operations, counted by PyTorch's formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop

FORMULAS = {**flop_registry, torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop}
"""PyTorch's own, which leave out attention on the CPU."""


class _FlopCounter(TorchDispatchMode):
    """Adds up PyTorch's own FLOP formulas; its `FlopCounterMode`, which also tracks modules, costs twice as much."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = FORMULAS.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def count_flops(run: Callable[[], object]) -> int:
    """FLOPs of one call by PyTorch's formulas (matrix products, convolutions, attention)."""
    with _FlopCounter() as counter:
        run()
    return int(counter.total)
