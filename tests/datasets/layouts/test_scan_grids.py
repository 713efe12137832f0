"""Score maps and masks of slices on the scans own grid."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from adbench_datasets.imaging.placement import restore
from adbench_datasets.imaging.scan_space import to_nifti
from toy_scans import LESION, N, make

from adbench.errors import DataError


def test_maps_of_a_split_become_nifti_on_the_scan_s_own_grid(root, kept):
    dataset = make(root, cache=kept, min_area_fraction=0)
    test, placements = dataset.load().test, dataset.prepared().placements()
    for subject in set(test.subjects):
        source = subject.removeprefix("toy/") + ".nii"
        truth = nib.load(root / source.replace(".nii", "_mask.nii"))
        image = to_nifti(test.lesions.astype(np.float32), test, source, placements[source])
        assert (image.affine == truth.affine).all()
        assert (image.get_fdata() == truth.get_fdata()).all()
    other = next(source for source in placements if f"toy/{source.removesuffix('.nii')}" not in test.subjects)
    with pytest.raises(DataError, match=f"no slice of {other}"):
        to_nifti(test.images, test, other, placements[other])
    with pytest.raises(DataError, match="needs a map, got 1"):
        to_nifti(test.images[:1], test, other, placements[other])


def test_masks_of_the_test_split_go_back_to_their_scans(root, kept):
    dataset = make(root, cache=kept, min_area_fraction=0)
    placements, test = dataset.prepared().placements(), dataset.load_test()
    for name, placement in placements.items():
        mine = [f"{name}[{z}]" for z in placement.z]
        if set(mine) <= set(test.sources):
            maps = np.stack([test.lesions[test.sources.index(source)] for source in mine])
            i = int(name.removesuffix(".nii")[1:])
            assert (restore(maps.astype(np.float32), placement) == np.roll(LESION, i % 2, 2)).all()
    assert len(placements) == N


def test_the_scans_of_a_split_have_the_masks_as_they_were_drawn_and_all_its_slices(root, kept):
    dataset = make(root, cache=kept)
    split = dataset.load_test()
    scans = dataset.scans(split)
    assert [scan.source for scan in scans] == sorted(f"s{i}.nii" for i in range(N))
    assert sorted(i for scan in scans for i in scan.images) == list(range(len(split)))
    for scan in (scans[0], scans[-1]):
        drawn = np.asarray(nib.load(root / scan.source.replace(".nii", "_mask.nii")).dataobj) > 0
        truth = scan.truth()
        assert scan.subject == f"toy/{scan.source.removesuffix('.nii')}"
        assert np.array_equal(truth.lesion, drawn)
        back = scan.back(split.lesions[scan.images].astype(np.float32))
        seen = np.isfinite(back)
        assert np.array_equal(back[seen] > 0.5, drawn[seen]), "pixels are kept as stored"
    healthy, _ = dataset.load_healthy()
    assert {scan.subject for scan in dataset.scans(healthy)} == set(healthy.subjects)


def test_scans_without_a_voxel_size_say_so(root, kept, monkeypatch):
    dataset = make(root, cache=kept)
    split = dataset.load_test()
    for case in dataset.prepared().cases[1:]:
        monkeypatch.setitem(case["facts"], "spacing_mm", None)
    sized = [scan.source for scan in dataset.scans(split) if scan.sized]
    assert sized == [dataset.prepared().cases[0]["source"]]
