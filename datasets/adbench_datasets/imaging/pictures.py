"""Slices as pictures (PNG, JPEG, TIFF) by PIL: a stack of files for one case, with their full range of values.

A picture shows an axial slice as radiologists look at it: front at the top, the patient's right on the left. Its
columns run to the left and its rows to the back, so a stack of them has axes L, P, S.

Accepted: grey of 1 bit (as 0 and 255), 8, 16 and 32 bits, signed or not, and float; colour of 8 bits where the channels
are equal or one is chosen; alpha where all is opaque. Refused, since the values would change or mean something else:
palettes, CMYK, colour of 16 bits (PIL reads 8 of them), grey of 2 or 4 bits (PIL spreads them over 8), transparency,
several pages, a turned picture (EXIF), TIFF in which 0 is white (but for 8 bits: PIL turns other depths not or not
always, and programs that write 1 bit so mean white by it), and TIFF with more channels than PIL reads.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from adbench_datasets.imaging.cases import FileRef
from adbench_datasets.imaging.files import MAX_BYTES, CaseError, open_file
from adbench_datasets.imaging.grids import Stored

FORMATS = ("PNG", "JPEG", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
GREY = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
COLOUR = ("RGB", "RGBA", "LA")
ORIENTATION = 0x0112  # the EXIF tag
PHOTOMETRIC, BITS_PER_SAMPLE, SAMPLES_PER_PIXEL, SAMPLE_FORMAT = 262, 258, 277, 339  # TIFF tags
IMAGE_DEPTH, DESCRIPTION = 32997, 270
STACKED = re.compile(r'"truncated": true|^images=(?!1\b)\d+', re.MULTILINE)
"""What tifffile and ImageJ say of a TIFF file whose further slices follow the first without a page of their own."""
WHITE_IS_ZERO = 0
BIG_ENDIAN = b"MM"
SIGNED = 2
LOSSY = ("jpeg", "tiff_jpeg", "webp")
"""Compressions of TIFF, as PIL calls them."""

DAMAGE = (
    Image.DecompressionBombError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, struct.error,
    AssertionError, AttributeError,
)  # fmt: skip
"""What PIL raises for damaged pictures, beside OSError."""


def is_picture(ref: FileRef) -> bool:
    """Whether the name ends as that of a picture."""
    return (ref.member or ref.path.name).lower().endswith(SUFFIXES)


def many_channels(ref: FileRef, root: Path) -> bool:
    """Whether a picture is in colour. Raises CaseError where it cannot be opened."""
    with open_file(ref, root) as (file, _):
        try:
            with Image.open(file, formats=FORMATS) as picture:
                return picture.mode not in (*GREY, "LA")
        except DAMAGE as error:
            raise CaseError(ref, f"cannot be read as a picture ({error}). Fetch it again.") from error


def read_pictures(
    refs: Sequence[FileRef | None],
    root: Path,
    spacing_mm: tuple[float, float, float] | None = None,
    channel: int | None = None,
    like: Stored | None = None,
) -> Stored:
    """Read slices, from the feet up, into one volume (columns, rows, slices).

    For masks, `like` is the image: its pictures give the size, and None among `refs` is a slice of zeros. Without
    `spacing_mm` the affine counts voxels. Raises CaseError naming the picture.
    """
    name = next((str(ref) for ref in refs if ref is not None), "no picture")
    first = like.name if like else name
    volume = None if like is None else np.zeros((*like.values.shape[:2], len(refs)), np.float32, order="F")
    lossy = False
    for k, ref in enumerate(refs):
        if ref is None:
            continue
        grey, damaged = _picture(ref, root, channel, MAX_BYTES // (4 * len(refs)))
        pixels, lossy = grey.T, lossy or damaged
        if volume is None:
            volume = np.zeros((*pixels.shape, len(refs)), np.float32, order="F")
        if pixels.shape != volume.shape[:2]:
            sizes = [" x ".join(map(str, shape)) for shape in (pixels.shape, volume.shape[:2])]
            raise CaseError(
                ref,
                f"all pictures of a case must have one size, but this has {sizes[0]} pixels and {first} {sizes[1]}. "
                "Fetch it again, or leave out the case.",
            )
        volume[..., k] = pixels
    if volume is None:
        raise CaseError(name, "a case needs at least one picture. Complete the download.")
    affine = np.diag([*(np.array([-1, -1, 1]) * (spacing_mm or (1.0, 1.0, 1.0))), 1.0])
    return Stored(name, volume, affine, volume.shape, placed=False, lossy=lossy)


def _picture(ref: FileRef, root: Path, channel: int | None, max_pixels: int) -> tuple[NDArray[np.generic], bool]:
    """Return (rows, columns) in the picture's own type, and whether it was stored in a way that changes values."""
    with open_file(ref, root) as (file, _):
        try:
            with Image.open(file, formats=FORMATS) as picture:
                _check(ref, picture, max_pixels)
                pixels = _as_stored(picture)
                lossy = picture.format == "JPEG" or picture.info.get("compression") in LOSSY
                return _one_channel(ref, pixels, picture.mode, channel), lossy
        except UnidentifiedImageError as error:
            raise CaseError(
                ref,
                "cannot be read: it is damaged or cut short, or no PNG, JPEG or TIFF of a kind that is read (TIFF of "
                "64 bits is not). Fetch it again, or convert it to grey of 8 or 16 bits.",
            ) from error
        except DAMAGE as error:
            raise CaseError(ref, f"cannot be read as a picture ({error}). Fetch it again.") from error


def _as_stored(picture: Image.Image) -> NDArray[np.generic]:
    """Values in the type that TIFF names: PIL takes signed 8 bits for unsigned, and unsigned 32 for signed."""
    pixels = np.asarray(picture.convert("L") if picture.mode == "1" else picture)
    tags = getattr(picture, "tag_v2", {})
    signed, bits = SIGNED in tags.get(SAMPLE_FORMAT, ()), tags.get(BITS_PER_SAMPLE, ())
    if picture.mode == "L" and signed:
        return pixels.view(np.int8)
    return pixels.view(np.uint32) if picture.mode == "I" and not signed and 32 in bits else pixels


def _check(ref: FileRef, picture: Image.Image, max_pixels: int) -> None:
    """Raise CaseError for what PIL would read with other values, or with more of them than there is room for."""
    width, height = picture.size
    if width * height > max_pixels:
        raise CaseError(ref, f"{width} x {height} pixels are more than the limit of {max_pixels}. Leave out the case.")
    if picture.mode not in (*GREY, *COLOUR):
        colours = "a palette" if picture.mode in ("P", "PA") else f"mode {picture.mode}"
        raise CaseError(ref, f"a picture must be grey or RGB, but this has {colours}. Convert it to grey.")
    stored = " ".join(str(tile[3]) for tile in getattr(picture, "tile", ()))
    if picture.mode in COLOUR and ";16" in stored:
        raise CaseError(ref, "colour of 16 bits would lose half of them when read. Convert it to grey of 16 bits.")
    if stored.endswith((";2", ";4")):
        raise CaseError(ref, "grey of 2 or 4 bits would be read with other values. Save it with 8 bits.")
    tags = getattr(picture, "tag_v2", {})
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO and tuple(tags.get(BITS_PER_SAMPLE, (1,))) != (8,):
        raise CaseError(ref, "0 is white in this picture (TIFF WhiteIsZero). Save it with 0 as black (BlackIsZero).")
    by_libtiff = any(tile[0] == "libtiff" for tile in getattr(picture, "tile", ()))
    if by_libtiff and picture.mode in ("I", "F") and getattr(tags, "prefix", b"") == BIG_ENDIAN:  # bytes swapped twice
        raise CaseError(ref, "compressed big-endian TIFF of this depth cannot be read. Save it without compression.")
    read = len(picture.getbands())
    if (stored := tags.get(SAMPLES_PER_PIXEL, read)) != read:
        raise CaseError(ref, f"{stored} channels are stored, of which {read} can be read. Save one of them as grey.")
    if "transparency" in picture.info:
        raise CaseError(ref, "one grey value of this picture is transparent. Save it without transparency.")
    pages = getattr(picture, "n_frames", 1)
    if pages != 1:
        raise CaseError(ref, f"one slice a file is needed, but this has {pages} pages. Split it.")
    if tags.get(IMAGE_DEPTH, 1) != 1 or STACKED.search(str(tags.get(DESCRIPTION, ""))):
        raise CaseError(ref, "one slice a file is needed, but this TIFF is a stack in one page. Split it.")
    turned = picture.getexif().get(ORIENTATION, 1)
    if turned != 1:
        raise CaseError(ref, f"the picture is marked as turned (EXIF orientation {turned}). Save it upright.")


def _one_channel(ref: FileRef, pixels: NDArray[np.generic], mode: str, channel: int | None) -> NDArray[np.generic]:
    """Return (rows, columns): the chosen channel, or the only one that there is."""
    if mode.endswith("A") and not (pixels[..., -1] == 255).all():
        raise CaseError(ref, "a picture must be opaque, but this is transparent in places. Save it without alpha.")
    channels = pixels[..., None] if mode in GREY else pixels[..., :-1] if mode.endswith("A") else pixels
    n = channels.shape[-1]
    if channel is not None:
        if not 0 <= channel < n:
            raise CaseError(ref, f"channel {channel} is asked for, but the channels of this picture are 0 to {n - 1}.")
        return channels[..., channel]
    if any((channels[..., i] != channels[..., 0]).any() for i in range(1, n)):
        raise CaseError(ref, f"the {n} channels differ, and none is chosen. Set data.channel, or save one of them.")
    return channels[..., 0]
