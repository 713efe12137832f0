"""Every error that adbench raises for something a user can mend.

A message states the rule, the value received and the next step, in a sentence or two. The command line prints the
message alone; anything that is not an `AdbenchError` is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

ALIKE, SHORTENED = 0.6, 0.1
"""How alike, of 1, a name must be to be suggested, and how much less one counts whose beginning alone is alike."""


class AdbenchError(Exception):
    """Base of all errors with a message meant for the user."""


class UnknownPluginError(AdbenchError):
    """No detector or dataset is registered under the name."""


class PluginError(AdbenchError):
    """A plugin cannot be imported, is registered twice, or breaks its contract."""


class ConfigError(AdbenchError):
    """A configuration key is unknown, or its value has the wrong type or range."""


class DataError(AdbenchError):
    """Data are missing, unreadable, of the wrong kind, or leak between splits."""


class ScoreError(AdbenchError):
    """A detector returned a score map with the wrong shape, or with NaN or infinity."""


class ArtifactError(AdbenchError):
    """The artifact store cannot be read or written."""


class TrainingError(AdbenchError):
    """Training diverged."""


class DeviceError(AdbenchError):
    """The requested device is absent or too small."""


class TuningError(AdbenchError):
    """A study cannot be made, continued or used."""


class RecordError(AdbenchError):
    """A record or a page cannot be read, written or understood."""


class SuiteError(AdbenchError):
    """A suite is no such file, or cannot be run as it says."""


class ModelError(AdbenchError):
    """A model file is no such file, is damaged, or cannot be used here."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" where a known name is close to `name`, or its beginning is, else an empty string."""
    names = list(known)
    likeness = {each: max(_alike(name, each), _alike(name, each[: len(name)]) - SHORTENED) for each in names}
    best = max(names, key=likeness.__getitem__, default="")
    return f"; did you mean {best!r}?" if name and names and likeness[best] >= ALIKE else ""


def _alike(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name.lower(), other.lower()).ratio()


def first_fault(error: ValidationError) -> str:
    """Return `where: what` of the first thing that is not valid."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"


def counted(number: int, one: str) -> str:
    """Return "1 record", "2 records"."""
    return f"{number} {one}" if number == 1 else f"{number} {one}s"
