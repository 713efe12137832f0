"""Who is who in a set of files, whoever wrote them: subjects, tables and pixels are told apart, or found to be one."""

from __future__ import annotations

import csv
import io
import os
import re
import string
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from adbench_datasets.folder import Folder, FolderConfig
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_folders import BLOB, MASK, all_of, found_px, picture
from PIL import Image

from adbench.contracts.dataset import DataRuntime
from adbench.errors import DataError

few = settings(max_examples=20)


def set_of(root: Path, subjects: list[str], **form: Any) -> Path:
    """Pictures with a table: two to train on, the others to test on."""
    rows = []
    for i, subject in enumerate(subjects):
        lesion = "" if i < 3 else f"m{i}.png"
        Image.fromarray(picture(i, i >= 3)).save(root / f"{i}.png")
        if lesion:
            Image.fromarray(MASK).save(root / lesion)
        rows.append([f"{i}.png", lesion, "", subject, "train" if i < 2 else "val" if i < 3 else "test"])
    text = io.StringIO(newline="")
    writer = csv.writer(text, **form)
    writer.writerows([["image", "lesion", "brain", "subject", "split"], *rows])
    (root / "cases.csv").write_bytes(text.getvalue().encode())
    return root


names = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=6)
SPELLINGS: list[Callable[[str], str]] = [
    lambda name: unicodedata.normalize("NFD", name + "é"),
    lambda name: (name + "é").upper(),
    lambda name: f"  {name}é ",
    lambda name: f"{name}É",
    lambda name: f"{name}é".translate({ord(c): ord(c) + 0xFEE0 for c in string.ascii_letters + string.digits}),
]


@few
@given(name=names, spell=st.sampled_from(SPELLINGS))
def test_a_subject_under_two_spellings_in_train_and_test_is_found(name: str, spell: Callable[[str], str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = set_of(Path(folder), [unicodedata.normalize("NFC", name + "é"), "b", "c", spell(name), "e"])
        with pytest.raises(DataError, match=r"one spelling|belongs to one split|Each examination"):
            Folder(FolderConfig(size=64), root, DataRuntime(workers=1)).load()


@few
@given(
    names=st.tuples(names, names),
    space=st.text(st.sampled_from(" \u00a0\u2003\u2009\u3000"), min_size=1, max_size=3),
)
def test_spaces_within_a_name_count_as_one(names: tuple[str, str], space: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = set_of(Path(folder), [" ".join(names) + "é", "b", "c", space.join(names) + "É", "e"])
        with pytest.raises(DataError, match="one spelling"):
            Folder(FolderConfig(size=64), root, DataRuntime(workers=1)).load()


@few
@given(
    name=names,
    character=st.sampled_from(
        "\u200b\u200c\u200d\u2060\ufeff\u00ad\u202e\u0007\u0085"
        "\ufe0f\ufe00\U000e0100\u034f\u115f\u3164\uffa0\u17b4\u180b\u2800\U000e0041"
    ),
    at=st.integers(1, 5),
)
def test_a_character_that_no_screen_shows_is_refused_wherever_it_stands(name: str, character: str, at: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        hidden = f"{name[:at]}{character}{name[at:]}q"
        root = set_of(Path(folder), ["a", "b", "c", hidden, "e"])
        with pytest.raises(DataError) as caught:
            Folder(FolderConfig(size=64), root, DataRuntime(workers=1)).load()
        assert str(caught.value).isprintable()


@few
@given(
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    lineterminator=st.sampled_from(["\n", "\r\n"]),
    blank_lines=st.integers(0, 3),
    marked=st.booleans(),
)
def test_a_table_means_the_same_however_a_program_writes_it(blank_lines: int, marked: bool, **form: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = set_of(Path(folder), ["a", "b", "c", "d, e", "Zoé"], **form)
        text = (root / "cases.csv").read_bytes() + blank_lines * form["lineterminator"].encode()
        (root / "cases.csv").write_bytes((b"\xef\xbb\xbf" if marked else b"") + text)
        split = Folder(FolderConfig(size=64), root, DataRuntime(workers=1)).load().test
    assert [found_px(split, subject) for subject in ("d, e", "Zoé")] == [BLOB.sum()] * 2


@settings(max_examples=60)
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.lists(st.text(max_size=8), min_size=5, max_size=5).map(
            lambda row: f"image,lesion,brain,subject,split\n{','.join(row)}\n".encode("utf-8", "surrogatepass")
        ),
    )
)
def test_no_table_whatsoever_gives_another_kind_of_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cases.csv").write_bytes(content)
        with pytest.raises(DataError) as caught:
            all_of(Path(folder))
        str(caught.value).encode()


@pytest.mark.parametrize("other", [".tif", ".nii.gz"])
def test_the_same_pixels_by_two_programs_are_one_scan(tmp_path: Path, other: str) -> None:
    root = set_of(tmp_path, ["a", "b", "c", "d", "e"])
    same = np.asarray(Image.open(root / "3.png"))
    if other == ".nii.gz":
        nib.save(nib.Nifti1Image(same.T[::-1, ::-1, None], np.eye(4)), root / "4.nii.gz")
        nib.save(nib.Nifti1Image(MASK.T[::-1, ::-1, None], np.eye(4)), root / "m4.nii.gz")
    else:
        tifffile.imwrite(root / "4.tif", same)
        tifffile.imwrite(root / "m4.tif", MASK)
    table = (root / "cases.csv").read_text(encoding="utf-8").replace("4.png,m4.png", f"4{other},m4{other}")
    (root / "cases.csv").write_text(table, encoding="utf-8")
    with pytest.raises(DataError, match="hold the same pixels"):
        all_of(root)


@settings(max_examples=10, deadline=None)
@given(which=st.integers(0, 4), at=st.tuples(st.integers(20, 44), st.integers(20, 44)), by=st.integers(1, 5))
def test_other_pixels_under_the_same_name_size_and_times_are_another_set(
    which: int, at: tuple[int, int], by: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = set_of(Path(folder), ["a", "b", "c", "d", "e"])
        for i in range(5):
            tifffile.imwrite(root / f"{i}.tif", np.asarray(Image.open(root / f"{i}.png")))
        table = re.sub(r"\n(\d)\.png", r"\n\1.tif", (root / "cases.csv").read_text(encoding="utf-8"))
        (root / "cases.csv").write_text(table, encoding="utf-8")

        def manifest() -> dict[str, dict[str, str]]:
            runtime = DataRuntime(workers=1, cache=root / "cache")
            return Folder(FolderConfig(size=64), root, runtime).load().manifest()

        before, file = manifest(), root / f"{which}.tif"
        pixels, known = tifffile.imread(file), file.stat()
        pixels[at] -= by
        tifffile.imwrite(file, pixels)
        os.utime(file, ns=(known.st_atime_ns, known.st_mtime_ns))
        assert file.stat().st_size == known.st_size
        assert manifest() != before
