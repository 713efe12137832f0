"""`adbench model`: trained models as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adbench.cli import console
from adbench.cli.arguments import (
    Cache,
    DataRoot,
    Depot,
    Device,
    PrecisionChoice,
    Preset,
    Records,
    Seed,
    Settings,
    SeveralCommand,
)
from adbench.config.options import RunOptions, default_cache
from adbench.config.presets import check_preset
from adbench.contracts import registry

if TYPE_CHECKING:
    from adbench.prediction.card import ModelCard

app = typer.Typer(help="Trained models as files, to be used on new scans.", no_args_is_help=True)


@app.command(cls=SeveralCommand)
def export(
    method: Annotated[str, typer.Option(help="The method.", show_default=False)],
    dataset: Annotated[str, typer.Option(help="The dataset that it is trained on.", show_default=False)],
    path: Annotated[Path, typer.Option("-o", help="The file to write.", show_default=False)],
    data_root: DataRoot = None,
    preset: Preset = "small",
    seed: Seed = 0,
    device: Device = "auto",
    precision: PrecisionChoice = "auto",
    settings: Settings = None,
    out: Records = Path("leaderboards"),
    cache: Cache = None,
    parts: Depot = None,
) -> None:
    """Write a trained method as one file; what is not trained yet is trained. Needs healthy images alone."""
    registry.find(registry.DETECTORS, method)
    registry.find(registry.DATASETS, dataset)
    check_preset(preset)
    options = RunOptions(
        preset=preset,
        seed=seed,
        device=device,
        precision=precision,
        settings=tuple(settings or ()),
        out=out,
        data_root=data_root,
        cache=cache or default_cache(),
        parts=parts,
    )
    from adbench.prediction.export import export as write

    with console.working() as reporter:
        card = write(method, dataset, options, reporter, path)
    console.say(f"{path}: {card.method} trained on {card.trained_on.name}, {path.stat().st_size / 2**20:.1f} MiB")


@app.command("list")
def list_models(out: Records = Path("leaderboards"), cache: Cache = None) -> None:
    """Show the trained cells that can be exported, whether their parts are in the cache, and parts of no record."""
    from adbench.results.record import read_records
    from adbench.storage.inventory import Category, entries

    there = {entry.name: entry for entry in entries(cache or default_cache()) if entry.category == Category.part}
    rows: list[tuple[str, ...]] = []
    named: set[str] = set()
    for record in read_records(out):
        if record.status != "ok":
            continue
        keys = record.detector.artifacts.values()
        named.update(keys)
        here = sum(key in there for key in keys)
        parts = "none needed" if not keys else "in the cache" if here == len(keys) else f"{here} of {len(keys)} here"
        trained_on = (record.dataset.train_on or record.dataset).name
        rows.append((record.detector.name, trained_on, record.detector.preset, str(record.seed), parts))
    for key, entry in there.items():
        if key not in named:
            method, _, trained_on = entry.made_for.partition(" on ")
            rows.append((method or "unknown", trained_on or "unknown", "", "", f"{key}, of no record"))
    if not rows:
        console.say(
            f"No records of trained cells below {out}, and no parts in the cache: name the folders that have them by "
            "--out and --cache. Without either, 'adbench model export' trains."
        )
        return
    console.show_rows(("method", "trained on", "preset", "seed", "parts"), dict.fromkeys(rows), 5)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="File of 'adbench model export'.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole card as JSON.")] = False,
) -> None:
    """Show what a model file is; all of it is checked."""
    from adbench.prediction.model_file import read_model

    model = read_model(file)
    if as_json:
        console.say_json({**model.card.model_dump(mode="json"), "sha256": model.sha256})
    else:
        console.show_facts([*_rows(model.card), ("SHA-256", model.sha256)], str(file))


def _rows(card: ModelCard) -> list[tuple[str, str]]:
    from adbench.prediction.card import NOTICE

    of = card.trained_on
    rows = [
        ("method", f"{card.method}, preset {card.preset}, seed {card.seed} ({card.distribution})"),
        ("trained on", f"{of.name}: {of.images} images of {of.subjects} subjects, fingerprint {of.fingerprint}"),
        ("modality", of.modality),
        ("licence of the data", of.licence),
        ("parameters", f"{card.parameters:,}"),
        ("parts", ", ".join(card.parts.values()) or "none"),
        *((f"step {i}", text) for i, text in enumerate(card.preparation.steps, start=1)),
        ("region", str(card.protocol["region"])),
    ]
    for point in card.points:
        missing = f" (not supported: {point.missing})" if point.missing else ""
        rows.append((f"--at {point.rate:g}", f"scores above {point.threshold:.6g}{missing}"))
    if card.calibration:
        rows.append(("points from", f"{card.calibration.scans} healthy scans by 'adbench calibrate'"))
    rows += [(key, "not defined" if value is None else f"{value:.4g}") for key, value in card.metrics.items()]
    return [*rows, ("versions", ", ".join(f"{name} {v}" for name, v in card.packages.items())), ("", NOTICE)]
