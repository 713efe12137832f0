"""What a user chooses beside methods and datasets, and where a run says what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import platformdirs

from adbench.errors import ConfigError


def default_cache() -> Path:
    """The user's cache folder for trained parts and prepared data."""
    return Path(platformdirs.user_cache_dir("adbench"))


Precision = Literal["float32", "bf16"]
"""In which networks compute; bf16 is PyTorch's autocast to bfloat16, whose weights stay float32."""
AskedPrecision = Literal["auto", "float32", "bf16"]
"""What a user may ask for; `auto` takes what was measured to be faster on the device."""

MAX_SEED = 2**32 - 1
"""Largest seed that all libraries take."""

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total) while a part trains or maps are computed."""


@dataclass(frozen=True)
class RunOptions:
    """What a user chooses beside methods and datasets."""

    preset: str = "small"
    seed: int = 0
    device: str = "auto"
    settings: Sequence[str] = ()
    out: Path = Path("leaderboards")
    cache: Path = field(default_factory=default_cache)
    data_root: Path | None = None
    force: bool = False
    train_on: str | None = None
    """Dataset whose healthy images all methods are trained on; None: each dataset's own."""
    tuning: Mapping[str, Any] | None = None
    """Where tuned settings come from, for the record; None: they were not tuned."""
    precision: AskedPrecision = "auto"
    parts: str | None = None
    """URL of a depot that is asked for a part before it is made."""
    verify_data: bool = False
    """Read all files of the data again, whatever is remembered of them."""

    def __post_init__(self) -> None:
        """Raise ConfigError where the seed is one that some library would not take."""
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"A seed is a whole number from 0 to {MAX_SEED}, got {self.seed}. Choose another.")


class Reporter(Protocol):
    """Where a run says what it does; nothing here is a result."""

    def message(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...


class Silent:
    """A reporter that says nothing."""

    def message(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...
