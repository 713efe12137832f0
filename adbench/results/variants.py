"""Which rows may share a table: trained on and measured the same pixels by the same rules, on one type of device."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from adbench.config.nested import flat
from adbench.contracts.dataset import SEEN_IN_IMAGES
from adbench.results import formats

COMPARABLE = [
    *("fingerprint", "dataset_version", "dataset_config", "region", "protocol", "tuning", "scored_on"),
    *("train_on", "train_on_version", "train_on_config", "train_on_fingerprint"),
]
"""Rows with the same values in these may share a table."""


@dataclass(frozen=True)
class Variant:
    """Successful runs on one dataset that may share a table."""

    rows: pd.DataFrame
    """One row for each record and each device that it was timed on."""
    differs: str = ""
    """In what it differs from the first variant of its dataset, in Markdown; empty for the first."""

    @property
    def runs(self) -> pd.DataFrame:
        """One row a record, whatever devices it was timed on."""
        return self.rows.drop_duplicates("record")

    @property
    def facts(self) -> Mapping[str, Any]:
        """The row from which all that they share can be read."""
        return {str(key): value for key, value in self.rows.iloc[0].items()}


def variants(rows: pd.DataFrame) -> list[Variant]:
    """Of the rows of one dataset: those of most records first, untuned before tuned."""
    done = rows[rows["status"] == "ok"]
    keys = done[COMPARABLE].assign(**{key: done[key].map(_decisive) for key in ("dataset_config", "train_on_config")})
    groups = [group for _, group in done.groupby([keys[key] for key in COMPARABLE])]
    groups.sort(key=lambda group: (-group["record"].nunique(), group["tuning"].iloc[0] != ""))
    parted = [Variant(group) for group in groups]
    return [parted[0], *(Variant(v.rows, differences(parted[0].facts, v.facts)) for v in parted[1:])] if parted else []


def _decisive(config: str) -> str:
    """Settings (JSON, or empty) without those whose effect the fingerprint tells."""
    fields = json.loads(config) if config else {}
    return json.dumps({key: value for key, value in fields.items() if key not in SEEN_IN_IMAGES}, sort_keys=True)


def differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """`trained on `healthy`, postprocess=none`: what another variant does not share with the first."""
    return ", ".join(_differences(first, other)) or f"other images (`{other['fingerprint']}`)"


def _differences(first: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    elsewhere = ("train_on", "train_on_version", "train_on_fingerprint")
    configs = [_decisive(row["train_on_config"]) for row in (first, other)]
    if any(first[key] != other[key] for key in elsewhere) or configs[0] != configs[1]:
        yield trained_on(other)
    if image_size(first) != image_size(other):
        yield f"{image_size(other)} pixels"
    if first["region"] != other["region"]:
        yield f"region {other['region']}"
    if first["tuning"] != other["tuning"]:
        yield other["tuning"] or "untuned"
    for key in ("dataset_config", "protocol"):
        ours, theirs = (flat(json.loads(_decisive(row[key]))) for row in (first, other))
        changed = {k: theirs.get(k) for k in sorted(ours.keys() | theirs.keys()) if ours.get(k) != theirs.get(k)}
        changed.pop("region", None)
        if changed:
            yield formats.settings(changed)
    if first["dataset_version"] != other["dataset_version"]:
        yield f"version {other['dataset_version']} of the dataset's code"
    if first["scored_on"] != other["scored_on"]:
        yield f"scored on {other['scored_on']}"


def trained_on(row: Mapping[str, Any]) -> str:
    """Where the healthy images came from."""
    return f"trained on `{row['train_on']}`" if row["train_on"] else "trained on its own healthy images"


def image_size(row: Mapping[str, Any]) -> str:
    return f"{row['image_height']} x {row['image_width']}"
