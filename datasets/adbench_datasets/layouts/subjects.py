"""Which subjects are trained on, validated on and tested on; and names by which they are known."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence

from adbench.contracts.splits import same_name, unseen
from adbench.errors import DataError
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.layouts.scan_config import ScanConfig

MIN_SUBJECTS = 3
LEAST = {"train": 1, "validation": 2, "test": 1}
"""Subjects of each split, where there are enough: thresholds come from others than those that are calibrated on."""
LEADING_ZEROS = re.compile(r"(?<![\d.,])0+(?=\d)")
"""Spreadsheets take them from numbers."""
DECIMALS = re.compile(r"^([^.,]*\d)[.,]0+$")
"""Programs append them to whole numbers, where a column has an empty cell."""
BETWEEN = re.compile(r"[-_ \u2010-\u2015\u2212]+")
MINUS = re.compile(r"(?<=[_ ])-(?=\d)")
"""Of a place, as in slice_-5."""


def split_subjects(cases: Iterable[Case], config: ScanConfig, own_split: bool = True) -> dict[str, str]:
    """Subject -> train, validation or test, for the subjects to use; all test if fewer than 3, or not `own_split`.

    Raises DataError where a subject is in two splits of the set's own.
    """
    official: dict[str, str | None] = {}
    for case in cases:
        if official.setdefault(case.subject, case.split) != case.split:
            raise DataError(
                f"A subject belongs to one split, but {case.subject!r} is in both {official[case.subject]} and "
                f"{case.split}: correct the list."
            )
    order = sorted(official, key=lambda subject: order_of(config.split_seed, subject))
    if not own_split or len(order) < MIN_SUBJECTS:
        return _fewer(dict.fromkeys(order, "test"), config.max_subjects)
    role = {subject: official[subject] or "train" for subject in order}
    named = set(official.values())
    for part, fraction in (("test", config.test_fraction), ("validation", config.validation_fraction)):
        free = [s for s in order if role[s] == "train" and (part == "validation" or official[s] is None)]
        if part not in named and len(free) > 1:
            for subject in free[: min(max(LEAST[part], round(fraction * len(order))), len(free) - 1)]:
                role[subject] = part
    return _fewer(role, config.max_subjects)


def _fewer(role: dict[str, str], most: int | None) -> dict[str, str]:
    """The first subjects of each split, in proportion."""
    if most is None or len(role) <= most:
        return role
    parts = {part: [s for s in role if role[s] == part] for part in set(role.values())}
    taken = {
        s for part, members in parts.items() for s in members[: max(LEAST[part], most * len(members) // len(role))]
    }
    return {s: part for s, part in role.items() if s in taken}


def order_of(seed: int, subject: str) -> str:
    return hashlib.sha256(os.fsencode(f"{seed}\0{subject}")).hexdigest()  # names of files may be no UTF-8


def refs_of(file: FileRef | Sequence[FileRef | None] | None) -> list[FileRef]:
    """The files of one part of a case."""
    return [file] if isinstance(file, FileRef) else [ref for ref in file or () if ref is not None]


def check_cases(cases: Sequence[Case]) -> None:
    """Raise DataError where there is none, an examination occurs twice, or a name cannot be told from another."""
    if not cases:
        raise DataError("At least one case is needed, but the data folder holds none: complete the download.")
    seen: dict[tuple[str, str], Case] = {}
    spelt: dict[str, str] = {}
    for case in cases:
        for name in (case.subject, case.session, *(str(ref) for ref in refs_of(case.image) + refs_of(case.lesion))):
            check_name(name)
        first = spelt.setdefault(_spelling(case.subject), case.subject)
        if first != case.subject:
            raise DataError(
                f"A subject has one spelling, but {first!a} and {case.subject!a} differ only in case, in spaces, "
                "hyphens or underscores, in leading zeros, in .0 or in how characters are stored: write them alike, or "
                "give different people different names."
            )
        other = seen.setdefault((case.subject, case.session), case)
        if other is not case:
            a, b = refs_of(other.image)[0], refs_of(case.image)[0]
            raise DataError(f"Each examination must occur once, but {case.subject!r} is both {a} and {b}: remove one.")


def _spelling(subject: str) -> str:
    """What spellings of a subject share."""
    return LEADING_ZEROS.sub("", BETWEEN.sub(" ", MINUS.sub("minus ", DECIMALS.sub(r"\1", same_name(subject)))))


def check_name(name: str) -> None:
    """Raise DataError where a name is no Unicode, or holds characters that no screen shows."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode(errors="backslashreplace")
        raise DataError(f"Names of files must be UTF-8, but {shown} is not: rename it.") from None
    if hidden := unseen(name):
        raise DataError(f"A name holds visible characters alone, but {name!a} has {hidden[0]!a}: write it anew.")
