"""`adbench list` and `adbench info`: what is installed, and what it can be set to."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from adbench.cli import console
from adbench.contracts import registry
from adbench.errors import UnknownPluginError, suggestion

PROTOCOL = "protocol"


class What(StrEnum):
    """What to list."""

    methods = "methods"
    datasets = "datasets"


def list_plugins(
    what: Annotated[What | None, typer.Argument(help="Only these.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the registered methods and datasets, without importing them."""
    groups = {What.methods: registry.DETECTORS, What.datasets: registry.DATASETS}
    rows = []
    for kind, group in groups.items():
        if what not in (None, kind):
            continue
        entries = registry.names(group)
        faults = {entry.name: fault for entry in entries if (fault := registry.problem(entry))}
        singular = kind.value.removesuffix("s")
        rows += [{"kind": singular, **asdict(e), "problem": faults.get(e.name)} for e in entries]
        if not as_json:
            console.show_entries(singular, entries, faults)
    if as_json:
        console.say_json(rows)


def info(name: Annotated[str, typer.Argument(help="A method, a dataset, or 'protocol'.")]) -> None:
    """Show what a method or dataset is, and its settings with their defaults, or those of the protocol."""
    methods = [entry.name for entry in registry.names(registry.DETECTORS)]
    datasets = [entry.name for entry in registry.names(registry.DATASETS)]
    if name not in {*methods, *datasets, PROTOCOL}:
        known = methods + datasets
        hint = suggestion(name, known) or "."
        raise UnknownPluginError(f"no method or dataset {name!r}{hint} Run 'adbench list' to see all {len(known)}.")
    if name == PROTOCOL:
        from adbench.protocol.protocol import PROTOCOL_PRESETS, MeasurementProtocol

        console.show_fields(MeasurementProtocol, {}, f"{PROTOCOL}.", PROTOCOL_PRESETS)
    if name in methods:
        console.show_info("method", registry.load_detector(name))
    if name in datasets:
        console.show_info("dataset", registry.load_dataset(name))
