"""What a part is made from, and the key that follows from it.

A key is a hash of kind, code version, the fields of the config that differ from the defaults, data fingerprint, seed
and parents: a new field orphans no part, a changed default needs a new version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def canonical_hash(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value, whatever the order of its keys."""
    return hashlib.sha256(_CANONICAL.encode(value).encode()).hexdigest()


def key_of(spec: Mapping[str, Any]) -> str:
    """`<kind>-<16 hex digits>` of what `PartSpec.as_dict` gives, as an index of a part says it."""
    return f"{spec.get('kind')}-{canonical_hash(spec)[:16]}"


def changed_fields(config: BaseModel, exclude: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a config, JSON-able and by name, that differ from their defaults; `exclude` leaves some out."""
    return config.model_dump(mode="json", exclude_defaults=True, exclude=set(exclude))


@dataclass(frozen=True)
class PartSpec:
    """What a part is made from."""

    kind: str
    version: int
    """Version of the code that makes it: raise it when the same inputs would give another part."""
    config: Mapping[str, Any]
    """What differs from the defaults (`changed_fields`), and whatever else decides the part."""
    data: str
    """Fingerprint of the images it is made from."""
    seed: int
    parents: Mapping[str, str] = field(default_factory=dict)
    """Name -> key of the parts it is made with."""

    @cached_property
    def key(self) -> str:
        """`<kind>-<16 hex digits>`, also the part's folder name."""
        return key_of(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "version": self.version,
            "config": dict(self.config),
            "data": self.data,
            "seed": self.seed,
            "parents": dict(self.parents),
        }
