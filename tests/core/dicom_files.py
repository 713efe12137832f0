"""DICOM series of a volume, written by pydicom and by SimpleITK as scanners' files are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERSON = "Doe^Jane"
PERSON_ID = "ID-4711"
Change = Callable[[int, Any], None]
"""Changes the dataset of a slice, given its number."""


def write_series(
    folder: Path,
    values: NDArray[np.int16],
    affine: NDArray[np.float64],
    change: Change | None = None,
    uid: str = "1.2.3",
) -> Path:
    """Write (X, Y, Z) on a grid along right, front and up, slices in a shuffled order of names and numbers."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    turned = values[::-1, ::-1]
    first = affine @ [values.shape[0] - 1, values.shape[1] - 1, 0, 1]  # the voxel at the corner of the turned volume
    sizes = np.diag(affine)[:3]
    order = np.random.default_rng(0).permutation(values.shape[2])
    for k in range(values.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        data.PatientName, data.PatientID = PERSON, PERSON_ID
        data.Modality, data.SeriesInstanceUID, data.InstanceNumber = "MR", uid, int(order[k]) + 1
        data.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [-first[0], -first[1], first[2] + k * sizes[2]]
        data.PixelSpacing, data.SliceThickness = [sizes[1], sizes[0]], sizes[2]
        data.Rows, data.Columns = values.shape[1], values.shape[0]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept = (1, 0) if k % 2 else (0.5, 10)  # each slice has its own
        stored = turned[..., k] if k % 2 else (turned[..., k] - 10) * 2
        data.PixelData = np.ascontiguousarray(stored.T).astype("<i2").tobytes()
        if change:
            change(k, data)
        data.save_as(folder / f"{order[k]:03d}", enforce_file_format=True)
    return folder


def write_as_stored(folder: Path, image: Any) -> Path:
    """Write a nibabel image as a series whose slices are those of its third axis, wherever its axes point."""
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    sizes = np.linalg.norm(to_lps[:3, :3], axis=0)
    across, down, up = (to_lps[:3, axis] / sizes[axis] for axis in range(3))
    values = np.asanyarray(image.dataobj)

    def turned(k: int, data: Any) -> None:
        data.ImageOrientationPatient = [f"{cosine:.10f}" for cosine in (*across, *down)]
        data.ImagePositionPatient = [f"{mm:.8f}" for mm in to_lps[:3, 3] + k * sizes[2] * up]
        data.PixelSpacing = [f"{mm:.8f}" for mm in (sizes[1], sizes[0])]
        data.RescaleSlope, data.RescaleIntercept = 1, 0
        data.PixelData = np.ascontiguousarray(values[..., k].T).astype("<i2").tobytes()

    return write_series(folder, values, np.diag([*sizes, 1.0]), turned)


def write_by_itk(folder: Path, nifti: Path) -> Path:
    """Write a NIfTI file as a series by SimpleITK."""
    import SimpleITK

    folder.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.Cast(SimpleITK.ReadImage(str(nifti)), SimpleITK.sitkInt16)
    direction = image.GetDirection()
    cosines = [direction[i] for i in (0, 3, 6, 1, 4, 7)]
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(image.GetDepth()):
        piece = image[:, :, k]
        place = image.TransformIndexToPhysicalPoint((0, 0, k))
        tags = {
            "0008|0060": "MR",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.2",
        }
        tags |= {"0020|0037": "\\".join(map(str, cosines)), "0020|0032": "\\".join(map(str, place))}
        tags |= {"0020|0013": str(k), "0010|0010": PERSON, "0008|0008": "DERIVED\\SECONDARY"}
        for tag, value in tags.items():
            piece.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{image.GetDepth() - k}.dcm"))
        writer.Execute(piece)
    return folder
