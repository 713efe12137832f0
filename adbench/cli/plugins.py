"""`adbench list` and `adbench info`: what is installed, and what it can be set to."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adbench.cli import console
from adbench.cli.arguments import Cache, Records
from adbench.config.options import default_cache
from adbench.contracts import registry
from adbench.errors import UnknownPluginError, suggestion

PROTOCOL = "protocol"


class What(StrEnum):
    """What to list."""

    methods = "methods"
    datasets = "datasets"


def list_plugins(
    what: Annotated[What | None, typer.Argument(help="Only these.")] = None,
    out: Records = Path("leaderboards"),
    cache: Cache = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the registered methods and datasets, which have records, and which are trained; imports none of them.

    The family of a method is what its card below the folder with the records says.
    """
    from adbench.results.made import counted_records, families, trained

    records = dict(zip(What, counted_records(out), strict=True))
    family = {What.methods: families(out), What.datasets: {}}
    trained_on = {What.methods: trained(out, cache or default_cache()), What.datasets: {}}
    groups = {What.methods: registry.DETECTORS, What.datasets: registry.DATASETS}
    rows = []
    for which, group in groups.items():
        if what not in (None, which):
            continue
        entries = registry.names(group)
        faults = {entry.name: fault for entry in entries if (fault := registry.problem(entry))}
        singular = which.value.removesuffix("s")
        made = {
            e.name: {
                "family": family[which].get(e.name),
                "records": records[which][e.name],
                "trained_on": trained_on[which].get(e.name, []),
            }
            for e in entries
        }
        rows += [{"kind": singular, **asdict(e), **made[e.name], "problem": faults.get(e.name)} for e in entries]
        if not as_json:
            console.show_entries(singular, entries, made, faults)
    if as_json:
        console.say_json(rows)


def info(name: Annotated[str, typer.Argument(help="A method, a dataset, or 'protocol'.")]) -> None:
    """Show what a method or dataset is, and its settings with their defaults, or those of the protocol."""
    methods = [entry.name for entry in registry.names(registry.DETECTORS)]
    datasets = [entry.name for entry in registry.names(registry.DATASETS)]
    if name not in {*methods, *datasets, PROTOCOL}:
        known = methods + datasets
        hint = suggestion(name, known) or "."
        raise UnknownPluginError(
            f"no method or dataset {name!r}{hint} Run 'adbench list' to see all {len(known)}.{registry.OWN_SETS}"
        )
    if name == PROTOCOL:
        from adbench.protocol.protocol import PROTOCOL_PRESETS, MeasurementProtocol

        console.show_fields(MeasurementProtocol, {}, f"{PROTOCOL}.", PROTOCOL_PRESETS)
    if name in methods:
        console.show_info("method", registry.load_detector(name))
    if name in datasets:
        console.show_info("dataset", registry.load_dataset(name))
