"""Whole scans: those behind a split's slices, on whose grid results are judged, and new ones to use a model on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Truth:
    """A scan's masks as they were drawn, all (X, Y, Z) bool; axes 0 and 1 span the slices."""

    lesion: NDArray[np.bool_]
    ignore: NDArray[np.bool_] | None
    """Voxels that count neither as lesion nor as wrongly flagged."""
    brain: NDArray[np.bool_] | None
    """The brain or head, where it was asked for."""
    affine: NDArray[np.float64]
    """(4, 4): index -> mm."""


class ScanView(ABC):
    """One scan, and the images of a split that are slices of it."""

    def __init__(self, subject: str, source: str, images: NDArray[np.intp], sized: bool = True) -> None:
        self.subject = subject
        self.source = source
        """Name of its file."""
        self.images = images
        """(n,) indices in the split, in the order of the maps that `back` takes."""
        self.sized = sized
        """Whether its voxels are known in mm: others give thresholds, and are not judged."""

    @abstractmethod
    def truth(self, with_brain: bool = False) -> Truth:
        """Read its masks. Raises DataError where a file cannot be read any more."""

    @abstractmethod
    def back(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring maps (n, 1, H, W) to the grid of `truth`, linear in the plane; -inf where no image shows a voxel."""

    @abstractmethod
    def fractions(self, lesion: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return which part of each pixel a mask (X, Y, Z) covers, (n, 1, H, W) in [0, 1]: the perfect map."""


Traits = Mapping[str, float | str]
"""What a scan is like, by name; what is not known is left out."""


@dataclass(frozen=True)
class Preparation:
    """How a dataset makes images of scans: a trained model is used where this is as it was in training."""

    version: str
    """Raised when the same scan would give other images."""
    steps: Sequence[str]
    """In words, in their order."""


@dataclass(frozen=True)
class NewScan:
    """A scan of a user's own that was found, and not read yet."""

    name: str
    """Of what is written about it: it holds nothing of the person that the user did not put into the file's name."""
    files: Sequence[Path]
    source: Any
    """What the dataset that found it reads."""
    candidate: str | None = None
    """What tells it from others in its folder, in words; None: it is meant by being there."""
    bids: str | None = None
    """Its path in a BIDS dataset without suffix and ending, such as sub-01/anat/sub-01_acq-3d; None: in none."""


@dataclass(frozen=True)
class PreparedScan:
    """A new scan as a detector sees it, and the way back."""

    images: NDArray[np.float32]
    """(n, 1, H, W) in [0, 1], made as those that were trained on."""
    brains: NDArray[np.bool_]
    """(n, 1, H, W): the brain or head in them."""
    view: ScanView
    slices: Sequence[int]
    """(n,) which slice of the scan each image is, from 0, on the grid of `view.truth()`."""
    anatomy: NDArray[np.float32]
    """The scan on the grid of `view.truth()`."""
    stored: Callable[[NDArray[Any]], Any]
    """From an array on that grid to a nibabel image on the grid of the scan's own file."""
    traits: Traits
    cautions: Sequence[str] = ()
    """What should be known of how it was read."""
