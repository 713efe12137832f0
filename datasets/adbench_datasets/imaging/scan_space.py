"""Maps of slices back on the grid of the scan that they were cut from, as NIfTI."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from adbench.contracts.splits import Split
from adbench.errors import DataError
from adbench_datasets.imaging.placement import Placement, as_stored, restore


def to_nifti(maps: NDArray[np.float32], split: Split, source: str, placement: Placement) -> nib.Nifti1Image:
    """Return the maps (N, 1, size, size) of a split's slices of one scan, with that scan's shape and affine.

    `source` and `placement` are the scan's, of `ScanDataset.prepared().placements()`. Slices that the split does not
    have are 0.

    Raises:
        DataError: there are not as many maps as slices, or the split has no slice of the scan.
    """
    if len(maps) != len(split):
        raise DataError(f"Each of {len(split)} slices needs a map, got {len(maps)}.")
    named = [source.rpartition("[") for source in split.sources]
    mine = [i for i, (name, _, _) in enumerate(named) if name == source]
    if not mine:
        raise DataError(f"The split has no slice of {source}: name a scan that is in it, as split.sources does.")
    z = [int(named[i][2].removesuffix("]")) for i in mine]
    volume = as_stored(restore(maps[mine], placement, z), placement)
    return nib.Nifti1Image(volume.reshape(placement.source_shape), np.array(placement.source_affine))
