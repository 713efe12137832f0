"""A few test slices as one method sees them, a grey PNG beside its record: `<confighash>-seed<k>.png`.

A column is a slice; below each other stand the input, its lesion (white; grey where pixels do not count) and the score
map, from black for the lowest score of the picture to white for the highest. Both are kept in the file, with the
subjects, so that scores can be read back to a 255th of that range. First come the slices that all methods show, then
those of the subjects that this one finds best, halfway and worst.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from adbench.errors import RecordError
from adbench.results.record import write_bytes

MOST_BYTES = 100_000
"""Of a file: slices are left out, the last ones first, until it is no larger."""
KEY = "adbench"
"""Name of the text in the file that holds subjects and scores."""
MARKS = ("best", "median", "worst")
"""Of a method's subjects with lesions, by their AUPRC."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """Slices (N, H, W) in 256 levels of grey."""

    inputs: Pixels
    lesions: Pixels
    scores: Pixels
    subjects: Sequence[str]
    lowest: float
    highest: float
    """The scores that are black and white."""
    marks: Sequence[str] = ()
    """`MARKS` of the last slices, which are the method's own; the slices before them are those of all methods."""

    @classmethod
    def of(
        cls,
        inputs: NDArray[np.float32],
        lesions: NDArray[np.bool_],
        counted: NDArray[np.bool_],
        scores: NDArray[np.float32],
        subjects: Sequence[str],
        marks: Sequence[str] = (),
    ) -> Picture:
        """From inputs in [0, 1], lesions, the pixels that count, and finite scores, all (N, H, W)."""
        lowest, highest = float(scores.min()), float(scores.max())
        shown = np.where(counted, np.where(lesions, 1.0, 0.0), 0.5)
        scaled = (scores.astype(np.float64) - lowest) / ((highest - lowest) or 1.0)
        return cls(_grey(inputs), _grey(shown), _grey(scaled), list(subjects), lowest, highest, list(marks))

    @property
    def shared(self) -> Picture:
        """The same of the slices that all methods show."""
        return self.first(len(self.subjects) - len(self.marks))

    def first(self, n: int) -> Picture:
        """The same of the first slices."""
        left_out = len(self.subjects) - n
        return replace(
            self,
            inputs=self.inputs[:n],
            lesions=self.lesions[:n],
            scores=self.scores[:n],
            subjects=self.subjects[:n],
            marks=self.marks[: max(0, len(self.marks) - left_out)],
        )

    def png(self) -> bytes:
        """The file, in which what the grey values mean is kept as text."""
        rows = [np.concatenate(list(row), axis=1) for row in (self.inputs, self.lesions, self.scores)]
        says = PngImagePlugin.PngInfo()
        held = {"subjects": list(self.subjects), "lowest": self.lowest, "highest": self.highest}
        held |= {"marks": list(self.marks)}
        says.add_text(KEY, json.dumps(held))
        buffer = io.BytesIO()
        Image.fromarray(np.concatenate(rows)).save(buffer, "PNG", optimize=True, pnginfo=says)
        return buffer.getvalue()


def _grey(values: NDArray[np.floating]) -> Pixels:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def picture_path(record: Path) -> Path:
    """The picture of a record."""
    return record.with_suffix(".png")


def write_picture(picture: Picture, path: Path) -> None:
    """Write the picture. Raises RecordError where the folder cannot be written."""
    while len(data := picture.png()) > MOST_BYTES and len(picture.subjects) > 1:
        picture = picture.first(len(picture.subjects) - 1)
    write_bytes(path, data)


def read_picture(path: Path) -> Picture:
    """A picture that was written here. Raises RecordError naming a file that is missing, damaged or another one."""
    try:
        with Image.open(path) as image:
            held = json.loads(image.info[KEY])
            pixels = np.array(image, np.uint8)
        n = len(held["subjects"])
        inputs, lesions, scores = (np.stack(np.split(row, n, axis=1)) for row in np.split(pixels, 3))
        return Picture(
            inputs, lesions, scores, held["subjects"], held["lowest"], held["highest"], held.get("marks", [])
        )
    except (OSError, KeyError, ValueError) as error:
        raise RecordError(
            f"{path} must be the picture that a run keeps beside its record, but is not ({error!r}). "
            "Remove it, or run that cell again with --force."
        ) from error
