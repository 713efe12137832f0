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
"""Type of device and precision, within `computing`."""


def pick_device(name: str) -> torch.device:
    """Return the device for auto, cpu, cuda, cuda:1 ... Raises DeviceError where that is unknown or not here."""
    type_, colon, number = name.partition(":")
    reason = None
    for each in BACKENDS if name == "auto" else [type_]:
        backend = load_backend(each)
        reason = backend.missing()
        if reason is None and colon and number not in map(str, range(backend.count())):
            here = ", ".join(f"{each}:{i}" for i in range(backend.count()))
            reason = f"a device that is here: {here}."
        if reason is None:
            return torch.device(name if colon else each)
    raise DeviceError(f"--device {name} needs {reason}")


def pick_devices(names: str) -> list[torch.device]:
    """Return the devices for names parted by commas, which score side by side.

    Raises DeviceError as `pick_device`, where they are of several types, and where one is named twice that is not
    divisible.
    """
    given = [name.strip() for name in names.split(",")]
    if len({name.partition(":")[0] for name in given}) > 1:
        raise DeviceError(f"Devices that score side by side must be of one type, got --device {names}. Name one type.")
    devices = [pick_device(name) for name in given]
    if len({device.index or 0 for device in devices}) < len(devices) and not backend_of(devices[0]).divisible:
        raise DeviceError(f"Each device must be named once, got --device {names}. Leave the second out.")
    return devices


def backend_of(device: torch.device) -> Backend:
    """What can be asked of a device. Raises DeviceError for a type that no backend stands for."""
    return load_backend(device.type)(device)


@contextmanager
def computing(device: torch.device, precision: Precision) -> Iterator[None]:
    """Compute on this device, and on its type in `precision`, within the block (of this thread or task)."""
    token = _computing.set((device.type, precision))
    try:
        with backend_of(device).current():
            yield
    finally:
        _computing.reset(token)


def precision(device: torch.device) -> Precision:
    """In which precision networks compute on a device here: float32, unless `computing` says otherwise."""
    type_, decided = _computing.get() or ("", "float32")
    return decided if type_ == device.type else "float32"


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bf16 autocast where that was decided (`computing`), else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(device) == "bf16")


def in_float32(device: torch.device) -> AbstractContextManager[object]:
    """No bf16 within the block, whatever was decided: for what has too few digits in it."""
    return torch.autocast(device.type, enabled=False)
