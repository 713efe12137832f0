"""What adbench asks of a device, whatever its type. A type is a subclass in one file, named in `backends.BACKENDS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import torch
from torch import Tensor, nn


class Backend(ABC):
    """One device."""

    divisible: ClassVar[bool] = False
    """Whether it may be named several times, where each process takes its share."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """None where there is such a device here; else what `--device NAME` needs, and what to do."""

    @classmethod
    def count(cls) -> int:
        """How many there are here, numbered from 0, where one is not missing."""
        return 1

    @property
    @abstractmethod
    def name(self) -> str:
        """Its make, for the record."""

    @property
    @abstractmethod
    def has_bf16(self) -> bool:
        """Whether it has bfloat16 instructions: emulation is many times slower than float32."""

    @abstractmethod
    def synchronise(self) -> None:
        """Wait until all work queued on the device is done."""

    @abstractmethod
    def peak_memory(self, peak: list[int]) -> AbstractContextManager[None]:
        """Append to `peak` the most bytes in use during the block above those in use before it."""

    @abstractmethod
    def return_free_memory(self) -> None:
        """Give memory that is held but not used back, before a smaller piece of work is tried."""

    def current(self) -> AbstractContextManager[object]:
        """Within the block it is the one that is meant where its type alone is named."""
        return nullcontext()

    def fork_rng(self) -> AbstractContextManager[None]:
        """Put the global generators, this device's among them, back to their states after the block."""
        return torch.random.fork_rng([self.device], device_type=self.device.type)

    def captured(self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        """Return what gives function(*inputs), without gradients, for any inputs of these shapes."""
        return function

    def graph_training(self, network: nn.Module, inputs: tuple[Tensor, ...], bf16: bool) -> None:  # noqa: B027
        """Launch forward and backward of `network` in training mode at once; by default it trains as it is."""
