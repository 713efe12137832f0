"""`adbench compare`: two methods, or two runs of one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adbench.cli import console, shown
from adbench.cli.arguments import Records

if TYPE_CHECKING:
    from adbench.results.comparison import Comparison
    from adbench.results.record import Record

    Side = list[tuple[Path, Record]]


def compare(
    a: Annotated[str, typer.Argument(help="A method, or the file of a record.", show_default=False)],
    b: Annotated[str | None, typer.Argument(help="Another; by default the same.", show_default=False)] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Datasets.  [default: all that both have]")] = None,
    out: Records = Path("leaderboards"),
    against: Annotated[
        Path | None, typer.Option(help="Folder with the records of the second.  [default: --out]", show_default=False)
    ] = None,
    fail_if: Annotated[
        Literal["worse"] | None, typer.Option(help="Exit 1 where the first is worse by more than chance.")
    ] = None,
    settings: Annotated[
        bool, typer.Option("--settings", help="Show the settings that differ, as always of two runs of one method.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparisons as a JSON list.")] = False,
) -> None:
    """Paired differences of two methods subject by subject, with interval and p; seeds are averaged."""
    pairs = _pairs(a, b or a, out, against or out, dataset or [])
    from adbench.results.comparison import compare as compared

    comparisons = [(label, compared(ours, theirs)) for label, ours, theirs in pairs]
    methods = [side[0][1].detector.name for side in pairs[0][1:]]
    of_one = methods[0] == methods[1]
    if as_json:
        console.say_json([_as_json(label, comparison) for label, comparison in comparisons])
    else:
        names = ("a", "b") if of_one else (methods[0], methods[1])
        for label, comparison in comparisons:
            shown.show_comparison(label, comparison, names, settings or of_one)
        if of_one:
            console.say(f"a: {_side_name(a, out)}; b: {_side_name(b or a, against or out)}")
    if fail_if and any(each.worse for _, comparison in comparisons for each in comparison.differences):
        console.complain(f"{a} is worse than what it was compared with, by more than chance")
        raise typer.Exit(console.FAILED)


def _pairs(a: str, b: str, out: Path, against: Path, datasets: Sequence[str]) -> list[tuple[str, Side, Side]]:
    """Label and both sides of each comparison. Raises RecordError where there is none, or nothing to tell apart."""
    from adbench.errors import RecordError

    ours, theirs = _sides(a, out), _sides(b, against)
    keys = [key for key in ours if key in theirs and (not datasets or key[0] in datasets)]
    if a == b and out.resolve() == against.resolve():
        raise RecordError(f"A comparison needs two sides, but got {a} alone: name another method, or --against DIR.")
    if not keys:
        raise RecordError(
            f"A comparison needs records of both on the same images by the same rules, but {a} and {b} have none in "
            f"{' and '.join(sorted({str(out), str(against)}))}. Run 'adbench table' to see what there is."
        )
    return [(_label(key, keys), ours[key], theirs[key]) for key in keys]


def _label(key: tuple[str, ...], keys: Sequence[tuple[str, ...]]) -> str:
    """The dataset, and by which of several rules on it."""
    from adbench.config.nested import flat
    from adbench.results import formats

    rules, *others = (flat(json.loads(each[-1])) for each in (key, *(each for each in keys if each[0] == key[0])))
    differing = {name: value for name, value in rules.items() if any(each.get(name) != value for each in others)}
    return ", ".join(filter(None, [key[0], formats.settings(differing) if differing else ""]))


def _sides(name: str, out: Path) -> dict[tuple[str, ...], Side]:
    """Dataset, images and rules -> the records of a method, of all its seeds; of a file, that record alone."""
    from adbench.errors import RecordError
    from adbench.results.columns import canonical
    from adbench.results.record import read_record, read_records

    if name.endswith(".json"):
        record = read_record(Path(name))
        chosen, out = [record], Path(name).resolve().parents[3]
    else:
        chosen = [record for record in read_records(out) if record.detector.name == name and record.status == "ok"]
    sides: dict[tuple[str, ...], Side] = {}
    for record in chosen:
        of = record.dataset
        train_on = of.train_on.fingerprint if of.train_on else ""
        key: tuple[str, ...] = (of.name, of.fingerprint, of.region, train_on, canonical(record.protocol))
        sides.setdefault(key, []).append((out, record))
    for (dataset, *_), side in sides.items():
        if len({record.config_hash for _, record in side}) > 1:
            files = ", ".join(str(folder / record.path) for folder, record in side)
            raise RecordError(f"{name} has several settings on {dataset}: name one of {files} instead.")
    return sides


def _side_name(name: str, out: Path) -> str:
    return name if name.endswith(".json") else f"{name} in {out}"


def _as_json(label: str, comparison: Comparison) -> dict[str, object]:
    return {
        "dataset": label,
        "differences": [
            {
                "metric": each.metric,
                "subjects": each.subjects,
                "a": each.a,
                "b": each.b,
                **{f"difference_{key}": value for key, value in each.difference.model_dump().items()},
                "p": each.p,
            }
            for each in comparison.differences
        ],
        "settings": comparison.settings,
    }
