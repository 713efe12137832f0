"""The figure of a page: the same few test slices as several methods see them, made from the pictures of their records.

A column is a slice: the input, the input with its lesion outlined in red, and the score map of one method after the
other, each from its own lowest (dark) to its own highest score (bright). What a figure is made from is hashed and kept
in the file, by which a stale one is found.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from adbench.results.drawing import RED, Pixels, enlarged, outline, write_line
from adbench.results.pictures import Picture

FOLDER = Path("figures")
"""Of the figures, beside the pages."""
VERSION = "1"
"""Raise it when the same pictures give another figure."""
KEY = "made from"
TILE_PX, LABEL_PX, GAP_PX, LINE_PX = 128, 150, 2, 16
MOST = 4
"""Methods of a figure."""


@dataclass(frozen=True)
class Figure:
    """Pictures of the same slices, with the names of their methods."""

    names: Sequence[str]
    pictures: Sequence[Picture]
    captions: Sequence[Sequence[str]] = ()
    """Lines above each column."""

    @property
    def key(self) -> str:
        """SHA-256 (hex) of all that the figure shows."""
        digest = hashlib.sha256("\0".join([VERSION, *self.names, *chain(*self.captions)]).encode())
        for picture in self.pictures:
            for pixels in (picture.inputs, picture.lesions, picture.scores):
                digest.update(f"{pixels.shape}".encode() + pixels.tobytes())
        return digest.hexdigest()

    def png(self) -> bytes:
        """The file, with its key as text."""
        first = self.pictures[0]
        rows = [("input", [_coloured(_large(grey)) for grey in first.inputs])]
        rows += [("lesion", [_outlined(*slices) for slices in zip(first.inputs, first.lesions, strict=True)])]
        for name, picture in zip(self.names, self.pictures, strict=True):
            rows.append((name, [_mapped(scores) for scores in picture.scores]))
        sheet = _sheet(rows, self.captions)
        says = PngImagePlugin.PngInfo()
        says.add_text(KEY, self.key)
        buffer = io.BytesIO()
        palette = sheet.quantize(256, dither=Image.Dither.NONE)
        palette.save(buffer, "PNG", optimize=True, pnginfo=says)
        return buffer.getvalue()


def figure_of(
    methods: Sequence[str], records: Sequence[str], picture_of: Callable[[str], Picture | None]
) -> Figure | None:
    """The figure of records, best first: one a method, those that show what the best one shows.

    picture_of: path of a record -> its picture, if it has one. None where no record has one.
    """
    chosen: dict[str, Picture] = {}
    for method, record in zip(methods, records, strict=True):
        if len(chosen) == MOST:
            break
        picture = None if method in chosen else picture_of(record)
        if picture and all(_same_slices(picture, other) for other in chosen.values()):
            chosen[method] = picture
    return Figure(list(chosen), list(chosen.values())) if chosen else None


def key_of(path: Path) -> str | None:
    """The key of what a figure was made from; None where there is none, or it is not one of ours."""
    try:
        with Image.open(path) as image:
            return image.info.get(KEY)
    except (OSError, ValueError):
        return None


def _same_slices(a: Picture, b: Picture) -> bool:
    return np.array_equal(a.inputs, b.inputs) and np.array_equal(a.lesions, b.lesions)


def _factor(pixels: Pixels) -> int:
    return max(1, -(-TILE_PX // max(pixels.shape)))


def _coloured(grey: Pixels) -> Pixels:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _large(grey: Pixels) -> Pixels:
    return enlarged(grey, _factor(grey))


def _outlined(image: Pixels, lesion: Pixels) -> Pixels:
    pixels = _coloured(_large(image))
    outline(pixels, lesion == 255, _factor(image), RED)
    return pixels


def _mapped(scores: Pixels) -> Pixels:
    import matplotlib  # it takes half a second

    colours = matplotlib.colormaps["magma"](np.arange(256), bytes=True)[:, :3]
    return colours[_large(scores)]


def _sheet(rows: Sequence[tuple[str, Sequence[Pixels]]], captions: Sequence[Sequence[str]]) -> Image.Image:
    height, width = rows[0][1][0].shape[:2]
    columns = len(rows[0][1])
    above = LINE_PX * max(map(len, captions), default=0)
    size = LABEL_PX + columns * (width + GAP_PX), above + len(rows) * (height + GAP_PX)
    sheet = Image.new("RGB", size, "white")
    for column, lines in enumerate(captions):
        for i, line in enumerate(lines):
            write_line(sheet, line, (LABEL_PX + column * (width + GAP_PX), i * LINE_PX), width)
    for row, (label, tiles) in enumerate(rows):
        top = above + row * (height + GAP_PX)
        write_line(sheet, label, (GAP_PX, top + height // 2), LABEL_PX - 2 * GAP_PX)
        for column, tile in enumerate(tiles):
            sheet.paste(Image.fromarray(tile), (LABEL_PX + column * (width + GAP_PX), top))
    return sheet
