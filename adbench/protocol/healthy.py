"""The healthy images that settings were tuned on, and those of a run that uses them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from adbench.contracts.dataset import Split
from adbench.errors import TuningError


def fingerprint(train: Split, validation: Split) -> str:
    """One hash of the pixels and subjects that tuning sees, 16 hex digits."""
    parts = [train.image_fingerprint, validation.fingerprint]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def check_same_images(tuning: Mapping[str, Any], train: Split, validation: Split) -> None:
    """Raise TuningError where a run trains on other healthy images than those that its settings were tuned on."""
    now = fingerprint(train, validation)
    if tuning["fingerprint"] != now:
        raise TuningError(
            f"Tuned settings are for the images they were tuned on, but study {tuning['study']!r} had the healthy "
            f"images {tuning['fingerprint']}, and this run {now}. Give the data settings of the study, or tune again."
        )
