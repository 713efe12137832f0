"""What a dataset's plugin says of it, beside its records: `records/<dataset>/card.json`.

The pages show it: published values of others, and which sets are real. A run writes it anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from adbench.contracts.dataset import DatasetInfo, Reported
from adbench.results.record import SCHEMA_VERSION, Frozen, read_model, write_changed

NAME = "card.json"


class DatasetCard(Frozen):
    """The part of a `DatasetInfo` that the pages show."""

    schema_version: Literal[2] = SCHEMA_VERSION
    summary: str
    modality: str
    licence: str
    synthetic: str
    reported: list[Reported]


def card_path(dataset: str) -> Path:
    """Where it belongs, below the output folder."""
    return Path("records") / dataset / NAME


def write_card(info: DatasetInfo, path: Path) -> None:
    """Write a dataset's card, where it is not there yet or says something else."""
    card = DatasetCard(
        summary=info.summary,
        modality=info.modality,
        licence=info.licence,
        synthetic=info.synthetic,
        reported=list(info.reported),
    )
    write_changed(path, card.model_dump_json(indent=1) + "\n")


def read_card(path: Path) -> DatasetCard:
    """Read one. Raises RecordError naming the file and what is wrong with it."""
    return read_model(DatasetCard, path, "card of a dataset")


def read_cards(out: Path) -> dict[str, DatasetCard]:
    """Dataset -> its card, of those below `out` that have one. Raises as `read_card`."""
    return {path.parent.name: read_card(path) for path in sorted((out / "records").glob(f"*/{NAME}"))}
