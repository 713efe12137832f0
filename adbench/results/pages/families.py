"""Families by datasets on the index page: the best method of each, and which are not separated from the best."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from adbench.contracts.family import FAMILIES
from adbench.metrics.catalogue import METRICS
from adbench.metrics.chance import ALPHA
from adbench.results import formats
from adbench.results.columns import Row
from adbench.results.method_card import marked
from adbench.results.standing import row_key
from adbench.results.summary import FEW
from adbench.results.table import Table

ALIKE = "≈"
"""Before the best of a family that is not separated from the best of all."""
Best = Mapping[str, Row]
"""Family -> the row of its best method, in the order of `FAMILIES`."""


def families(shown: Mapping[str, Sequence[Row]], few: Collection[str], rank_by: str) -> Iterator[str]:
    """A table and what it shows in sentences; nothing where no set has two families.

    shown: dataset -> the rows of a summary; methods of an unknown family are left out, and that is said. few: sets with
    too few subjects for a best.
    """
    best = {name: _best(rows, rank_by) for name, rows in shown.items()}
    best = {name: of for name, of in best.items() if len(of) > 1}
    if not best:
        return
    chance = f"{100 * ALPHA:.0f} %, sign flips over subjects, corrected over all pairs of that table"
    yield (
        f"The best method of each family by {METRICS[rank_by].title} in the first table of a set's page, with its "
        f"95 % interval over test subjects. Bold: the best of a set of at least {FEW} subjects. {ALIKE}: not separated "
        f"from the best; all others are worse by more than chance ({chance})."
    )
    yield _table(best, few, rank_by).markdown()
    yield " ".join([*_separated(best, rank_by), *_trained_once(best), *_unknown(shown)])


def _best(rows: Sequence[Row], rank_by: str) -> Best:
    known = [row for row in rows if not formats.is_missing(row[rank_by])]
    known.sort(key=lambda row: row[rank_by], reverse=METRICS[rank_by].higher_is_better)
    of_each = {family: [row for row in known if row["family"] == family] for family in FAMILIES}
    return {family: of[0] for family, of in of_each.items() if of}


def _first(best: Best, rank_by: str) -> str:
    """The family of the best row of all."""
    choose = max if METRICS[rank_by].higher_is_better else min
    return choose(best, key=lambda family: best[family][rank_by])


def _alike(best: Best, rank_by: str) -> list[str]:
    """The families whose best is not separated from the best of all; all others where nothing could be compared."""
    first = _first(best, rank_by)
    key = row_key(best[first])
    return [family for family in best if family != first and key not in (best[family]["beaten_by"] or ())]


def _table(best: Mapping[str, Best], few: Collection[str], rank_by: str) -> Table:
    columns = [family for family in FAMILIES if any(family in of for of in best.values())]
    texts = [[_link(name), *(_cell(of, family, rank_by) for family in columns)] for name, of in best.items()]
    bold = {(i, columns.index(_first(of, rank_by)) + 1) for i, (name, of) in enumerate(best.items()) if name not in few}
    return Table(["set", *columns], texts, 1, bold)


def _link(name: str) -> str:
    return f"[{name}]({name}.md)"


def _cell(best: Best, family: str, rank_by: str) -> str:
    """`` ≈ `vae` 0.300 [0.200, 0.400] ``."""
    if family not in best:
        return formats.NONE
    row = best[family]
    value = formats.interval(row[rank_by], row[f"{rank_by}_low"], row[f"{rank_by}_high"], row[f"{rank_by}_sd"])
    sign = f"{ALIKE} " if family in _alike(best, rank_by) else ""
    return f"{sign}{marked(row['method'], row['knowledge'])} {value}"


def _separated(best: Mapping[str, Best], rank_by: str) -> Iterator[str]:
    """Sets on which the best family is separated from all others, on which it is not, and on which nothing can be."""
    apart, alike, unknown = [], [], []
    for name, of in best.items():
        first, others = _first(of, rank_by), _alike(of, rank_by)
        if of[first]["beaten_by"] is None:
            unknown.append(_link(name))
        elif others:
            alike.append(f"{_link(name)} ({first} before {', '.join(others)})")
        else:
            apart.append(f"{_link(name)} ({first})")
    if apart:
        yield f"The first family is ahead of all others by more than chance on {', '.join(apart)}."
    if alike:
        yield f"It may be chance which is first on {', '.join(alike)}."
    if unknown:
        few = "too few test subjects with lesions, or no numbers by subject"
        yield f"Nothing can be said of the order on {', '.join(unknown)}: {few}."


def _trained_once(best: Mapping[str, Best]) -> Iterator[str]:
    rows = [row for of in best.values() for row in of.values()]
    if any(row["parameters"] > 0 and len(row["records"]) == 1 for row in rows):
        yield "Methods that were trained once are compared given that training."


def _unknown(shown: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    if names := sorted({row["method"] for rows in shown.values() for row in rows if not row["family"]}):
        yield f"Left out, as their family is unknown: {', '.join(f'`{name}`' for name in names)}."
