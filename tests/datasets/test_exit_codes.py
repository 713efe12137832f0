"""How `adbench data check` and `adbench run` end, by what is wrong with a set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import head_files
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
