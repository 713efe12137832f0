"""One case to prepare, the groups in which its slices stand, and errors of writing what is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adbench.errors import DataError
from adbench_datasets.imaging.preprocessing import Content, Prepared

MASKS = ("lesions", "brains", "ignores")
PLACEMENT, CONTENTS = "plan", "kinds"
"""What files of prepared slices call the place of a scan's slices in it and what each shows; other names would leave
caches unread."""
GROUPS = (
    ("validation", Content.HEALTHY),
    ("train", Content.HEALTHY),
    ("test", Content.HEALTHY),
    ("test", Content.NEAR),
    ("test", Content.LESION),
    ("rest", Content.LESION),
    ("rest", Content.NEAR),
)
"""Order of the slices; "rest" is training and validation subjects."""


@dataclass(frozen=True)
class Job:
    """One case to prepare."""

    subject: str
    source: str
    """Path of the image relative to the data root."""
    role: str
    """train, validation or test."""
    case: Any
    key: str
    """Hash of all that decides what is made of it."""


Make = Callable[[Any], Prepared]
"""Reads and prepares one case. Raises DataError where it cannot be used. Runs in other processes."""


def key_of(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value. Not `artifacts.canonical_hash`: that would load torch into each worker."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def group_of(job: Job, content: Content) -> tuple[str, Content]:
    return (job.role if content == Content.HEALTHY or job.role == "test" else "rest"), content


@contextmanager
def writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"Prepared slices must be kept, but {place} cannot be written ({error.strerror or error}). Free space "
            "there, or name another folder with --cache."
        ) from error
