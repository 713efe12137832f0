"""Tiny copies of the MRI sets in the layouts in which they are distributed, written to a folder for tests.

Each `make_<dataset>(root, release=...)` returns what it wrote by subject: canonical (RAS+) arrays to compare a reading
with.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from head_files import (
    SHAPE,
    STORES,
    Head,
    Store,
    gzipped,
    head,
    heads,
    nifti,
    picture,
    write_csv,
    write_nifti,
    write_picture,
)
from numpy.typing import NDArray


def make_tcga_lgg(root: Path, release: str = "kaggle", n: int = 5) -> dict[str, Head]:
    """`kaggle_3m/TCGA_..._<date>/..._<n>.tif` (FLAIR in channel 1) with a mask each; the last subject has no tumour."""
    made = {}
    for i, h in enumerate(heads(n, clean=[n - 1])):
        subject = f"TCGA_{'CS' if i % 2 else 'DU'}_{4941 + i}"
        folder = root / "kaggle_3m" / f"{subject}_1996090{i}"
        grey = (h.image / 4).astype(np.uint8)
        for z in range(SHAPE[2]):
            flair = picture(grey[..., z])
            rgb = np.stack([flair // 3, flair, flair // 2], axis=-1)
            write_picture(folder / f"{folder.name}_{z + 1}.tif", rgb)
            mask = picture(h.lesion[..., z]).astype(np.uint8) * 255
            write_picture(folder / f"{folder.name}_{z + 1}_mask.tif", mask)
        made[f"tcga/{subject.removeprefix('TCGA_')}"] = Head(grey.astype(np.float32), h.lesion, h.brain, h.other)
    write_csv(root / "kaggle_3m" / "data.csv", [{"Patient": "TCGA_CS_4941", "age": 67}])
    (root / "kaggle_3m" / "README.md").write_text("LGG segmentation dataset")
    return made


BRATS_PLACES = {
    "2018": "MICCAI_BraTS_2018_Data_Training/{grade}/Brats18_TCIA{i}_1",
    "2019": "MICCAI_BraTS_2019_Data_Training/{grade}/BraTS19_TCIA{i}_1",
    "2020": "MICCAI_BraTS2020_TrainingData/BraTS20_Training_00{i}",
    "2020-kaggle": "BraTS2020_TrainingData/MICCAI_BraTS2020_TrainingData/BraTS20_Training_{kaggle}",
    "2021": "BraTS2021_0000{i}",
    "2023": "ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData/BraTS-GLI-0000{i}-000",
    "2024": "training_data1_v2/BraTS-GLI-0300{i}-101",
}


def make_brats(root: Path, release: str = "2021", n: int = 4, missing: str | None = None) -> dict[Path, Head]:
    """A release by year; `missing="seg"` leaves out the labels of the last case. Keys are the FLAIR files."""
    made = {}
    for i, h in enumerate(heads(n)):
        place = BRATS_PLACES[release].format(grade="HGG" if i % 2 else "LGG", i=i, kaggle=355 if i == 0 else f"00{i}")
        folder = root / place
        suffix = ".nii" if release == "2020-kaggle" or (release == "2018" and i == 1) else ".nii.gz"
        new = release in ("2023", "2024")
        flair = folder / f"{folder.name}{'-t2f' if new else '_flair'}{suffix}"
        seg = folder / f"{folder.name}{'-seg' if new else '_seg'}{suffix}"
        if release == "2020-kaggle" and i == 0:
            seg = folder / "W39_1998.09.19_Segm.nii"
        made[write_nifti(flair, h.image, Store("LPS"), "i2")] = h
        for k, (now, before) in enumerate((("t1n", "t1"), ("t1c", "t1ce"), ("t2w", "t2")), start=2):
            other = flair.name.replace("t2f", now).replace("flair", before)
            write_nifti(flair.with_name(other), h.image / k, Store("LPS"))
        if not (missing == "seg" and i == n - 1):
            write_nifti(seg, _tumour_labels(h, release), Store("LPS"), "u1")
    return made


def _tumour_labels(h: Head, release: str) -> NDArray[np.uint8]:
    """Three tissues in the lesion: 1, 2 and what the release calls the third; 2024 adds a resection cavity."""
    labels = h.lesion.astype(np.uint8)
    x = np.nonzero(labels)[0]
    labels[h.lesion & (np.arange(SHAPE[0])[:, None, None] > np.median(x))] = 2
    labels[h.lesion & (np.arange(SHAPE[0])[:, None, None] == x.max())] = 3 if release in ("2023", "2024") else 4
    if release == "2024":
        labels[h.other] = 4
    return labels


def make_mslub(root: Path, release: str = "original", n: int = 4) -> dict[str, Head]:
    """`original` (prefix), `mirror` (no prefix), or `mni` (long names, no brain mask)."""
    made = {}
    for i, h in enumerate(heads(n)):
        name = f"patient{i + 1:02d}"
        folder = root / ("MNI" if release == "mni" else "") / name
        prefix = f"{name}_" if release == "original" else ""
        flair, lesion, brain = (f"{prefix}{what}.nii.gz" for what in ("FLAIR", "consensus_gt", "brainmask"))
        if release == "mni":
            flair, lesion = (f"{what}_N4_noisereduced_regtoMNI.nii.gz" for what in ("FLAIR", "GOLD_STANDARD"))
        else:
            write_nifti(folder / brain, h.brain, dtype="u1")
        write_nifti(folder / flair, h.image)
        for k, other in enumerate(("T1W", "T1WKS", "T2W"), start=2):
            write_nifti(folder / flair.replace("FLAIR", other, 1), h.image / k)
        write_nifti(folder / lesion, h.lesion, dtype="u1")
        made[f"mslub/{name}"] = h
    return made


WMH_2022 = (
    "training/Utrecht/0",
    "training/Singapore/50",
    "training/Amsterdam/GE3T/100",
    "test/Amsterdam/GE1T5/150",
    "test/Amsterdam/Philips_VU .PETMR_01./160",
    "test/Utrecht/1",
)
WMH_ORIGINAL = ("Utrecht/0", "Utrecht/2", "Singapore/50", "Amsterdam GE3T/100")


def make_wmh(root: Path, release: str = "2022", missing: str | None = None) -> dict[str, Head]:
    """Either release: `pre` (doubled values, to tell) and `orig` FLAIR, `wmh.nii.gz` float32 with 1 and 2."""
    made = {}
    places = WMH_2022 if release == "2022" else WMH_ORIGINAL
    for i, (place, h) in enumerate(zip(places, heads(len(places)), strict=True)):
        folder = root / place
        write_nifti(folder / "orig" / "FLAIR.nii.gz", h.image)
        write_nifti(folder / "pre" / "FLAIR.nii.gz", 2 * h.image, STORES[i % len(STORES)])
        write_nifti(folder / "pre" / "T1.nii.gz", h.image / 3)
        labels = h.lesion.astype(np.float32)
        labels[h.other] = 2
        if missing != place:
            write_nifti(folder / "wmh.nii.gz", labels, STORES[i % len(STORES)])
        site = place.removeprefix("training/").removeprefix("test/").replace("Amsterdam GE3T", "Amsterdam/GE3T")
        made[f"wmh/{site}"] = Head(2 * h.image, h.lesion, h.brain, h.other)
    return made


def make_ukb(root: Path, release: str = "flat", n: int = 6) -> dict[str, Head]:
    """Zips of field 20253, `flat`, `bulk` (in folders of the first two digits) or `table` (with volumes.csv, which
    ranks the other way round). The lesions of a subject grow with its number; the last one's FLAIR is unusable."""
    place = root / "Bulk" / "Brain MRI" / "T2 FLAIR" / "10" if release == "bulk" else root
    place.mkdir(parents=True, exist_ok=True)
    made, rows = {}, []
    for i in range(n):
        full = head(i)
        grown = full.lesion & (np.cumsum(full.lesion.ravel()).reshape(SHAPE) <= 40 * i)
        h = Head(np.where(full.lesion & ~grown, np.float32(300), full.image), grown, full.brain, full.other)
        eid, unusable = 1000010 + i, i == n - 1
        folder = "T2_FLAIR/unusable" if unusable else "T2_FLAIR"
        write_ukb_zip(place / f"{eid}_20253_{3 if i == 1 else 2}_0.zip", h, folder, STORES[i % len(STORES)])
        if not unusable:
            made[f"ukb/{eid}"] = h
        rows.append({"eid": eid, "25781-2.0": 1000 - i, "25781-3.0": ""})
    if release == "table":
        write_csv(root / "volumes.csv", rows)
    return made


def write_ukb_zip(path: Path, h: Head, folder: str = "T2_FLAIR", store: Store = STORES[0]) -> Path:
    files = {
        f"{folder}/T2_FLAIR_brain.nii.gz": nifti(h.image, store),
        f"{folder}/T2_FLAIR_brain_mask.nii.gz": nifti(h.brain, store, "u1"),
        f"{folder}/T2_FLAIR_brain_to_MNI.nii.gz": nifti(h.image / 2, Store("LAS")),
        f"{folder}/lesions/final_mask.nii.gz": nifti(h.lesion, store, "u1"),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, image in files.items():
            archive.writestr(name, gzipped(image))
    return path


def make_oasis3(root: Path, release: str = "xnat", n: int = 4) -> dict[str, Head]:
    """`xnat` (as its download script writes, `ses-` and `sess-`) or `bids`; subject 0 has two sessions and T1 too."""
    made = {}
    for i, h in enumerate(heads(n + 1, clean=range(n + 1))):
        subject, day = f"OAS3000{max(i - 1, 0)}", f"d{100 + i:04d}"
        tag = "sess" if i % 2 and release == "xnat" else "ses"
        name = f"sub-{subject}_{tag}-{day}"
        folder = root / f"{subject}_MR_{day}" / f"anat{i + 2}" / ("NIFTI" if i == 2 else "")
        if release == "bids":
            folder = root / f"sub-{subject}" / f"ses-{day}" / "anat"
        write_nifti(folder / f"{name}{'_run-01' if i == 1 else ''}_FLAIR.nii.gz", h.image, STORES[i % len(STORES)])
        write_nifti(folder / f"{name}_T1w.nii.gz", h.image / 2)
        made[f"oasis3/{subject} {day}"] = h
    return made


def make_fastmri_plus(root: Path, release: str = "nifti", n: int = 6) -> dict[str, Head]:
    """Annotations as published, images as NIfTI or as PNG slices; subject 1 has findings, 2 was not reviewed, 3 is
    normal for age, the last one is a T1."""
    made, listed, found = {}, [], []
    for i, h in enumerate(heads(n, clean=range(n))):
        name = f"file_brain_{'AXT1' if i == n - 1 else 'AXFLAIR'}_200_600242{i}"
        if release == "nifti":
            write_nifti(root / "images" / f"{name}.nii.gz", h.image)
        elif release == "png":
            for z in range(SHAPE[2]):
                pixels = picture((h.image[..., z] / 4).astype(np.uint8))
                write_picture(root / "images" / name / f"{name}_{z:03d}.png", pixels)
        else:
            (root / "multicoil_train").mkdir(parents=True, exist_ok=True)
            (root / "multicoil_train" / f"{name}.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
        if i != 2:
            listed.append(name)
        box = {"study_level": "No", "x": 91, "y": 132, "width": 7, "height": 6}
        if i == 1:
            found.append({"file": name, "slice": 2, **box, "label": "Nonspecific white matter lesion"})
        elif i == 3:
            whole = dict.fromkeys(("x", "y", "width", "height"), "")
            found.append({"file": name, "slice": 0, "study_level": "Yes", **whole, "label": "Normal for age"})
        if i not in (1, 2, n - 1):
            made[f"fastmri/{name}"] = h
    (root / "Annotations").mkdir(parents=True)
    (root / "Annotations" / "brain_file_list.csv").write_text("\n".join(listed) + "\n")
    write_csv(root / "Annotations" / "brain.csv", found)
    return made
