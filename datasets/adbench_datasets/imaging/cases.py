"""A case as found in the data folder, and as read: what every adapter of scans hands to the shared preprocessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FileRef:
    """A file below the data root, or a member of a zip archive there."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)


@dataclass(frozen=True)
class Labels:
    """What the numbers in a mask file mean: a value in none of the three sets is what `others` says."""

    lesion: frozenset[int] = frozenset({1})
    ignore: frozenset[int] = frozenset()
    """Pixels that no metric counts."""
    background: frozenset[int] = frozenset({0})
    others: Literal["error", "ignore", "lesion"] = "error"
    threshold: float | None = None
    """For masks stored lossily or as grey values: lesion is what reaches this value, and any value may occur."""


def chosen_labels(values: Sequence[int] | None) -> Labels:
    """Those of `data.lesion_values`: every value but 0 is a lesion, or those chosen, and no metric counts others."""
    if values is None:
        return Labels(lesion=frozenset(), others="lesion")
    return Labels(lesion=frozenset(values), others="ignore")


@dataclass(frozen=True)
class Case:
    """One examination of one subject, not read yet."""

    subject: str
    """Name of the person, prefixed by the set's family (`tcga/CS_4941`), the same in every set of that family."""
    image: FileRef | Sequence[FileRef]
    """One volume, or the axial slices of one in order (from the feet up)."""
    lesion: FileRef | Sequence[FileRef | None] | None = None
    """The mask of the same grid; for slices one each, None where a slice has no mask file and is free of lesions."""
    lesion_free: bool = False
    """Without a mask: whether the case is known to be free of lesions. A case of which neither is known is skipped."""
    brain: FileRef | None = None
    labels: Labels = field(default_factory=Labels)
    spacing_mm: tuple[float, float, float] | None = None
    """Of slice images, which do not carry it; None where it is unknown."""
    split: str | None = None
    """train, validation or test, where the set itself says so."""
    session: str = ""
    """Tells several examinations of a subject apart."""
    shows_lesion: bool = False
    """Whether the layout says that each mask shows a lesion: one that is all zero is then no mask of its image."""
    withheld: bool = False
    """Whether the layout says that its mask is not public: left out and named, whatever the user says of others."""
    strata: Mapping[str, str] = field(default_factory=dict)
    """What groups people: scanner, sex, age by decade; where the set says so."""


@dataclass(frozen=True)
class Scan:
    """A case as read: all arrays (X, Y, Z) of one shape, in canonical orientation.

    That is RAS+: the first axis to the right, the second to the front, the third up.
    """

    subject: str
    image: NDArray[np.float32]
    """In the file's own units (HU for CT), scaled as its header says."""
    lesion: NDArray[np.bool_] | None
    """None where the case is free of lesions."""
    brain: NDArray[np.bool_] | None
    ignore: NDArray[np.bool_] | None
    spacing_mm: tuple[float, float, float] | None
    affine: NDArray[np.float64]
    """(4, 4): index of these arrays -> mm."""
    source: str
    """Name of the image file (or the first slice), for messages."""
    source_shape: tuple[int, ...]
    source_affine: NDArray[np.float64]
    """Shape and affine of the file as stored: what is needed to bring results back to the scan's own space."""
    notes: tuple[str, ...] = ()
    """What a user should know of how it was read."""
