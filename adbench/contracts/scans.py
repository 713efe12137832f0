"""The whole scans behind a split's slices: where results are judged on the grid, and against the mask, of the scan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

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
