"""What a method's plugin says of it, beside the records: `methods/<method>.json`.

Pages group and mark methods by it, also where the plugin is not installed; a run writes it anew. A method without a
card is of an unknown family.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from adbench.contracts.family import Family, Knowledge
from adbench.results.made import CARDS
from adbench.results.record import SCHEMA_VERSION, Frozen, read_model, write_changed

MARKS: dict[str, str] = {"synthetic anomalies": "*", "outside weights": "†", "outside data": "‡"}
"""What stands after the name of a method that knows more than healthy images."""
_SAID = {
    "synthetic anomalies": "learn from synthetic anomalies too",
    "outside weights": "use weights that others trained",
    "outside data": "learn from other data too",
}


class MethodCard(Frozen):
    """The part of a detector's class that the pages show."""

    schema_version: Literal[2] = SCHEMA_VERSION
    summary: str
    source: str
    family: Family | None
    knowledge: Knowledge


Cards = Mapping[str, MethodCard]
"""By method."""


def method_card_path(method: str) -> Path:
    """Where it belongs, below the output folder."""
    return CARDS / f"{method}.json"


def write_method_card(card: MethodCard, path: Path) -> None:
    """Write a card where it is not there yet or says something else."""
    write_changed(path, card.model_dump_json(indent=1) + "\n")


def read_method_card(path: Path) -> MethodCard:
    """Read one. Raises RecordError naming the file and what is wrong with it."""
    return read_model(MethodCard, path, "card of a method")


def read_method_cards(out: Path) -> dict[str, MethodCard]:
    """Method -> its card, of those below `out` that have one. Raises as `read_method_card`."""
    return {path.stem: read_method_card(path) for path in sorted((out / CARDS).glob("*.json"))}


def marked(method: str, knowledge: str) -> str:
    """`` `fpi`* ``: a method's name, with the mark of what it knows beyond healthy images."""
    return f"`{method}`{MARKS.get(knowledge, '')}"


def marks_said(knowledge: Iterable[str]) -> list[str]:
    """What the marks of a table mean, a sentence each."""
    known = set(knowledge)
    return [f"Methods marked {mark} {_SAID[key]}." for key, mark in MARKS.items() if key in known]
