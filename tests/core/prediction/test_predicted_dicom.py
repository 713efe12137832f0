"""A DICOM series gives the map of its NIfTI form, in any plane, and slices that it lacks are missed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import write_as_stored, write_by_itk, write_series
from heads import affine, head, image
from scipy.spatial.transform import Rotation


@pytest.mark.parametrize("written_by", ["pydicom", "SimpleITK"])
def test_a_dicom_series_gives_the_map_of_its_nifti_form(written_by, model, trained, tmp_path):
    folder = tmp_path / "series"
    if written_by == "pydicom":
        write_series(folder, head(100, lesion=True), affine())
    else:
        write_by_itk(folder, trained.patient)
    found, expected = model.predict(folder).scores, model.predict(trained.patient).scores
    assert np.allclose(nib.as_closest_canonical(found).affine, expected.affine, atol=1e-4)
    assert np.array_equal(nib.as_closest_canonical(found).get_fdata(), expected.get_fdata())


TURN = Rotation.from_euler("xyz", (12, -7, 9), degrees=True).as_matrix()


@pytest.mark.parametrize("written_by", ["pydicom", "SimpleITK"])
@pytest.mark.parametrize("axes", ["LPS", "PIR", "LIA"], ids=["axial", "sagittal", "coronal"])
@pytest.mark.parametrize("turn", [np.eye(3), TURN], ids=["straight", "oblique"])
def test_slices_of_any_plane_give_the_map_of_their_nifti_form(turn, axes, written_by, model, tmp_path):
    made = image(head(100, lesion=True))
    made = nib.Nifti1Image(np.asanyarray(made.dataobj), nib.affines.from_matvec(turn @ made.affine[:3, :3], [5, 7, -9]))
    wanted = nib.orientations.axcodes2ornt(axes)
    stored = made.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(made.affine), wanted))
    nib.save(stored, tmp_path / "scan.nii.gz")
    if written_by == "pydicom":
        write_as_stored(tmp_path / "series", stored)
    else:
        write_by_itk(tmp_path / "series", tmp_path / "scan.nii.gz")
    (series,) = model.find([tmp_path / "series"])
    assert {"LPS": "axial", "PIR": "sagittal", "LIA": "coronal"}[axes] in (series.candidate or "")
    of_series, of_nifti = (model.predict(tmp_path / name).scores for name in ("series", "scan.nii.gz"))
    found, expected = map(nib.as_closest_canonical, (of_series, of_nifti))
    assert np.allclose(found.affine, expected.affine, atol=1e-4)
    assert np.allclose(found.get_fdata(), expected.get_fdata(), rtol=0, atol=1e-4 * np.ptp(expected.get_fdata()))


def numbered(**said: int) -> Callable[[int, Any], None]:
    """Slices that are numbered from the lowest on, and say how many there are."""

    def change(k: int, made: Any) -> None:
        for tag, value in {"InstanceNumber": k + 1, **said}.items():
            setattr(made, tag, value)

    return change


@pytest.mark.parametrize(
    ("kept", "change", "said"),
    [
        (slice(None), None, None),
        (slice(3, None), numbered(), "numbered up to {n}"),
        (slice(0, None, 2), numbered(), "numbered up to {n}"),
        (slice(0, -3), numbered(), None),
        (slice(0, -3), numbered(ImagesInAcquisition=99), "say that there are 99 images"),
        (slice(0, -3), numbered(NumberOfSlices=99), "say that there are 99 images"),
    ],
)
def test_slices_that_no_gap_shows_are_missed_by_the_counts_of_a_series(kept, change, said, model, tmp_path):
    values = head(100)
    n = values.shape[2] - 1 if kept.step else values.shape[2]
    write_series(tmp_path / "series", values, affine(), change)
    places = {path: pydicom.dcmread(path).ImagePositionPatient[2] for path in (tmp_path / "series").iterdir()}
    for path in set(places) - set(sorted(places, key=places.get)[kept]):
        path.unlink()
    (scan,) = model.find([tmp_path / "series"])
    warned = [text for text in model.predict_scan(scan).report.warnings if "may be missing" in text]
    assert [said.format(n=n) in text for text in warned] == [True] if said else not warned
