"""The device that a run uses: which one, its backend, and the precision in which this context computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

import torch

from adbench.config.options import Precision
from adbench.devices.backend import Backend
from adbench.devices.backends import BACKENDS, load_backend
from adbench.errors import DeviceError

_computing: ContextVar[tuple[str, Precision] | None] = ContextVar("computing", default=None)
"""Kind of device and precision, within `computing`."""


def pick_device(name: str) -> torch.device:
    """Return the device for auto, cpu, cuda ... Raises DeviceError where that is unknown or not here."""
    reason = None
    for each in BACKENDS if name == "auto" else [name]:
        reason = load_backend(each).missing()
        if reason is None:
            return torch.device(each)
    raise DeviceError(f"--device {name} needs {reason}")


def backend_of(device: torch.device) -> Backend:
    """What can be asked of a device. Raises DeviceError for a kind that no backend stands for."""
    return load_backend(device.type)(device)


@contextmanager
def computing(device: torch.device, precision: Precision) -> Iterator[None]:
    """Compute on this kind of device in `precision` within the block (of this thread or task)."""
    token = _computing.set((device.type, precision))
    try:
        yield
    finally:
        _computing.reset(token)


def precision(device: torch.device) -> Precision:
    """In which precision networks compute on a device here: float32, unless `computing` says otherwise."""
    kind, decided = _computing.get() or ("", "float32")
    return decided if kind == device.type else "float32"


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bf16 autocast where that was decided (`computing`), else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(device) == "bf16")
