"""What a user chooses beside methods and datasets, and where a run says what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import platformdirs


def default_cache() -> Path:
    """The user's cache folder for trained parts and prepared data."""
    return Path(platformdirs.user_cache_dir("adbench"))


Precision = Literal["float32", "bf16"]
"""In which networks compute; bf16 is PyTorch's autocast to bfloat16, whose weights stay float32."""
AskedPrecision = Literal["auto", "float32", "bf16"]
"""What a user may ask for; `auto` takes what was measured to be faster on the device."""

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


class Reporter(Protocol):
    """Where a run says what it does; nothing here is a result."""

    def message(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...


class Silent:
    """A reporter that says nothing."""

    def message(self, text: str) -> None: ...

    def progress(self, what: str, done: int, total: int) -> None: ...
