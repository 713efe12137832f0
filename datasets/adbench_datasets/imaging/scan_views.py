"""Scans as the judge of volumes sees them: maps of slices back on the canonical grid, beside the masks as drawn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adbench.contracts.scans import ScanView, Truth
from adbench.contracts.splits import Split
from adbench.errors import DataError
from adbench_datasets.imaging.cases import Scan
from adbench_datasets.imaging.placement import Placement, axial, back_weights
from adbench_datasets.imaging.region import Units, region_of

Read = Callable[[], tuple[Scan, Units]]


@dataclass(frozen=True)
class Packed:
    """Masks as bits."""

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    lesion: NDArray[np.uint8]
    ignore: NDArray[np.uint8] | None
    brain: NDArray[np.uint8] | None

    @classmethod
    def of(cls, truth: Truth) -> Packed:
        ignore, brain = (None if mask is None else np.packbits(mask) for mask in (truth.ignore, truth.brain))
        return cls(truth.lesion.shape, truth.affine, np.packbits(truth.lesion), ignore, brain)

    def truth(self) -> Truth:
        ignore, brain = (None if bits is None else self._mask(bits) for bits in (self.ignore, self.brain))
        return Truth(self._mask(self.lesion), ignore, brain, self.affine)

    def _mask(self, bits: NDArray[np.uint8]) -> NDArray[np.bool_]:
        return np.unpackbits(bits, count=int(np.prod(self.shape))).reshape(self.shape).astype(bool)


class SlicedScan(ScanView):
    """A scan that `preprocessing.prepare` cut into slices."""

    def __init__(
        self,
        subject: str,
        source: str,
        images: NDArray[np.intp],
        z: Sequence[int],
        placement: Placement,
        read: Read,
        sized: bool,
    ) -> None:
        super().__init__(subject, source, images, sized)
        self._z, self._placement, self._read = z, placement, read
        self._kept: dict[bool, Packed] = {}

    def truth(self, with_brain: bool = False) -> Truth:
        """Masks are read once and kept, an eighth of a byte a voxel: metrics read scores several times."""
        if with_brain not in self._kept:
            self._kept[with_brain] = Packed.of(self._truth(with_brain))
        return self._kept[with_brain].truth()

    def _truth(self, with_brain: bool) -> Truth:
        scan, units = self._read()
        if scan.image.shape != self._placement.shape:
            raise DataError(
                f"{self.source} has the shape {scan.image.shape}, but had {self._placement.shape} when it was cut into "
                "slices: it has changed meanwhile. Run the command again."
            )
        lesion = np.zeros(scan.image.shape, bool) if scan.lesion is None else scan.lesion
        return Truth(lesion, scan.ignore, region_of(scan, units) if with_brain else None, scan.affine)

    def back(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """In double precision, so that equal scores stay equal: rounded weights would order them anew."""
        ys, xs = (np.flatnonzero(self._inside(axis)) for axis in (0, 1))
        rows, columns = (back_weights(self._placement, axis)[at].astype(np.float64) for axis, at in enumerate((ys, xs)))
        rows, columns = (weights / weights.sum(axis=1, keepdims=True) for weights in (rows, columns))
        volume = np.full(self._placement.shape, -np.inf, np.float32)
        for k, scores in zip(self._z, maps[:, 0], strict=True):
            axial(volume, k)[np.ix_(ys, xs)] = rows @ scores @ columns.T
        return volume

    def _inside(self, axis: int) -> NDArray[np.bool_]:
        """Which rows (axis 0) or columns (1) of a source slice have their centre within the square, (n,)."""
        n = self._placement.shape[1 - axis]
        at = (np.arange(n) - self._placement.centre[axis]) / self._placement.step[axis] + (self._placement.size - 1) / 2
        return np.asarray((at >= -0.5) & (at <= self._placement.size - 0.5))

    def fractions(self, lesion: NDArray[np.bool_]) -> NDArray[np.float32]:
        rows, columns = (self._overlap(axis) for axis in (0, 1))
        parts = [rows @ axial(lesion, k).astype(np.float32) @ columns.T for k in self._z]
        return np.stack(parts)[:, None]

    def _overlap(self, axis: int) -> NDArray[np.float32]:
        """Which part of each output row (axis 0) or column (1) each of the source covers, (size, n)."""
        middle, half = self._placement.positions(axis)[:, None], self._placement.step[axis] / 2
        source = np.arange(self._placement.shape[1 - axis])[None]
        covered = np.minimum(middle + half, source + 0.5) - np.maximum(middle - half, source - 0.5)
        return np.asarray(np.clip(covered, 0, None) / (2 * half), np.float32)


def views(
    split: Split, placements: Mapping[str, Placement], read: Callable[[str], tuple[Scan, Units]], sized: Collection[str]
) -> list[SlicedScan]:
    """Return the scans of a split in the order of their names; `placements` and `read` are by source.

    `sized` are the sources whose voxel sizes are known.
    """
    named = [source.rpartition("[") for source in split.sources]
    images: dict[str, list[int]] = {}
    for i, (source, _, _) in enumerate(named):
        images.setdefault(source, []).append(i)

    def view(source: str) -> SlicedScan:
        mine = images[source]
        z = [int(named[i][2].removesuffix("]")) for i in mine]
        subject = split.subjects[mine[0]]
        return SlicedScan(subject, source, np.array(mine), z, placements[source], lambda: read(source), source in sized)

    return [view(source) for source in sorted(images)]
