"""`adbench compare`: two methods, two runs of one, or two folders of runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adbench.cli import console, shown
from adbench.cli.arguments import Records

if TYPE_CHECKING:
    from adbench.results.comparison import Comparison


def compare(
    a: Annotated[str, typer.Argument(help="A method, the file of a record, or a folder.", show_default=False)],
    b: Annotated[str | None, typer.Argument(help="Another; by default the same.", show_default=False)] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Datasets.  [default: all that both have]")] = None,
    out: Records = Path("leaderboards"),
    against: Annotated[
        Path | None, typer.Option(help="Folder with the records of the second.  [default: --out]", show_default=False)
    ] = None,
    fail_if: Annotated[
        Literal["worse"] | None, typer.Option(help="Exit 1 where the first is worse by more than chance.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for pictures of the slices that both keep.", show_default=False)
    ] = None,
    settings: Annotated[bool, typer.Option("--settings", help="Show all settings that differ.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparisons as a JSON list.")] = False,
) -> None:
    """Paired differences of two methods subject by subject, with interval and p; seeds are averaged.

    Of two folders each method is compared with itself.
    """
    from adbench.results import comparison, sides

    other = b or (str(against) if against and sides.is_folder(a) else a)
    there = against or out
    compared = sides.pairs(a, other, out, there, dataset or [])
    comparisons = comparison.compare(compared.pairs)
    drawn = [_draw(each, pictures) if pictures else None for each in comparisons]
    if as_json:
        console.say_json([_as_json(*each) for each in zip(comparisons, drawn, strict=True)])
    else:
        if compared.folders and comparisons[1:]:
            shown.show_comparisons(comparisons)
        else:
            for each, picture in zip(comparisons, drawn, strict=True):
                shown.show_comparison(each, picture, settings)
        if comparisons[0].pair.of_one:
            console.say(f"a: {_side_name(a, out)}; b: {_side_name(other, there)}")
    for side, alone in ((a, compared.only_a), (other, compared.only_b)):
        if compared.folders and alone:
            console.complain(f"Only {side} has {', '.join(alone)}.")
    if fail_if and any(each.worse for each in comparisons):
        console.complain(f"{a} is worse than what it was compared with, by more than chance")
        raise typer.Exit(console.FAILED)


def _draw(comparison: Comparison, folder: Path) -> Path | None:
    """Draw the slices that both sides keep; None where there are none."""
    from adbench.results.record import write_bytes
    from adbench.results.side_by_side import side_by_side

    values = {row.subject: (row.a, row.b) for row in comparison.subjects.itertuples(index=False)}
    figure = side_by_side(*comparison.kept, comparison.pair.names, values)
    if figure is None:
        return None
    parts = [comparison.pair.dataset, *comparison.pair.methods]
    path = folder / (re.sub(r"[^\w.=]+", "-", "-".join(dict.fromkeys(parts))) + ".png")
    write_bytes(path, figure.png())
    return path


def _side_name(name: str, out: Path) -> str:
    from adbench.results.sides import is_folder

    return name if name.endswith(".json") or is_folder(name) else f"{name} in {out}"


def _as_json(comparison: Comparison, picture: Path | None) -> dict[str, object]:
    return {
        "dataset": comparison.pair.dataset,
        "methods": comparison.pair.methods,
        "differences": [
            {
                "metric": each.metric,
                "subjects": each.subjects,
                "a": each.a,
                "b": each.b,
                **{f"difference_{key}": value for key, value in each.difference.model_dump().items()},
                "p": each.p,
                "worse": each.worse,
            }
            for each in comparison.differences
        ],
        "auprc": comparison.subjects.to_dict("records"),
        "pictures": [str(each.path) if each else None for each in comparison.kept],
        "side_by_side": str(picture) if picture else None,
        "settings": comparison.settings,
    }
