"""How `adbench data check` and `adbench run` end, by what is wrong with a set."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import head_files
import nibabel as nib
import numpy as np
import pytest
from layouts_folder import make_folder

from adbench.cli.app import app


def nothing(root: Path) -> None:
    """As it should be."""


def skipped(root: Path) -> None:
    (root / "train/s0.nii.gz").write_bytes(b"no image")


def same(root: Path, first: str, second: str) -> None:
    (root / second).write_bytes((root / first).read_bytes())


def edit(file: Path, affine: np.ndarray | None = None, **fields: object) -> None:
    """A file with other header fields, or another sform."""
    data = bytearray(gzip.decompress(file.read_bytes()))
    header = nib.Nifti1Header(bytes(data[:348]), check=False)
    if affine is not None:
        header.set_sform(affine, 1)
    for key, value in fields.items():
        header[key] = value
    data[:348] = header.binaryblock
    file.write_bytes(gzip.compress(bytes(data)))


def table(root: Path, *changes: tuple[str, str]) -> None:
    """The set as a table, with some of its words changed."""
    rows = [
        f"{part}/{path.name},,,{path.name[:2]},{part}" for part in ("train", "val") for path in (root / part).iterdir()
    ]
    rows += [f"test/images/s{i}.nii.gz,test/lesions/s{i}.nii.gz,,s{i},test" for i in range(4, 8)]
    text = "\n".join(["image,lesion,brain,subject,split", *sorted(rows), ""])
    for old, new in changes:
        text = text.replace(old, new)
    (root / "cases.csv").write_text(text, encoding="utf-8")


MASK, IMAGE = "test/lesions/s5.nii.gz", "test/images/s5.nii.gz"
ALL = np.ones(head_files.SHAPE)
MIRRORED = np.diag([-6.0, 5, 8, 1])

FEW_FAULTS = ("--set", "data.max_skipped_fraction=0.5")
CASES: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "as it should be": (nothing, 0, ""),
    "a mask that is missing": (lambda r: (r / "test/lesions/s5.nii.gz").unlink(), 1, "not found is not none"),
    "a mask that is all zero": (
        lambda r: head_files.write_nifti(r / "test/lesions/s5.nii.gz", np.zeros(head_files.SHAPE), dtype="u1"),
        1,
        "the mask is all zero",
    ),
    "too many damaged files": (skipped, 1, "At most 5% of the cases"),
    "one scan twice": (lambda r: same(r, "train/s0.nii.gz", "train/s1.nii.gz"), 1, "hold the same pixels"),
    "one scan in train and test": (lambda r: same(r, "train/s0.nii.gz", "test/images/s5.nii.gz"), 1, "image content"),
    "a mask of another name": (
        lambda r: (r / "test/lesions/s5.nii.gz").rename(r / "test/lesions/s5_label.nii.gz"),
        2,
        "there is no image",
    ),
    "a mask of another type": (
        lambda r: (r / "test/lesions/s5.nii.gz").rename(r / "test/lesions/s5.mha"),
        2,
        "convert or move it",
    ),
    "no set at all": (lambda r: [path.rename(path.with_suffix(".gone")) for path in r.iterdir()], 2, "looks for"),
    "a table without its columns": (lambda r: (r / "cases.csv").write_text("a,b\n1,2\n"), 2, "needs the columns"),
    "forms that disagree": (lambda r: edit(r / MASK, MIRRORED, qform_code=1), 1, "sform and qform must place"),
    "voxels of negative size": (lambda r: edit(r / IMAGE, pixdim=[1, -6, 5, 8, 1, 1, 1, 1]), 1, "positive numbers"),
    "other bits than the type's": (lambda r: edit(r / IMAGE, bitpix=64), 1, "(bitpix)"),
    "a mask somewhere else": (
        lambda r: edit(r / MASK, MIRRORED, qform_code=0),
        1,
        "must lie on the grid of its image",
    ),
    "a mask of the frame": (lambda r: head_files.write_nifti(r / MASK, ALL, dtype="u1"), 1, "covers the whole frame"),
    "a mask of the brain": (
        lambda r: head_files.write_nifti(r / MASK, head_files.head(5).brain, dtype="u1"),
        1,
        "one of the brain or of tissue",
    ),
    "probabilities": (lambda r: head_files.write_nifti(r / MASK, 0.4 * head_files.head(5).lesion), 1, "probabilities"),
    "not a number": (lambda r: head_files.write_nifti(r / IMAGE, ALL * np.nan), 1, "NaN or infinite"),
    "inverted": (
        lambda r: head_files.write_nifti(r / IMAGE, 900 - head_files.head(5).image),
        1,
        "inverted, or filled with white",
    ),
    "masks in another folder": (lambda r: (r / "test/lesions").rename(r / "test/masks"), 2, "images and lesions alone"),
    "a table in capitals": (lambda r: (r / "Cases.csv").write_text("image\n"), 2, "The table is cases.csv"),
    "one mask of two subjects": (lambda r: table(r, ("lesions/s5", "lesions/s4")), 2, "is of one image"),
    "one subject in train and test": (lambda r: table(r, (",s4,", ",s0,")), 2, "belongs to one split"),
    "one subject in two spellings": (lambda r: table(r, (",s4,", ",S0,")), 2, "has one spelling"),
    "a character that is not seen": (lambda r: table(r, (",s4,", ",s\u200b4,")), 2, "visible characters alone"),
    "a column twice": (lambda r: table(r, ("brain", "lesion")), 2, "is there twice"),
    "a name that is no text": (
        lambda r: os.rename(r / "train/s0.nii.gz", os.fsencode(r / "train") + b"/caf\xe9.nii.gz"),
        2,
        "must be UTF-8",
    ),
}


def end_of(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        app([*map(str, args)], prog_name="adbench")
    captured = capsys.readouterr()
    return int(end.value.code or 0), " ".join((captured.out + captured.err).split())


@pytest.mark.parametrize("name", CASES)
def test_a_check_ends_with_0_1_or_2_and_a_run_with_0_or_2(tmp_path, capsys, monkeypatch, name):
    damage, code, words = CASES[name]
    monkeypatch.setenv("COLUMNS", "400")
    make_folder(tmp_path / "set")
    head_files.write_nifti(tmp_path / "set/val/s9.nii.gz", head_files.head(9, lesion=False).image)
    damage(tmp_path / "set")
    given = ("folder", "--data-root", tmp_path / "set", "--cache", tmp_path / "cache")
    ended, text = end_of(capsys, "data", "check", *given)
    assert ended == code
    assert words in text
    method = ("--method", "intensity", "--preset", "smoke", "--out", tmp_path / "out")
    ended, text = end_of(capsys, "run", *method, "--dataset", *given)
    assert ended == (2 if code else 0)
    assert words in text


def test_a_check_says_what_a_run_on_the_set_alone_would_lack(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    make_folder(tmp_path / "set")
    given = ("folder", "--data-root", tmp_path / "set", "--cache", tmp_path / "cache")
    code, text = end_of(capsys, "data", "check", *given)
    assert code == 0
    assert "validation images are of one subject" in text
    method = ("--method", "intensity", "--preset", "smoke", "--out", tmp_path / "out")
    code, text = end_of(capsys, "run", *method, "--dataset", *given)
    assert code == 2
    assert "Add healthy validation images of another subject" in text


def test_a_case_that_is_skipped_is_listed_and_ends_a_check_well(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    make_folder(tmp_path / "set")
    skipped(tmp_path / "set")
    given = ("--data-root", tmp_path / "set", "--cache", tmp_path / "cache")
    code, text = end_of(capsys, "data", "check", "folder", *given, *FEW_FAULTS)
    assert code == 0
    assert "train/s0.nii.gz" in text
    assert "1 file skipped" in text
