"""adbench: a benchmark of unsupervised brain anomaly detectors, by quality, uncertainty and speed.

`import adbench` is cheap: the version and the harness are looked up when they are first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from adbench.config.options import AskedPrecision
    from adbench.prediction.model import Model
    from adbench.results.record import Record

    __version__: str

__all__ = ["__version__", "load_model", "run"]


def __getattr__(name: str) -> Any:
    """Look up `__version__` when it is asked for: reading the metadata costs more than all else here."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("brain-adbench")


class _LogReporter:
    """Sends what the command line would show to the log."""

    def __init__(self) -> None:
        import logging

        self._log = logging.getLogger(__name__)

    def message(self, text: str) -> None:
        self._log.info("%s", text)

    def progress(self, what: str, done: int, total: int) -> None:
        self._log.debug("%s: %d of %d", what, done, total)


def _setting(key: str, value: Any) -> str:
    """Return `key=value` as `--set` takes it; anything but a string is written as JSON."""
    import json

    return f"{key}={value if isinstance(value, str) else json.dumps(value)}"


@overload
def run(
    method: str,
    dataset: str = ...,
    *,
    train_on: str | None = ...,
    preset: str = ...,
    seed: int = ...,
    device: str = ...,
    precision: AskedPrecision = ...,
    settings: Mapping[str, Any] | None = ...,
    out: str | Path = ...,
    cache: str | Path | None = ...,
    data_root: str | Path | None = ...,
    force: bool = ...,
    parts: str | None = ...,
) -> Record: ...


@overload
def run(
    method: str,
    dataset: list[str] | tuple[str, ...],
    *,
    train_on: str | None = ...,
    preset: str = ...,
    seed: int = ...,
    device: str = ...,
    precision: AskedPrecision = ...,
    settings: Mapping[str, Any] | None = ...,
    out: str | Path = ...,
    cache: str | Path | None = ...,
    data_root: str | Path | None = ...,
    force: bool = ...,
    parts: str | None = ...,
) -> list[Record]: ...


def run(
    method: str,
    dataset: str | list[str] | tuple[str, ...] = "phantom",
    *,
    train_on: str | None = None,
    preset: str = "small",
    seed: int = 0,
    device: str = "auto",
    precision: AskedPrecision = "auto",
    settings: Mapping[str, Any] | None = None,
    out: str | Path = "leaderboards",
    cache: str | Path | None = None,
    data_root: str | Path | None = None,
    force: bool = False,
    parts: str | None = None,
) -> Record | list[Record]:
    """Train and measure one method on one dataset, write its record below `out` and return it.

    With a list of datasets a list of records comes back, in the same order. `train_on` names the dataset whose
    healthy images are trained on; by default each dataset's own. `settings` are what `--set` takes: fields of the
    detector's config, `data.<field>` and `protocol.<field>`. A run that fails gives a record with status "failed" and
    the reason. `adbench leaderboard` makes the pages anew. `precision` is auto, float32 or bf16.
    Of several devices, "cuda:0,cuda:1", the first trains and all score, in processes that import the calling script.
    `parts` is a URL that is asked for trained parts before they are trained.

    Raises:
        AdbenchError: a name, preset, setting, device, precision or data root is wrong, or a folder cannot be written.
    """
    from adbench.config.options import RunOptions, default_cache
    from adbench.protocol import harness

    options = RunOptions(
        preset=preset,
        seed=seed,
        device=device,
        precision=precision,
        settings=tuple(_setting(key, value) for key, value in (settings or {}).items()),
        out=Path(out),
        force=force,
        train_on=train_on,
        cache=Path(cache) if cache is not None else default_cache(),
        data_root=Path(data_root) if data_root is not None else None,
        parts=parts,
    )
    records = harness.run([method], dataset, options, _LogReporter())
    return records[0] if isinstance(dataset, str) else records


def load_model(path: str | Path, *, device: str = "auto", precision: AskedPrecision = "auto") -> Model:
    """Load a file of `adbench model export`; `load_model(path).predict(image_or_path)` scores a scan.

    An image is one of nibabel. Raises AdbenchError where the file is damaged, or of other code than this.
    """
    from adbench.prediction.model import load_model as load

    return load(path, device, precision)
