"""The index page: methods by datasets, and families by datasets, of the first variant of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import pandas as pd

from adbench.errors import counted
from adbench.metrics.catalogue import METRICS
from adbench.metrics.student import FEWEST
from adbench.results import formats
from adbench.results.method_card import marked, marks_said
from adbench.results.pages.families import families
from adbench.results.summary import FEW, QUALITY, Summary, subjects
from adbench.results.table import Table
from adbench.results.variants import Variant, trained_on

SHOWN = QUALITY[0]


def matrix(
    results: pd.DataFrame,
    summaries: Mapping[str, Sequence[tuple[Variant, Summary]]],
    synthetic: Mapping[str, str],
    rank_by: str,
) -> Iterator[str]:
    """The table of all methods, a line for each dataset, and the families; real datasets before synthetic ones.

    summaries: dataset -> its variants, as they are shown; synthetic: dataset -> what of it a program made.
    """
    if results.empty:
        yield "No records yet."
        return
    order = sorted(summaries, key=lambda name: (bool(synthetic.get(name)), name))
    first = [(name, variant, shown) for name in order for variant, shown in _first(summaries[name])]
    if first:
        columns = {_heading(name, variant): _values(shown, rank_by) for name, variant, shown in first}
        few = {_heading(name, variant) for name, variant, shown in first if shown.few}
        yield (
            f"{METRICS[SHOWN].title} of each method's best row in the first table of the set's page; bold: the best of "
            f"a column of at least {FEW} subjects. Methods that were measured on most sets come first, then those of "
            f"the better mean place by {METRICS[rank_by].title}. n: test subjects; fewer than "
            f"{FEWEST} with lesions have no intervals, and a page without ranks says why. The pages have the rest."
        )
        cards = results.drop_duplicates("method").set_index("method")[["family", "knowledge"]]
        yield _table(columns, few, rank_by, cards).markdown()
        yield " ".join(marks_said(results["knowledge"]))
    of_each = {str(name): rows for name, rows in results.groupby("dataset")}
    yield "\n".join(_line(name, of_each[name], synthetic.get(name, "")) for name in order)
    of_sets = {name: shown for name, _, shown in reversed(first)}
    rows = {name: of_sets[name].rows for name in order if name in of_sets}
    yield from families(rows, [name for name, shown in of_sets.items() if shown.few], rank_by)


def _table(columns: Mapping[str, pd.DataFrame], few: Collection[str], rank_by: str, cards: pd.DataFrame) -> Table:
    """Of columns with values by method; those of few subjects have no best. cards: family and knowledge by method."""
    wide = pd.DataFrame({heading: values[SHOWN] for heading, values in columns.items()})
    better = METRICS[rank_by].higher_is_better
    places = {heading: values[rank_by].rank(ascending=not better, pct=True) for heading, values in columns.items()}
    place = pd.DataFrame(places).rename_axis("method")
    order = pd.DataFrame({"measured": -place.count(axis=1), "place": place.mean(axis=1)}).reset_index()
    wide = wide.loc[order.sort_values(["measured", "place", "method"])["method"]]
    best = {(i, j + 2) for j, heading in enumerate(wide) if heading not in few for i in _largest(wide[heading])}
    known = cards.loc[wide.index]
    names = [marked(method, knowledge) for method, knowledge in known["knowledge"].items()]
    families = [family or formats.NONE for family in known["family"]]
    values = [list(map(formats.number, row)) for row in wide.itertuples(index=False, name=None)]
    texts = [[name, family, *row] for name, family, row in zip(names, families, values, strict=True)]
    return Table(["method", "family", *wide], texts, 2, best)


def _first(each: Sequence[tuple[Variant, Summary]]) -> list[tuple[Variant, Summary]]:
    """The first untuned variant of each set trained on: others differ in rules alone, and are on the page."""
    first: dict[str, tuple[Variant, Summary]] = {}
    for variant, shown in each:
        if not variant.facts["tuning"]:
            first.setdefault(variant.facts["train_on"], (variant, shown))
    return list(first.values())


def _heading(name: str, variant: Variant) -> str:
    elsewhere = f", {trained_on(variant.facts)}" if variant.facts["train_on"] else ""
    return f"[{name}]({name}.md){elsewhere} (n = {subjects(variant.facts)})"


def _values(shown: Summary, rank_by: str) -> pd.DataFrame:
    """Method -> its best row, means over seeds."""
    rows = pd.DataFrame([{key: row[key] for key in ("method", SHOWN, rank_by)} for row in shown.rows])
    return rows.drop_duplicates("method").set_index("method")


def _largest(values: pd.Series) -> list[int]:
    shown = values.round(3).reset_index(drop=True)
    return list(shown.index[shown == shown.max()])


def _line(name: str, rows: pd.DataFrame, synthetic: str) -> str:
    runs = rows.drop_duplicates("record")
    failed = int((runs["status"] != "ok").sum())
    text = counted(len(runs) - failed, "record") + (f", {failed} failed or skipped" if failed else "")
    return f"- [{name}]({name}.md): {text}" + (f"; synthetic {synthetic}" if synthetic else "")
