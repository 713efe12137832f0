"""Tiny copies of the sets of multiple sclerosis and stroke and of `ixi`, in the layouts as distributed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from head_files import STORES, Head, heads, write_csv, write_nifti

SESSIONS = ("train/P1/T1", "train/P1/T2", "train/P2/T1", "train/P3/T1", "test/P54", "test/P55/T1")
"""Of `mslesseg`: two sessions of a patient; a test patient with and without a folder of the session."""


def make_mslesseg(root: Path, release: str = "official") -> dict[str, Head]:
    """`official`, or `train` where the test part is not there."""
    places = [place for place in SESSIONS if release == "official" or place.startswith("train")]
    made = {}
    for i, (place, h) in enumerate(zip(places, heads(len(places)), strict=True)):
        parts = place.split("/")
        name = "_".join(parts[1:])
        for k, contrast in enumerate(("FLAIR", "T1", "T2"), start=1):
            write_nifti(root / place / f"{name}_{contrast}.nii.gz", h.image / k, STORES[i % len(STORES)])
        write_nifti(root / place / f"{name}_MASK.nii.gz", h.lesion, STORES[i % len(STORES)])
        made[f"mslesseg/{' '.join(parts[1:])}"] = h
    return made


def make_ms_muslim(root: Path, release: str = "mendeley", n: int = 4) -> dict[str, Head]:
    """Each contrast with a mask of its own: that of T1 and T2 is stored in another way."""
    made = {}
    for i, h in enumerate(heads(n), start=1):
        for k, contrast in enumerate(("Flair", "T1", "T2"), start=1):
            folder = root / f"Patient-{i}"
            write_nifti(folder / f"{i}-{contrast}.nii", h.image / k, STORES[k % len(STORES)], "f4")
            write_nifti(folder / f"{i}-LesionSeg-{contrast}.nii", h.lesion, STORES[k % len(STORES)], "u1")
        made[f"ms-muslim/{i}"] = h
    return made


def second_rater(h: Head) -> np.ndarray:
    """The lesion without its part furthest to the right, and with a voxel of its own."""
    drawn = h.lesion.copy()
    drawn[np.nonzero(h.lesion)[0].max()] = False
    drawn[2, 20, 6] = True
    return drawn


def make_isbi2015(root: Path, release: str = "nii", n: int = 4) -> dict[str, Head]:
    """Two time points of the first patient, one of the others."""
    made = {}
    points = [(1, 1), (1, 2), *((i, 1) for i in range(2, n))]
    for (patient, point), h in zip(points, heads(n), strict=True):
        name, folder = f"training{patient:02}_{point:02}", root / "training" / f"training{patient:02}"
        for k, contrast in enumerate(("flair", "mprage", "t2", "pd"), start=1):
            write_nifti(folder / "preprocessed" / f"{name}_{contrast}_pp.{release}", h.image / k)
            write_nifti(folder / "orig" / f"{name}_{contrast}.nii.gz", h.image / 9)
        write_nifti(folder / "masks" / f"{name}_mask1.{release}", h.lesion, dtype="u1")
        write_nifti(folder / "masks" / f"{name}_mask2.{release}", second_rater(h), dtype="u1")
        made[f"isbi2015/training{patient:02} {point:02}"] = h
    write_nifti(root / "testdata_website/test01/preprocessed/test01_01_flair_pp.nii", heads(1)[0].image)
    return made


PEOPLE = ("IXI002-Guys-0828", "IXI012-HH-1211", "IXI013-HH-1212", "IXI035-IOP-0873")


def make_ixi(root: Path, release: str = "archives") -> dict[str, Head]:
    """`archives` in folders of their own, with the table, or `one folder` without."""
    made = {}
    for name, h in zip(PEOPLE, heads(len(PEOPLE), clean=range(len(PEOPLE))), strict=True):
        for k, contrast in enumerate(("T1", "T2", "PD"), start=1):
            folder = f"IXI-{contrast}" if release == "archives" else "IXI"
            write_nifti(root / folder / f"{name}-{contrast}.nii.gz", h.image / k, STORES[k % len(STORES)])
        made[f"ixi/{name[:6]}"] = h
    if release == "archives":
        rows = [("2", "2", "35.8"), ("12", "1", "38.78"), ("13", "1", "46.71"), ("35", "2", "")]
        keys = ("IXI_ID", "SEX_ID (1=m, 2=f)", "AGE")
        write_csv(root / "IXI.csv", [dict(zip(keys, row, strict=True)) for row in rows])
    return made


def make_atlas(root: Path, release: str = "2.0", n: int = 4) -> dict[str, Head]:
    """Training cohorts, and a subject of Testing without a mask."""
    made = {}
    for i, h in enumerate(heads(n), start=1):
        subject = f"sub-r00{i % 2 + 1}s{i:03}"
        folder = root / "ATLAS_2" / "Training" / f"R00{i % 2 + 1}" / subject / "ses-1" / "anat"
        stem = f"{subject}_ses-1_space-MNI152NLin2009aSym"
        write_nifti(folder / f"{stem}_T1w.nii.gz", h.image, STORES[i % len(STORES)])
        write_nifti(folder / f"{stem}_label-L_desc-T1lesion_mask.nii.gz", h.lesion, STORES[i % len(STORES)], "u1")
        made[f"atlas/{subject}"] = h
    folder = root / "ATLAS_2/Testing/R027/sub-r027s001/ses-1/anat"
    write_nifti(folder / "sub-r027s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz", heads(1)[0].image)
    return made
