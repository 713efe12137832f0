"""What has been made so far, seen from the names of files and little else: quick enough for a list."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

CARDS = Path("methods")
"""Folder of the cards of methods, below that of results."""


def counted_records(out: Path) -> tuple[Counter[str], Counter[str]]:
    """Number of records by method and by dataset, as their paths say."""
    places = {(*path.parent.parts[-2:], path.name.partition(".")[0]) for path in _records(out)}
    return Counter(method for _, method, _ in places), Counter(dataset for dataset, _, _ in places)


def families(out: Path) -> dict[str, str]:
    """Method -> its family, of those with a card below `out` that names one."""
    cards = {path.stem: _json(path).get("family") for path in (out / CARDS).glob("*.json")}
    return {method: family for method, family in cards.items() if isinstance(family, str)}


def trained(out: Path, cache: Path) -> dict[str, list[str]]:
    """Method -> datasets that it was trained on, so that a cache has its parts now.

    Known from records, whose parts must all be there, and from parts that say what they were made for.
    """
    datasets_of: defaultdict[str, set[str]] = defaultdict(set)
    indices = {path.parent.name: path for path in (cache / "artifacts").glob("*/part.json")}
    for path in _records(out) if indices else ():
        record = _json(path)
        with suppress(KeyError, TypeError, AttributeError):  # of an earlier schema
            keys = set(record["detector"]["artifacts"].values())
            if keys and keys <= indices.keys():
                of = record["dataset"]
                datasets_of[record["detector"]["name"]].add((of.get("train_on") or of)["name"])
    for key, path in indices.items():
        if not key.startswith("scores-"):
            method, on, dataset = _made_for(path).partition(" on ")
            if on:
                datasets_of[method].add(dataset)
    return {method: sorted(datasets) for method, datasets in datasets_of.items()}


def _made_for(index: Path) -> str:
    with suppress(KeyError, TypeError):  # older, or damaged
        return str(_json(index)["meta"]["made_for"])
    return ""


def _records(out: Path) -> list[Path]:
    return [path for path in (out / "records").glob("*/*/*-seed*.json") if ".timing-" not in path.name]


def _json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        content = json.loads(path.read_bytes())
        if isinstance(content, dict):
            return content
    return {}
