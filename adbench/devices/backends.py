"""The list of backends: a type of device is one file and one entry here. Naming them imports nothing heavy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from adbench.errors import DeviceError

if TYPE_CHECKING:
    from adbench.devices.backend import Backend

BACKENDS = {"cuda": "adbench.devices.cuda:Cuda", "cpu": "adbench.devices.cpu:Cpu"}
"""PyTorch's name for the type of device -> module and class; `--device auto` takes the first that is here."""


def load_backend(name: str) -> type[Backend]:
    """Return the class of a backend. Raises DeviceError where none has that name."""
    if name not in BACKENDS:
        raise DeviceError(f"A device is auto or one of {', '.join(BACKENDS)}, got {name!r}.")
    module, _, cls = BACKENDS[name].partition(":")
    backend: type[Backend] = getattr(import_module(module), cls)
    return backend
