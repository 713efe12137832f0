"""A user's own images in each of the layouts that `folder` reads, written to a folder for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from head_files import (
    SHAPE,
    STORES,
    Head,
    heads,
    picture,
    write_csv,
    write_nifti,
    write_picture,
)


def make_folder(root: Path, release: str = "folders", suffix: str = "nii.gz") -> dict[str, Head]:
    """`folders`, `csv` or `bids`; `suffix` is nii.gz, nii, png, jpg, tif. Subjects s0-s3 are clean."""
    made = {}
    rows = []
    for i, h in enumerate(heads(8, clean=range(4))):
        split = ("train", "train", "train", "val", "test", "test", "test", "test")[i]
        name = f"s{i}.{suffix}"
        where = root / split / "images" if split == "test" else root / split
        lesions = root / "test" / "lesions"
        if release == "bids":
            stem = f"sub-{i:02d}"
            write_nifti(root / stem / "anat" / f"{stem}_FLAIR.nii.gz", h.image, STORES[i % 2])
            if i >= 4:
                mask = root / "derivatives" / "manual" / stem / "anat" / f"{stem}_label-lesion_mask.nii.gz"
                write_nifti(mask, h.lesion, STORES[i % 2], "u1")
        elif suffix.startswith("nii"):
            write_nifti(where / name, h.image)
            if split == "test":
                write_nifti(lesions / name, h.lesion, dtype="u1")
        else:
            middle = int(h.lesion.sum((0, 1)).argmax()) if i >= 4 else SHAPE[2] // 2
            write_picture(where / name, picture((h.image[..., middle] / 4).astype(np.uint8)))
            if split == "test":
                pixels = picture(h.lesion[..., middle]).astype(np.uint8) * 255
                write_picture(lesions / f"s{i}.{'png' if suffix == 'jpg' else suffix}", pixels)
        mask_name = f"test/lesions/{f's{i}.png' if suffix == 'jpg' else name}" if split == "test" else ""
        inside = (where / name).relative_to(root).as_posix()
        rows.append({"image": inside, "lesion": mask_name, "brain": "", "subject": f"s{i}", "split": split})
        made[f"sub-{i:02d}" if release == "bids" else f"s{i}"] = h
    if release == "csv":
        write_csv(root / "cases.csv", rows, encoding="utf-8-sig")
    if release == "bids":
        (root / "dataset_description.json").write_text('{"Name": "mine", "BIDSVersion": "1.9.0"}')
    return made
