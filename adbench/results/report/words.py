"""What the page says in words: which method is best, by how much, whether that is chance, and how fast it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup, escape

from adbench.errors import counted
from adbench.metrics.catalogue import METRICS
from adbench.metrics.chance import ALPHA
from adbench.results import formats
from adbench.results.report.differences import Paired
from adbench.results.standing import PRIMARY
from adbench.results.summary import FEW, subjects, tested_on

TITLE = METRICS[PRIMARY].title
LISTED = 6
"""Names of a sentence, at most."""


def p_text(p: float) -> str:
    """`p = 0.021` or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def best(rows: pd.DataFrame) -> Markup:
    """The first row, with its values; of very few subjects none is called the best."""
    row = rows.iloc[0]
    values = ", ".join(
        f"{METRICS[key].title} {formats.interval(row[key], row[f'{key}_low'], row[f'{key}_high'], row[f'{key}_sd'])}"
        for key in (PRIMARY, "best_dice")
    )
    place = "comes first" if subjects(row) < FEW else "is best"
    return Markup("<strong>{}</strong> {}: {}.").format(row["label"], place, values)


def lead(rows: pd.DataFrame, pairs: Paired | None) -> Markup:
    """By how much the best leads, and whether that is chance; or why that cannot be said."""
    if pairs is None:
        return Markup("Methods cannot be compared here: {}.").format(_why_not(rows))
    second = pairs.difference(0, 1)
    ahead = Markup("It leads <strong>{}</strong> by {}").format(
        pairs.names[1], formats.interval(second.value, second.low, second.high)
    )
    if not pairs.enough:
        of = f"any of {counted(pairs.pairs, 'pair')}"
        few = f"{pairs.subjects} test subjects with lesions are too few to tell {of} from chance."
        return ahead + Markup(". {}").format(few)
    p = Markup("{}, corrected for {}").format(p_text(pairs.p(0, 1)), counted(pairs.pairs, "comparison"))
    alike = pairs.alike(0)
    if not alike:
        return ahead + Markup(": more than chance ({}), as is its lead over all others.").format(p)
    chance = "more than chance" if pairs.differ(0, 1) else "which may be chance"
    return ahead + Markup(": {} ({}). It is not separated from {}.").format(chance, p, listed(alike))


def _why_not(rows: pd.DataFrame) -> str:
    """Why there are no pairs."""
    if len(rows) < 2:
        return "there is one alone"
    if subjects(rows.iloc[0]) == 1:
        return "there is one test subject alone"
    return "fewer than two subjects have lesions, or numbers by subject are missing"


def listed(names: Sequence[str]) -> Markup:
    """`a, b and 3 more`, safe as HTML."""
    text = Markup(", ").join(escape(name) for name in names[:LISTED])
    return text + Markup(" and {} more").format(len(names) - LISTED) if len(names) > LISTED else text


def speed(rows: pd.DataFrame, times: pd.DataFrame, device: str) -> Markup:
    """How long the best and the fastest take; empty where no time is kept."""
    known = times[times["timed_on"] == device].set_index("config_hash")["s_per_100_slices"]
    here = rows[rows["config_hash"].isin(known.index)]
    if here.empty:
        return Markup()
    seconds = {row["label"]: float(known[row["config_hash"]]) for row in here.to_dict("records")}
    fastest = min(seconds, key=seconds.__getitem__)
    first = rows.iloc[0]["label"]
    told = f"{formats.seconds(seconds[first])} s for 100 slices" if first in seconds else "a time that is not kept"
    text = Markup("It takes {}").format(told)
    if fastest != first:
        text += Markup("; the fastest, <strong>{}</strong>, {} s").format(fastest, formats.seconds(seconds[fastest]))
    return text + Markup(" ({}).").format(device)


@dataclass(frozen=True)
class Tile:
    """A number that is read first."""

    title: str
    value: str
    note: str


def tiles(rows: pd.DataFrame, pairs: Paired | None, times: pd.DataFrame, device: str) -> list[Tile]:
    """Best, lead, chance and time."""
    row = rows.iloc[0]
    shown = [Tile(f"best {TITLE}", formats.number(row[PRIMARY]), str(row["label"]))]
    if not formats.is_missing(row["best_dice"]):
        shown.append(Tile("its ⌈DICE⌉", formats.number(row["best_dice"]), "at the best threshold of the test set"))
    if pairs is not None:
        lead = pairs.difference(0, 1)
        reach = "" if lead.low is None else f"{formats.number(lead.low)} to {formats.number(lead.high)}, "
        shown.append(Tile("its lead", formats.number(lead.value), f"{reach}over {pairs.names[1]}"))
        chance = "no" if pairs.differ(0, 1) else "may be"
        p = (
            f"{p_text(pairs.p(0, 1))}, {counted(pairs.pairs, 'comparison')}"
            if pairs.enough
            else "too few subjects to tell"
        )
        shown.append(Tile("is the lead chance?", chance, p))
    known = times[(times["timed_on"] == device) & (times["config_hash"] == row["config_hash"])]["s_per_100_slices"]
    note = device if len(known) else "no time is kept for it"
    shown.append(Tile("s / 100 slices", formats.seconds(float(known.iloc[0])) if len(known) else formats.NONE, note))
    return shown


def stands_on(row: pd.Series, pairs: Paired | None) -> str:
    """The test set, in a sentence or two."""
    text = tested_on(row)
    if pairs:
        text += f", {pairs.subjects} of them with lesions"
    small = " That is very few: take every number as an example." if subjects(row) < FEW else ""
    share = row["prevalence"]
    return f"{text}; {100 * share:.2f} % of the pixels that count are lesion.{small}" if share else f"{text}."


def how_compared(pairs: Paired | None, single: bool) -> str:
    """The small print of the comparison."""
    if pairs is None or not pairs.enough:
        return ""
    text = (
        f"Paired by subject: the mean difference in {TITLE} over {pairs.subjects} subjects, tested by flipping signs, "
        f"Holm's correction over {counted(pairs.pairs, 'pair')} at {100 * ALPHA:.0f} %. Brackets are 95 % intervals of "
        f"each pair alone. A difference of {formats.number(pairs.comparison.detectable)} would be found four times in "
        "five."
    )
    alone = " Methods that train have one training each: all this holds for these trainings, not for others."
    return text + (alone if single else "")
