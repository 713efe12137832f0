"""Images with their truth: a sample, a split, and the three splits of a dataset."""

from __future__ import annotations

import hashlib
import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adbench.errors import DataError


@dataclass(frozen=True)
class Sample:
    """One image with its truth; every array is (1, H, W)."""

    image: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    brain: NDArray[np.bool_] | None
    subject: str
    ignore: NDArray[np.bool_] | None = None


UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
"""Of no category of their own: Unicode's Default_Ignorable_Code_Point, and the blank of Braille."""


def unseen(name: str) -> str:
    """The characters of a name that no screen shows: control, zero-width and others that leave no mark."""
    return "".join(c for c in name if UNSEEN.match(c) or unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp"))


def same_name(name: str) -> str:
    """What two spellings of a name share: compatible Unicode, without case, doubled spaces, and what is not seen."""
    hidden = set(unseen(name)) - set(string.whitespace)
    seen = "".join(c for c in name if c not in hidden)
    folded = unicodedata.normalize("NFKC", seen).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def content_hash(image: NDArray[Any]) -> str:
    """SHA-256 (hex) of an array's dtype, shape and bytes."""
    digest = hashlib.sha256(f"{image.dtype.str}{image.shape}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def _stack_hash(stack: NDArray[Any] | None) -> str:
    """SHA-256 (hex) of a stack, read in chunks since it may be memory-mapped; "-" where there is none."""
    if stack is None:
        return "-"
    digest = hashlib.sha256(f"{stack.dtype.str}{stack.shape}".encode())
    for start in range(0, len(stack), 256):
        digest.update(np.ascontiguousarray(stack[start : start + 256]).data)
    return digest.hexdigest()


def calibration_subjects(subjects: Iterable[str]) -> set[str]:
    """Half of the subjects (one more where their number is odd), every second by the hash of its name.

    On healthy validation images of this half a method calibrates its own limits; development and tuning see no others.
    """
    return set(sorted(set(subjects), key=lambda name: hashlib.sha256(name.encode()).digest())[::2])


@dataclass(frozen=True)
class Split:
    """A stack of images and, for test data, their truth.

    images: (N, 1, H, W) float32 in [0, 1]. lesions, brains, ignores: (N, 1, H, W) bool, or None where the split is
    healthy or the set has none. subjects: N names, several images may share one. hashes: N content hashes of the
    *source* images (before any synthetic lesion), by which leakage between splits is found.
    """

    images: NDArray[np.float32]
    subjects: Sequence[str]
    hashes: Sequence[str]
    lesions: NDArray[np.bool_] | None = None
    brains: NDArray[np.bool_] | None = None
    ignores: NDArray[np.bool_] | None = None
    image_level_only: NDArray[np.bool_] | None = None
    """(N,) bool: clean images that stand beside the others for image-level scores and leave the pixel metrics."""
    sources: Sequence[str] = ()
    """N names of the files (and slices) that the images came from, for messages; or none."""
    scans: Sequence[str] = ()
    """N content hashes of the whole scans that the images are slices of, or none: a scan may not be in two splits
    even where its slices are told apart, such as healthy ones to train on from those with a lesion."""

    def __post_init__(self) -> None:
        n = len(self.images)
        if self.images.ndim != 4 or self.images.shape[1] != 1 or self.images.dtype != np.float32:
            raise DataError(
                f"Images must be a float32 stack (N, 1, H, W), got {self.images.dtype} {self.images.shape}."
            )
        if len(self.subjects) != n or len(self.hashes) != n:
            raise DataError(
                f"Each of {n} images needs a subject and a hash, got {len(self.subjects)} and {len(self.hashes)}."
            )
        for name in ("sources", "scans"):
            given = getattr(self, name)
            if given and len(given) != n:
                raise DataError(f"{name} must be {n}, one an image, or none, got {len(given)}.")
        for name in ("lesions", "brains", "ignores"):
            array = getattr(self, name)
            if array is not None and (array.shape != self.images.shape or array.dtype != np.bool_):
                raise DataError(
                    f"{name} must be bool {self.images.shape} like the images, got {array.dtype} {array.shape}."
                )
        only = self.image_level_only
        if only is not None and (only.shape != (n,) or only.dtype != np.bool_):
            raise DataError(f"image_level_only must be bool ({n},), one an image, got {only.dtype} {only.shape}.")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        def at(stack: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
            return None if stack is None else stack[index]

        lesion = at(self.lesions)
        return Sample(
            image=self.images[index],
            lesion=np.zeros(self.images.shape[1:], bool) if lesion is None else lesion,
            brain=at(self.brains),
            subject=self.subjects[index],
            ignore=at(self.ignores),
        )

    def take(self, which: slice | NDArray[np.intp]) -> Split:
        """Some of the images, with all that belongs to them; nothing is copied where they follow one another."""
        if not isinstance(which, slice) and len(which) and (np.diff(which) == 1).all():
            which = slice(int(which[0]), int(which[-1]) + 1)

        def of(stack: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
            return None if stack is None else stack[which]

        index = np.arange(len(self))[which]
        return Split(
            images=self.images[which],
            subjects=[self.subjects[i] for i in index],
            hashes=[self.hashes[i] for i in index],
            lesions=of(self.lesions),
            brains=of(self.brains),
            ignores=of(self.ignores),
            image_level_only=of(self.image_level_only),
            sources=[self.sources[i] for i in index] if self.sources else (),
            scans=[self.scans[i] for i in index] if self.scans else (),
        )

    def pixel_level(self) -> Split:
        """The images that count for pixel metrics."""
        if self.image_level_only is None or not self.image_level_only.any():
            return self
        return self.take(np.flatnonzero(~self.image_level_only))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all pixels, masks and subjects, 16 hex digits: two splits are equal where these are."""
        masks = (self.lesions, self.brains, self.ignores, self.image_level_only)
        parts = [self.image_fingerprint, *self.subjects, *map(_stack_hash, masks)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    @cached_property
    def image_fingerprint(self) -> str:
        """SHA-256 over the pixels alone, 16 hex digits: trained parts depend on nothing else."""
        return _stack_hash(self.images)[:16]


@dataclass(frozen=True)
class Splits:
    """Healthy training and validation images, and test images with lesions (and clean ones beside them)."""

    train: Split
    validation: Split
    test: Split

    def items(self) -> tuple[tuple[str, Split], ...]:
        return (("train", self.train), ("validation", self.validation), ("test", self.test))

    @cached_property
    def fingerprint(self) -> str:
        """One hash of all three splits, 16 hex digits."""
        return hashlib.sha256("".join(s.fingerprint for _, s in self.items()).encode()).hexdigest()[:16]

    def manifest(self) -> dict[str, dict[str, str]]:
        """Split -> image key (`subject`, or `subject#i` where a subject has several) -> source content hash."""
        return {name: _named_hashes(split) for name, split in self.items()}

    def check(self, tested: bool = True) -> None:
        """Raise DataError where a split is empty, a healthy split holds lesions, or two splits share data.

        Where nothing is `tested`, the test split may be empty.
        """
        for name, split in self.items():
            if len(split) == 0 and (tested or name != "test"):
                raise DataError(f"Every split needs at least one image, but {name} is empty: add data.")
        for name, split in (("train", self.train), ("validation", self.validation)):
            if split.lesions is not None and bool(np.any(split.lesions)):
                raise DataError(f"The {name} split must be healthy, but it holds lesion pixels.")
        if tested and (self.test.lesions is None or not bool(np.any(self.test.lesions))):
            raise DataError("The test split must hold at least one lesion pixel, but it has none.")
        _check_disjoint("subject", self.items(), lambda split: split.subjects)
        _check_disjoint("image content", self.items(), lambda split: split.hashes)
        _check_disjoint("scan content", self.items(), lambda split: split.scans)


def _named_hashes(split: Split) -> dict[str, str]:
    named: dict[str, str] = {}
    for i, (subject, digest) in enumerate(zip(split.subjects, split.hashes, strict=True)):
        named[subject if subject not in named else f"{subject}#{i}"] = digest
    return named


def _check_disjoint(what: str, splits: Sequence[tuple[str, Split]], names_of: Callable[[Split], Sequence[str]]) -> None:
    """Raise DataError where two splits share a name, saying the files where they are known."""
    owner: dict[str, tuple[str, str, str]] = {}
    for name, split in splits:
        for i, value in enumerate(names_of(split)):
            source = f" ({split.sources[i]})" if split.sources else ""
            first, first_source, spelt = owner.setdefault(same_name(value), (name, source, value))
            if first != name:
                other = "" if spelt == value else f" as {value!a}"
                raise DataError(
                    f"Splits must not overlap, but {what} {spelt!r} is in both {first}{first_source} and "
                    f"{name}{source}{other}. Remove it from one of them."
                )
