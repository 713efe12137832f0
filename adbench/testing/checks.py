"""What both contracts check alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from pydantic import BaseModel, ValidationError

from adbench.config.presets import PRESETS
from adbench.config.settings import resolve
from adbench.contracts.dataset import Dataset
from adbench.contracts.detector import Detector
from adbench.errors import DataError


def skip(reason: str) -> NoReturn:
    import pytest  # only users of the contracts need it

    pytest.skip(reason)


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Set the global random generators to `seed`, and put them back afterwards."""
    state = np.random.get_state()  # noqa: NPY002  # a plugin may use it, and must not depend on it
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def check_config(model: type[BaseModel], config: BaseModel) -> None:
    assert isinstance(config, model), f"config must be a {model.__name__}, got {type(config).__name__}"
    assert model.model_config.get("frozen"), f"{model.__name__} must be frozen, as its base class is"
    try:
        model.model_validate({**config.model_dump(), "no_such_setting": 1})
    except ValidationError:
        return
    raise AssertionError(f"{model.__name__} must refuse unknown keys, as its base class does, but took one")


def check_presets(plugin: type[Detector[Any]] | type[Dataset[Any]], below: Mapping[str, Any]) -> None:
    """Every preset must have a known name and make a valid config on top of the layer `below`."""
    for preset, values in plugin.presets.items():
        assert preset in PRESETS, f"preset {preset!r} is none of {PRESETS}"
        resolve(plugin.Config, [below, values], f"{plugin.__name__}, preset {preset}")


def check_filled(info: object, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(info, name)
        assert isinstance(value, str), f"info.{name} must be a text, got {value!r}"
        assert value.strip(), f"info.{name} must be filled, got {value!r}"


def data_error(verb: Callable[[], object]) -> str | None:
    """The message of the DataError that a call ends with, or None."""
    try:
        verb()
    except DataError as error:
        return str(error)
    return None


def listing(folder: Path | None) -> dict[Path, tuple[int, int]]:
    """Size and time of every file below a folder; nothing where there is none."""
    files = (path for path in folder.rglob("*") if path.is_file()) if folder else ()
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}
