"""Tiny copies of every dataset in the layout in which it is distributed, written to a folder for tests.

Each `make_<dataset>(root, release=...)` writes heads of smooth tissue with one bright lesion, asymmetric in every
direction, and returns what it wrote by subject: canonical (RAS+) arrays to compare a reading with. Files are stored
as differently as real ones are: orientations, big-endian, scaled integers, a fourth axis of length one, `.nii`.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from PIL import Image

SHAPE = (32, 40, 12)
SPACING = (6.0, 5.0, 8.0)
AIR, SKULL, BRAIN, BLEED = -1000.0, 900.0, 32.0, 68.0  # HU


@dataclass(frozen=True)
class Head:
    """One examination: canonical (X, Y, Z) arrays."""

    image: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    other: NDArray[np.bool_]
    """Another pathology, for sets that label one."""


@dataclass(frozen=True)
class Store:
    """How a volume lies on disk."""

    axes: str = "RAS"
    big_endian: bool = False
    scaled: bool = False
    four_d: bool = False


STORES = (
    Store("LPS"),
    Store("RAS", big_endian=True),
    Store("LAS", scaled=True),
    Store("PIR", four_d=True),
    Store("RAS"),
)


def head(seed: int, ct: bool = False, lesion: bool = True) -> Head:
    """A head whose lesion lies right, front and above of the middle, and a dark ventricle left of it."""
    rng = np.random.default_rng(seed)
    x, y, z = (np.linspace(-1, 1, n).reshape(np.roll((n, 1, 1), i)) for i, n in enumerate(SHAPE))
    r = np.sqrt((x / 0.85) ** 2 + (y / 0.9) ** 2 + (z / 1.05) ** 2)
    brain = r < 0.88
    phase = rng.uniform(0, 6, 3)
    texture = np.sin(3 * x + phase[0]) + np.sin(4 * y + phase[1]) + np.sin(2 * z + phase[2])
    at = np.array([0.35, 0.3, 0.15]) + rng.uniform(-0.05, 0.05, 3)
    sick = brain & (((x - at[0]) / 0.22) ** 2 + ((y - at[1]) / 0.2) ** 2 + ((z - at[2]) / 0.3) ** 2 < 1) & lesion
    other = brain & (((x + 0.4) / 0.2) ** 2 + ((y + 0.45) / 0.2) ** 2 + ((z + 0.3) / 0.25) ** 2 < 1)
    ventricle = ((x + 0.2) / 0.15) ** 2 + (y / 0.3) ** 2 + (z / 0.4) ** 2 < 1
    if ct:
        image = np.where(r < 1, SKULL, AIR) * np.ones(SHAPE)
        image[brain] = (BRAIN + 2 * texture)[brain]
        image[brain & ventricle] = 8
        image[sick] = BLEED
    else:
        image = np.where(brain, 300 + 25 * texture, 0)
        image[brain & ventricle] = 90
        image[sick] = 800
    return Head(np.rint(image).astype(np.float32), sick, brain, other)


def heads(n: int, ct: bool = False, clean: Iterable[int] = ()) -> list[Head]:
    """`n` different heads; those of which the index is in `clean` have no lesion."""
    without = set(clean)
    return [head(i, ct, lesion=i not in without) for i in range(n)]


def nifti(data: NDArray[Any], store: Store = Store(), dtype: str = "f4") -> nib.Nifti1Image:
    """A canonical array as a NIfTI image stored the way `store` says; its affine keeps the anatomy in place."""
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = -90, -100, -40
    image = nib.Nifti1Image(data.astype(dtype), affine)
    to = ornt_transform(io_orientation(affine), axcodes2ornt(store.axes))
    image = image.as_reoriented(to)
    array = np.asanyarray(image.dataobj)
    if store.four_d:
        array = array[..., None]
    kind = np.dtype("i2" if store.scaled else dtype)
    header = nib.Nifti1Header(endianness=">" if store.big_endian else "<")
    header.set_data_dtype(kind.newbyteorder(header.endianness))
    if store.scaled:
        array = 2 * (array.astype("f8") + 10)
    out = nib.Nifti1Image(array.astype(kind), image.affine, header)
    if store.scaled:  # value = 0.5 stored - 10: exact for whole numbers; nibabel writes the stored ones as they are
        out.header.set_slope_inter(0.5, -10.0)
    return out


def write_nifti(path: Path, data: NDArray[Any], store: Store = Store(), dtype: str = "f4") -> Path:
    """Write a canonical array to `path`, whose folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nifti(data, store, dtype), path)
    return path


def picture(plane: NDArray[Any]) -> NDArray[Any]:
    """An axial plane (X, Y) as a picture (H, W): front at the top, the patient's right on the left."""
    return np.ascontiguousarray(plane[::-1, ::-1].T)


def write_picture(path: Path, pixels: NDArray[np.uint8], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_csv(path: Path, rows: Sequence[Mapping[str, object]], encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


# --- MRI ---------------------------------------------------------------------------------------------------------


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
        write_nifti(flair.with_name(flair.name.replace("t2f", "t1n").replace("flair", "t1")), h.image / 2, Store("LPS"))
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


def gzipped(image: nib.Nifti1Image) -> bytes:
    """The bytes of a `.nii.gz` file."""
    return gzip.compress(image.to_bytes(), mtime=0)


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


# --- CT ----------------------------------------------------------------------------------------------------------


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


# --- the user's own ----------------------------------------------------------------------------------------------


def make_folder(root: Path, release: str = "folders", kind: str = "nii.gz") -> dict[str, Head]:
    """`folders`, `csv` or `bids`; `kind` is a suffix: nii.gz, nii, png, jpg, tif. Subjects s0-s3 are clean."""
    made = {}
    rows = []
    for i, h in enumerate(heads(8, clean=range(4))):
        split = ("train", "train", "train", "val", "test", "test", "test", "test")[i]
        name = f"s{i}.{kind}"
        where = root / split / "images" if split == "test" else root / split
        lesions = root / "test" / "lesions"
        if release == "bids":
            stem = f"sub-{i:02d}"
            write_nifti(root / stem / "anat" / f"{stem}_FLAIR.nii.gz", h.image, STORES[i % 2])
            if i >= 4:
                mask = root / "derivatives" / "manual" / stem / "anat" / f"{stem}_label-lesion_mask.nii.gz"
                write_nifti(mask, h.lesion, STORES[i % 2], "u1")
        elif kind.startswith("nii"):
            write_nifti(where / name, h.image)
            if split == "test":
                write_nifti(lesions / name, h.lesion, dtype="u1")
        else:
            middle = int(h.lesion.sum((0, 1)).argmax()) if i >= 4 else SHAPE[2] // 2
            write_picture(where / name, picture((h.image[..., middle] / 4).astype(np.uint8)))
            if split == "test":
                pixels = picture(h.lesion[..., middle]).astype(np.uint8) * 255
                write_picture(lesions / f"s{i}.{'png' if kind == 'jpg' else kind}", pixels)
        mask_name = f"test/lesions/{f's{i}.png' if kind == 'jpg' else name}" if split == "test" else ""
        inside = (where / name).relative_to(root).as_posix()
        rows.append({"image": inside, "lesion": mask_name, "brain": "", "subject": f"s{i}", "split": split})
        made[f"sub-{i:02d}" if release == "bids" else f"s{i}"] = h
    if release == "csv":
        write_csv(root / "cases.csv", rows, encoding="utf-8-sig")
    if release == "bids":
        (root / "dataset_description.json").write_text('{"Name": "mine", "BIDSVersion": "1.9.0"}')
    return made


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    """A zip archive holding `files`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()
