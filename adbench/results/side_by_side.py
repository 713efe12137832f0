"""Slices as two methods see them, from the pictures beside their records: those where they differ most come first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from adbench.results.figures import Figure
from adbench.results.pictures import Picture, picture_path, read_picture
from adbench.results.sides import Side


@dataclass(frozen=True)
class Kept:
    """The picture of one side; of several seeds the first that has one."""

    path: Path
    picture: Picture

    def of(self, subject: str) -> list[int]:
        """The columns of the picture that show a subject, counted from 1."""
        return [i for i, name in enumerate(self.picture.subjects, 1) if name == subject]


def kept(side: Side) -> Kept | None:
    """Raises RecordError where a picture is damaged."""
    paths = [picture_path(folder / record.path) for folder, record in side]
    path = next((path for path in paths if path.is_file()), None)
    return Kept(path, read_picture(path)) if path else None


def side_by_side(
    a: Kept | None, b: Kept | None, names: Sequence[str], values: Mapping[str, tuple[float, float]]
) -> Figure | None:
    """The slices that both pictures show, by how far `values` (subject -> of a, of b) lie apart; None without any."""
    if a is None or b is None or a.picture.inputs.shape[1:] != b.picture.inputs.shape[1:]:
        return None
    ours, theirs = (_slices(each.picture) for each in (a, b))
    common = [slice_ for slice_ in ours if slice_ in theirs]
    if not common:
        return None
    apart = {subject: abs(x - y) for subject, (x, y) in values.items()}
    common.sort(key=lambda slice_: -apart.get(slice_[0], 0.0))
    places = ([of[slice_] for slice_ in common] for of in (ours, theirs))
    pictures = [_taken(each.picture, which) for each, which in zip((a, b), places, strict=True)]
    shown = [f"{x:.3f} | {y:.3f}" for x, y in (values.get(subject, (np.nan, np.nan)) for subject, *_ in common)]
    return Figure(names, pictures, list(zip(pictures[0].subjects, shown, strict=True)))


def _slices(picture: Picture) -> dict[tuple[str, bytes, bytes], int]:
    """(subject, input, lesion) -> place."""
    rows = zip(picture.subjects, picture.inputs, picture.lesions, strict=True)
    return {(subject, image.tobytes(), lesion.tobytes()): i for i, (subject, image, lesion) in enumerate(rows)}


def _taken(picture: Picture, which: Sequence[int]) -> Picture:
    return replace(
        picture,
        inputs=picture.inputs[which],
        lesions=picture.lesions[which],
        scores=picture.scores[which],
        subjects=[picture.subjects[i] for i in which],
        marks=(),
    )
