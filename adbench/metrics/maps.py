"""Score maps as metrics read them: checked, flat, a cache-sized piece at a time, as integers in the scores' order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from adbench.errors import ScoreError

Maps = tuple[str, np.ndarray, np.ndarray, np.ndarray | None]
"""One or more maps of a subject: its name, scores, lesion, and valid, all of one shape.

Scores are float32, higher = more anomalous; lesion is true where the pixel is anomalous; pixels where valid is false
are counted nowhere, None counts all.
"""
Reread = Callable[[], Iterable[Maps]]
"""Gives the same maps at each call."""
Keys = NDArray[np.int32]
"""Scores as integers in their order, see `ordered`."""

_PIECE = 1 << 17  # scores at a time: all temporaries of a piece fit the second-level cache


def check_scores(scores: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return `scores` as float32 after checking a detector's output.

    Args:
        scores: score maps as the detector gave them.
        shape: the shape they must have, such as (B, 1, H, W).

    Raises:
        ScoreError: wrong shape, or a value that is NaN or infinite as float32.
    """
    scores = np.asarray(scores)
    if scores.shape != tuple(shape):
        raise ScoreError(
            f"Score maps must have the shape {tuple(shape)}; received {scores.shape}. "
            "Return one score for each pixel of each image."
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which is refused below
        scores = scores.astype(np.float32, copy=False)
    finite = np.isfinite(scores)
    if not finite.all():
        raise ScoreError(
            f"Scores must be finite; {int((~finite).sum())} of {scores.size} are not, the first is "
            f"{scores[~finite][0]}. Find where the detector divides by zero or overflows."
        )
    return scores


def pieces(
    subject: str, scores: np.ndarray, lesion: np.ndarray, valid: np.ndarray | None
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Check the maps and give their valid (scores, lesion) flat, a piece at a time.

    Raises:
        ScoreError: shapes differ, or a valid score is NaN or infinite.
    """
    scores, lesion, valid = flat(subject, scores, lesion, valid)
    for start in range(0, scores.size, _PIECE):
        piece = slice(start, start + _PIECE)
        chunk, is_lesion = scores[piece], lesion[piece]
        if valid is not None:
            chunk, is_lesion = chunk[valid[piece]], is_lesion[valid[piece]]
        yield check_scores(chunk, chunk.shape), is_lesion


def flat(
    subject: str, scores: np.ndarray, lesion: np.ndarray, valid: np.ndarray | None
) -> tuple[np.ndarray, NDArray[np.bool_], NDArray[np.bool_] | None]:
    """The maps as vectors in one order of pixels. Raises ScoreError where their shapes differ."""
    scores, lesion = np.asarray(scores), np.asarray(lesion)
    valid = None if valid is None else np.asarray(valid)
    if scores.shape != lesion.shape or (valid is not None and valid.shape != scores.shape):
        shapes = f"{scores.shape}, {lesion.shape}" + ("" if valid is None else f" and {valid.shape}")
        raise ScoreError(
            f"Scores, lesion and valid of a subject must share a shape; subject {subject!r} has {shapes}. "
            "Resample the masks to the score map."
        )
    inside = None if valid is None else valid.reshape(-1).astype(bool, copy=False)
    return scores.reshape(-1), lesion.reshape(-1).astype(bool, copy=False), inside


def ordered(scores: NDArray[np.float32]) -> Keys:
    """Integers in the order of the scores: the bit pattern, with all but the sign flipped below zero."""
    bits = (scores + np.float32(0)).view(np.int32)  # adding zero turns -0.0 into 0.0, so that both tie
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


def value_of(keys: NDArray[np.integer]) -> NDArray[np.float32]:
    """The scores of ordered integers, the inverse of `ordered`."""
    bits = np.asarray(keys).astype(np.int32)
    return (bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))).view(np.float32)
