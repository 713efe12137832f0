"""A key holds only what differs from the defaults, so that a default that changes must come with a new version."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from adbench.config.settings import resolve
from adbench.contracts import registry
from adbench.storage.spec import PartSpec, changed_fields
from adbench.training.detector import TrainedDetector
from adbench.training.part import Part

KNOWN = Path(__file__).parent / "golden" / "defaults.json"
"""Part and version -> its defaults when that version was first trained, without fields that are in no key. A new
version adds an entry."""


def with_parents(part: Part) -> Iterator[Part]:
    yield part
    for parent in part.parents.values():
        yield from with_parents(parent)


def trained_parts() -> dict[tuple[str, type[BaseModel]], frozenset[str]]:
    """(Kind and version, class of the config) of all parts that our methods train -> fields that are in no key."""
    found = {}
    for entry in registry.names(registry.DETECTORS):
        cls = registry.load_detector(entry.name).cls if entry.distribution == "brain-adbench" else object
        if issubclass(cls, TrainedDetector):
            detector = cls(resolve(cls.Config, [cls.overrides], entry.name))
            detector.size = (128, 128)
            own = (part for root in detector.parts().values() for part in with_parents(root))
            found |= {(f"{part.kind} {part.version}", type(part.config)): frozenset(part.exclude) for part in own}
    return found


PARTS = trained_parts()


@pytest.mark.parametrize(("part", "model"), PARTS)
def test_a_default_changes_only_with_the_version_of_its_part(
    part: str, model: type[BaseModel], rewriting: bool
) -> None:
    present = model().model_dump(mode="json", exclude=set(PARTS[part, model]))
    known: dict[str, Any] = json.loads(KNOWN.read_text("utf-8"))
    if rewriting and part not in known:
        known[part] = present
        KNOWN.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    assert part in known, f"{KNOWN.name} has no {part}: `make golden` adds it"
    assert {field: present[field] for field in known[part]} == known[part]


class Before(BaseModel):
    steps: int = 100
    channels: tuple[int, ...] = (8, 16)


class After(Before):
    clipped: bool = False


def test_a_new_field_leaves_every_key_what_it_was() -> None:
    for values in ({}, {"steps": 5}, {"channels": (4,)}):
        old, new = (PartSpec("net", 1, changed_fields(m(**values)), "data", 0) for m in (Before, After))
        assert old.key == new.key
    used = PartSpec("net", 1, changed_fields(After(clipped=True)), "data", 0)
    assert used.key != PartSpec("net", 1, changed_fields(After()), "data", 0).key


class Outer(BaseModel):
    inner: Before = Before(steps=7)


def test_a_nested_config_with_defaults_of_its_own_is_never_taken_for_another() -> None:
    configs = [Outer(), Outer(inner=Before()), Outer(inner=Before(steps=5)), Outer(inner=Before(channels=(1,)))]
    keys = {PartSpec("net", 1, changed_fields(config), "data", 0).key for config in configs}
    assert len(keys) == len(configs)
