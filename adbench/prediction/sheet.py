"""A picture to look at: slices with what is flagged outlined, and below each its score map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from adbench.contracts.scans import PreparedScan
from adbench.prediction.card import PointCard
from adbench.prediction.report import ScanReport
from adbench.results.drawing import FONT_PX, RED, outline, write_line

SLICES, COLUMNS = 12, 6
TILE_PX, CAPTION_PX, MARGIN_PX = 200, 16, 6
HEAT = np.array([[0, 0, 0], [90, 0, 80], [200, 30, 40], [255, 150, 0], [255, 255, 180]], np.float64)
"""Colours of the score map, from the lowest score to the highest."""

Floats = NDArray[np.float32]


def draw(
    prepared: PreparedScan, scores: Floats, flagged: NDArray[np.bool_], report: ScanReport, point: PointCard
) -> Image.Image:
    """Return the sheet; slices as radiologists see them, the patient's right on the left."""
    seen = np.isfinite(scores)
    box = _box(seen)
    low, high = float(scores[seen].min()), float(np.percentile(scores[seen], 99.9))
    dark, bright = np.percentile(prepared.anatomy[seen], (1, 99.5))
    tiles = [
        _tile(prepared, scores, flagged, z, box, (low, max(high, low + 1e-12)), (float(dark), float(bright)))
        for z in _chosen(seen, flagged)
    ]
    columns, rows = min(COLUMNS, len(tiles)), -(-len(tiles) // COLUMNS)
    width, height = (max(tile.size[axis] for tile in tiles) + MARGIN_PX for axis in (0, 1))
    title = [
        f"{report.name}: {report.model.method} trained on {report.model.trained_on}; outlined in red: what "
        f"{100 * point.rate:g} % of healthy pixels exceed; below: scores from {low:.3g} to {high:.3g}",
        "NOT A MEDICAL DEVICE: for research alone, nothing here may guide diagnosis. R: the patient's right",
        *(f"Warning: {text}" for text in report.warnings),
    ]
    head = MARGIN_PX + CAPTION_PX * len(title)
    sheet = Image.new("RGB", (max(columns * width, 4 * TILE_PX) + MARGIN_PX, head + rows * height + MARGIN_PX), "white")
    for i, line in enumerate(title):
        _write_start(sheet, line, (MARGIN_PX, MARGIN_PX + i * CAPTION_PX))
    for place, tile in enumerate(tiles):
        row, column = divmod(place, COLUMNS)
        sheet.paste(tile, (MARGIN_PX + column * width, head + row * height))
    return sheet


def _chosen(seen: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> list[int]:
    """Slices at even distances among those seen, and the one with most that is flagged."""
    z = np.flatnonzero(seen.any(axis=(0, 1)))
    evenly = z[np.unique(np.linspace(0, len(z) - 1, min(len(z), SLICES)).round().astype(int))]
    most = int(flagged.sum(axis=(0, 1)).argmax())
    if flagged.any() and most not in evenly:
        evenly[np.abs(evenly - most).argmin()] = most
    return [int(k) for k in evenly]


def _box(seen: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of slices, as they are shown, that hold all that is seen."""
    shown = np.any(seen, axis=2, keepdims=True)[::-1, ::-1, 0].T
    bounds = [np.flatnonzero(shown.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    rows, columns = (slice(int(a), int(b) + 1) for a, b in bounds)
    return rows, columns


def _tile(
    prepared: PreparedScan,
    scores: Floats,
    flagged: NDArray[np.bool_],
    z: int,
    box: tuple[slice, slice],
    scale: tuple[float, float],
    grey: tuple[float, float],
) -> Image.Image:
    def shown(volume: NDArray[Any]) -> NDArray[Any]:
        return volume[::-1, ::-1, z].T[box]

    size = _size(shown(scores).shape, prepared.view.truth().affine)
    level = _unit(shown(prepared.anatomy), grey)
    anatomy = Image.fromarray(np.rint(level * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    pixels = np.repeat(np.asarray(anatomy)[:, :, None], 3, axis=2)
    mask = Image.fromarray(shown(flagged).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    outline(pixels, np.asarray(mask).astype(bool), 1, RED)
    heat = np.where(np.isfinite(shown(scores)), _unit(shown(scores), scale), 0) * (len(HEAT) - 1)
    colours = np.stack([np.interp(heat, range(len(HEAT)), HEAT[:, i]) for i in range(3)], axis=-1)
    map_image = Image.fromarray(np.rint(colours).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    tile = Image.new("RGB", (size[0], 2 * size[1] + CAPTION_PX), "white")
    tile.paste(Image.fromarray(pixels), (0, 0))
    tile.paste(map_image, (0, size[1]))
    write_line(tile, f"R   slice {z + 1} of {scores.shape[2]}", (2, 2 * size[1] + 2), size[0])
    return tile


def _size(shape: tuple[int, ...], affine: NDArray[np.float64]) -> tuple[int, int]:
    """Width and height in pixels of the sheet, in proportion to mm."""
    across, down = (float(np.linalg.norm(affine[:3, axis])) for axis in (0, 1))
    width, height = shape[1] * across, shape[0] * down
    scale = TILE_PX / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _unit(values: NDArray[Any], scale: tuple[float, float]) -> NDArray[np.float64]:
    low, high = scale
    return np.asarray(np.clip((values - low) / ((high - low) or 1.0), 0, 1), np.float64)


def _write_start(sheet: Image.Image, text: str, at: tuple[int, int]) -> None:
    """Write one line, its end left out where it is too long."""
    font, width = ImageFont.load_default(FONT_PX), sheet.width - 2 * MARGIN_PX
    text = text[:width]  # a letter takes a pixel or more
    while text and font.getlength(text) > width:
        text = text.removesuffix("...")[:-1] + "..." if len(text) > 4 else ""
    ImageDraw.Draw(sheet).text(at, text, "black", font)
