"""Tiny copies of the CT sets in the layouts in which they are distributed, written to a folder for tests.

Each `make_<dataset>(root, release=...)` returns what it wrote by subject: canonical (RAS+) arrays to compare a reading
with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from head_files import (
    SHAPE,
    STORES,
    Head,
    Store,
    head,
    heads,
    picture,
    write_csv,
    write_nifti,
    write_picture,
)


def make_bleeds(root: Path, release: str = "folders", n: int = 6, clean: Sequence[int] = (4, 5)) -> dict[str, Head]:
    """CROMIS, KCH, CHRONIC: `folders` (images/, masks/, same names) or `csv` (a clean scan has no mask and says so)."""
    made, rows = {}, []
    for i, h in enumerate(heads(n, ct=True, clean=clean)):
        store = STORES[i % len(STORES)]
        name = f"Subjekt {i} ä.nii.gz" if i == 1 else f"s{i}.nii" if i == 2 else f"s{i}.nii.gz"
        write_nifti(root / "images" / name, h.image, store)
        bleeds = i not in clean
        if bleeds:
            write_nifti(root / "masks" / name, h.lesion, Store(store.axes), "u1")
        split = ("test" if i % 2 else "train") if bleeds else "train"
        mask = f"masks/{name}" if bleeds else ""
        rows.append({"image": f"images/{name}", "mask": mask, "subject": f"p{i}", "split": split})
        made[f"p{i}" if release == "csv" else name.removesuffix(".gz").removesuffix(".nii")] = h
    if release == "csv":
        write_csv(root / "cases.csv", rows)
    return made


CT_ICH_ROOT = "computed-tomography-images-for-intracranial-hemorrhage-detection-and-segmentation-"


def make_ct_ich(root: Path, release: str = "1.3.1", n: int = 4) -> dict[str, Head]:
    """1.0.0 or 1.2.0 (JPEG), 1.3.1 (NIfTI); patients 49, 50, 58, 66 (59-65 do not exist), the last without a bleed."""
    place = root / f"{CT_ICH_ROOT}{release}"
    made, rows = {}, []
    for number, h in zip((49, 50, 58, 66), heads(n, ct=True, clean=[n - 1]), strict=True):
        if release < "1.3":
            h = _write_jpegs(place / "Patients_CT" / f"{number:03d}", h)
        else:
            write_nifti(place / "ct_scans" / f"{number:03d}.nii", h.image, Store("LAS"), "i2")
            write_nifti(place / "masks" / f"{number:03d}.nii", 255 * h.lesion, Store("LAS"), "u1")
        for z in range(SHAPE[2]):
            bleeds = bool(h.lesion[..., z].any())
            kinds = {"Intraventricular": 0, "Intraparenchymal": int(bleeds), "Subarachnoid": 0, "Epidural": 0}
            rest = {"Subdural": 0, "No_Hemorrhage": int(not bleeds), "Fracture_Yes_No": 0}
            rows.append({"PatientNumber": number, "SliceNumber": z + 1, **kinds, **rest})
        made[f"ct-ich/{number:03d}"] = h
    name = "hemorrhage_diagnosis.csv" if release < "1.3" else "hemorrhage_diagnosis_raw_ct.csv"
    write_csv(place / name, rows)
    return made


def _write_jpegs(folder: Path, h: Head) -> Head:
    """Brain and bone windows of every slice, a mask of bleeding ones; return what the brain window shows."""
    grey = np.clip((h.image + 20) / 120 * 255, 0, 255).astype(np.uint8)
    for z in range(SHAPE[2]):
        write_picture(folder / "brain" / f"{z + 1}.jpg", picture(grey[..., z]), quality=95)
        write_picture(folder / "bone" / f"{z + 1}.jpg", picture(grey[..., z] // 4))
        if h.lesion[..., z].any():
            mask = picture(h.lesion[..., z]).astype(np.uint8) * 255
            write_picture(folder / "brain" / f"{z + 1}_HGE_Seg.jpg", mask, quality=95)
    return Head(grey.astype(np.float32), h.lesion, h.brain, h.other)


def make_instance22(root: Path, release: str = "train", n: int = 4) -> dict[str, Head]:
    """`<release>/data/001.nii.gz`, `<release>/label/001.nii.gz`, and an `evaluation` folder without labels."""
    made = {}
    for i, h in enumerate(heads(n, ct=True), start=1):
        write_nifti(root / release / "data" / f"{i:03d}.nii.gz", h.image, Store("LPS"), "i2")
        write_nifti(root / release / "label" / f"{i:03d}.nii.gz", h.lesion, Store("LPS"), "u1")
        made[f"instance22/{i:03d}"] = h
    write_nifti(root / "evaluation" / "data" / "101.nii.gz", head(100, ct=True).image)
    return made


def make_bhsd(root: Path, release: str = "label_192", n: int = 5) -> dict[str, Head]:
    """`label_192` (images, ground truths) or `nnunet` (imagesTr, labelsTr, imagesTs, labelsTs); labels 1 to 5."""
    made = {}
    for i, h in enumerate(heads(n, ct=True)):
        name = f"ID_0237f3c{i // 2 * 2}_ID_40015688b{i}.nii.gz"  # two scans of each patient
        images, masks = root / release / "images", root / release / "ground truths"
        if release == "nnunet":
            part = "Tr" if i < 2 else "Ts"
            images, masks = root / f"images{part}", root / f"labels{part}"
        write_nifti(images / name, h.image, Store("LPS"), "i2")
        labels = np.where(h.lesion, 1 + i % 5, 0)
        write_nifti(masks / name, labels, Store("LPS"), "u1")
        made["bhsd/" + name.removesuffix(".nii.gz").replace("_ID_", " ID_")] = h
    return made
