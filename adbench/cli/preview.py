"""A contact sheet of slices with their masks outlined, to see with one's own eyes what a run would use.

Grey runs from 0 (black) to 1 (white) in every slice: a slice that looks dark is dark to the detector. Lesions are
outlined in red, just outside their edge, so that nothing of them is hidden; ignored pixels are hatched in blue; the
brain mask is outlined in green. The same images, count and seed give the same sheet.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from adbench.contracts.splits import Sample, Split
from adbench.errors import ConfigError, RecordError
from adbench.protocol.halves import in_turn
from adbench.results.drawing import RED, enlarged, outline, write_line
from adbench.storage.files import write_atomic, writing

SUFFIXES = (".png", ".jpg", ".jpeg")
TILE_PX = 192
"""Least height and width of a slice on the sheet, as far as whole factors of enlargement allow."""
CAPTION_PX, MARGIN_PX = 18, 6
BLUE, GREEN = (80, 160, 255), (64, 200, 96)
HATCH_PX = 6


def check_output(path: Path) -> None:
    """Raise ConfigError where the file's suffix names no format that a sheet is written in."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"A sheet is written as {', '.join(SUFFIXES)}, got {path.name!r}. Give it one of these endings."
        )


def choose(split: Split, count: int, seed: int) -> list[int]:
    """Return up to `count` positions, ascending: half with a lesion as far as there are, even over subjects."""
    rng = np.random.default_rng(seed)
    sick = np.zeros(len(split), bool) if split.lesions is None else np.array([mask.any() for mask in split.lesions])
    with_lesion, without = (in_turn(split.subjects, rng.permutation(np.flatnonzero(which))) for which in (sick, ~sick))
    wanted = max(min(len(with_lesion), count - count // 2), count - len(without))
    return sorted(with_lesion[:wanted] + without[: count - min(wanted, len(with_lesion))])


def draw(split: Split, chosen: list[int], title: str, brain: bool = False) -> Image.Image:
    """Return the sheet, (H, W) RGB: a line of explanation, and below it a tile a slice."""
    tiles = [_tile(split[i], _caption(split, i), brain) for i in chosen]
    columns = min(len(tiles), int(np.ceil(np.sqrt(len(tiles) * 1.5))))  # a sheet wider than high
    width, height = tiles[0].width + MARGIN_PX, tiles[0].height + MARGIN_PX
    rows = -(-len(tiles) // columns)
    head = CAPTION_PX + MARGIN_PX
    sheet = Image.new("RGB", (columns * width + MARGIN_PX, head + rows * height + MARGIN_PX), "white")
    legend = [f"{title}: lesion red"]
    legend += ["ignored pixels hatched blue"] if split.ignores is not None else []
    legend += ["brain green"] if brain and split.brains is not None else []
    write_line(sheet, ", ".join(legend), (MARGIN_PX, MARGIN_PX), sheet.width - 2 * MARGIN_PX)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        sheet.paste(tile, (MARGIN_PX + column * width, head + row * height))
    return sheet


def write(sheet: Image.Image, path: Path) -> None:
    """Write the sheet at once or not at all. Raises RecordError where the folder cannot be written."""
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG" if path.suffix.lower() == ".png" else "JPEG", quality=92)
    with writing("The sheet", path, "Name another file with -o.", RecordError):
        write_atomic(path, buffer.getvalue())


def _tile(sample: Sample, caption: str, brain: bool) -> Image.Image:
    side = max(sample.image.shape)
    factor = max(1, -(-TILE_PX // side))
    grey = np.rint(np.clip(sample.image[0], 0, 1) * 255).astype(np.uint8)
    pixels = np.repeat(enlarged(grey, factor)[:, :, None], 3, axis=2)
    if sample.ignore is not None:
        ignored = enlarged(sample.ignore[0], factor)
        rows, columns = np.indices(ignored.shape)
        pixels[ignored & ((rows + columns) % HATCH_PX == 0)] = BLUE
    if brain and sample.brain is not None:
        outline(pixels, sample.brain[0], factor, GREEN)
    outline(pixels, sample.lesion[0], factor, RED)
    tile = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + CAPTION_PX), "white")
    tile.paste(Image.fromarray(pixels), (0, 0))
    write_line(tile, caption, (0, pixels.shape[0] + 2), tile.width)
    return tile


def _caption(split: Split, i: int) -> str:
    """The subject, and the slice where the image's source ends with it: `brats/001[77]`."""
    place = re.search(r"\[\d+\]$", split.sources[i]) if split.sources else None
    return split.subjects[i] + (place.group() if place else "")
