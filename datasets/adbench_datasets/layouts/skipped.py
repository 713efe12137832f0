"""What is said, and refused, of cases that cannot be used and of what was assumed while reading."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from os.path import lexists
from typing import Any

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError
from adbench_datasets.imaging.cases import Case, FileRef
from adbench_datasets.imaging.files import CaseError
from adbench_datasets.imaging.labels import EMPTY_MASK
from adbench_datasets.imaging.slice_cache import SliceCache
from adbench_datasets.layouts.scan_config import ScanConfig
from adbench_datasets.layouts.subjects import refs_of

NAMED = 3
"""Cases that a message names."""
NO_LABEL = "has neither a lesion mask nor is it known to be free of lesions"
NO_IMAGE = "there is no such image, but a lesion mask of it"
WITHHELD = "has no public lesion mask, as its folder says"


def check_known(case: Case) -> None:
    """Raise DataError where nothing says whether a case has a lesion."""
    if case.lesion is None and not case.lesion_free:
        raise DataError(WITHHELD if case.withheld else NO_LABEL)


def reason(case: Case, error: CaseError) -> str:
    """Why a case cannot be read, where it is for a mask that is not there, or for an image that a mask is without."""
    missing = {str(ref) for ref in refs_of(case.image) + refs_of(case.lesion) if not lexists(ref.path)}
    if error.file not in missing or case.lesion is None:
        return error.what
    return NO_LABEL if error.file in map(str, refs_of(case.lesion)) else NO_IMAGE


def judged(case: Case, config: ScanConfig) -> Case:
    """A case with what the user says of images without a mask."""
    if config.unmatched != "healthy" or case.withheld:
        return case
    lesion = case.lesion
    if lesion is not None and not isinstance(lesion, FileRef):
        lesion = [ref if ref is not None and lexists(ref.path) else None for ref in lesion]
    return dataclasses.replace(case, lesion=lesion, shows_lesion=False, lesion_free=case.lesion_free or lesion is None)


def called_healthy(case: Case, judged: Case) -> bool:
    """Whether the user alone says that a case, or some of its slices, has no lesion."""
    if judged.lesion is None:
        return judged.lesion_free and not case.lesion_free
    return judged is not case and not isinstance(judged.lesion, FileRef) and None in judged.lesion


def tell(cache: SliceCache, runtime: DataRuntime) -> None:
    """Say which cases are left out, and what was assumed of the others."""
    if cache.skipped:
        total = len(cache.skipped) + len(cache.cases)
        runtime.notify(f"{len(cache.skipped)} of {total} cases cannot be used and are left out: {_some(cache.skipped)}")
    for note, (number, first) in notes(cache).items():
        runtime.notify(f"{note} ({number} of {len(cache.cases)} cases, first {first})")


def notes(cache: SliceCache) -> dict[str, tuple[int, str]]:
    """What was assumed while reading -> of how many cases, and the first of them."""
    counts = Counter(note for case in cache.cases for note in case["facts"]["notes"])
    firsts = {note: case["source"] for case in reversed(cache.cases) for note in case["facts"]["notes"]}
    return {note: (number, firsts[note]) for note, number in counts.items()}


def refuse(cache: SliceCache, config: ScanConfig) -> None:
    """Raise DataError where cases are not to be left out, too many cannot be used, or one is there twice."""
    unmatched = [(file, why) for file, why in cache.skipped if why in (NO_LABEL, EMPTY_MASK)]
    alone = [(file, why) for file, why in cache.skipped if why == NO_IMAGE]
    if unmatched and config.unmatched == "refuse":
        raise DataError(
            f"A mask that was not found is not none, but {len(unmatched)} images have no mask that shows a lesion: "
            f"{_some(unmatched)}. Give each a mask of its name, or say --set data.unmatched=healthy (they are free of "
            "lesions) or data.unmatched=skip (leave them out)."
        )
    if alone and config.unmatched != "skip":
        raise DataError(
            f"A mask has an image, but {len(alone)} have none: {_some(alone)}. Complete the download, or say --set "
            "data.unmatched=skip (leave them out)."
        )
    faults = [(file, why) for file, why in cache.skipped if why not in (NO_LABEL, WITHHELD)]
    n = len(cache.cases) + len(faults)
    if not cache.cases or len(faults) > config.max_skipped_fraction * n:
        raise DataError(
            f"At most {config.max_skipped_fraction:.0%} of the cases may be left out (data.max_skipped_fraction), but "
            f"{len(cache.skipped)} of {len(cache.cases) + len(cache.skipped)} cannot be used: {_some(cache.skipped)}"
        )
    _refuse_twins(cache)


def _refuse_twins(cache: SliceCache) -> None:
    """Raise DataError where two cases of a split show the same pixels; `Splits.check` finds those of two splits."""
    seen: dict[tuple[str, str], dict[str, Any]] = {}
    for case in cache.cases:
        first = seen.setdefault((case["role"], case["hash"]), case)
        if first is not case:
            raise DataError(
                f"A scan counts once, but {first['source']} and {case['source']} of the {case['role']} split hold the "
                "same pixels: remove one."
            )


def _some(skipped: Sequence[tuple[str, str]]) -> str:
    rest = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
    return "; ".join(f"{file}: {why}" for file, why in skipped[:NAMED]) + rest
