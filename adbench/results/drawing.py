"""What pictures of slices share: enlarging, outlines and lines of text."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Pixels = NDArray[np.uint8]
RED = (255, 64, 64)
"""Lesions are outlined in it."""
FONT_PX = 11


Scalar = TypeVar("Scalar", bound=np.generic)


def enlarged(pixels: NDArray[Scalar], factor: int) -> NDArray[Scalar]:
    """Every pixel as a square of `factor` by `factor`."""
    return pixels.repeat(factor, 0).repeat(factor, 1)


def outline(pixels: Pixels, mask: NDArray[np.bool_], factor: int, colour: tuple[int, int, int]) -> None:
    """Colour the pixels just outside a mask."""
    large = enlarged(mask, factor).astype(bool)
    pixels[ndimage.binary_dilation(large, iterations=max(1, factor // 2)) & ~large] = colour


def write_line(image: Image.Image, text: str, at: tuple[int, int], width: int) -> None:
    """Write one line, its beginning left out where it is too long: the end tells slices apart."""
    font = ImageFont.load_default(FONT_PX)
    shown = text
    while shown and font.getlength(shown) > width:
        shown = "..." + shown.removeprefix("...")[1:] if len(shown) > 4 else ""
    ImageDraw.Draw(image).text(at, shown, "black", font)
