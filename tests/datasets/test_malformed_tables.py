"""Tables of a user: delimiters, quotes, encodings and names that are read right or refused."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from picture_folders import BLOB, MASK, lesion_px, load, pictures, put, sick

from adbench.errors import DataError

HEADER = "image,lesion,brain,subject,split"


def rows(**subjects: str) -> list[str]:
    train = [f"train/t{i}.png,,,{subjects.get(f't{i}', f't{i}')},train" for i in range(5)]
    test = [f"test/images/x{i}.png,test/lesions/x{i}.png,,{subjects.get(f'x{i}', f'x{i}')},test" for i in range(3)]
    return [*train, *test]


def table(root: Path, lines: list[str], header: str = HEADER, encoding: str = "utf-8") -> Path:
    (pictures(root) / "cases.csv").write_bytes("\n".join([header, *lines, ""]).encode(encoding))
    return root


SPELT = unicodedata.normalize("NFD", "Zoé")

TABLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "second lesion column": (
        lambda r: table(r, [row + "," for row in rows()], HEADER + ",lesion"),
        "'lesion' is there twice",
    ),
    "second column in capitals": (lambda r: table(r, [row + "," for row in rows()], HEADER + ",Lesion"), "there twice"),
    "a row without its last cells": (
        lambda r: table(r, [row.rpartition(",")[0] for row in rows()[:1]] + rows()[1:]),
        "row 2 has 4 cells for 5 columns: add the missing ones",
    ),
    "one file twice": (
        lambda r: (table(r, [*rows(), "./test/images/x0.png,y0.png,,x0,test"]), put(r / "y0.png", MASK)),
        "x0.png.* hold the same pixels",
    ),
    "one file of two subjects": (
        lambda r: (table(r, [*rows(), "test/images/x0.png,y0.png,,y0,test"]), put(r / "y0.png", MASK)),
        "hold the same pixels|Each examination",
    ),
    "a copy": (
        lambda r: (
            table(r, [*rows(), "copy.tif,y0.png,,y0,test"]),
            put(r / "copy.tif", sick(0)),
            put(r / "y0.png", MASK),
        ),
        "copy.tif.* hold the same pixels|x0.png and copy.tif",
    ),
    "a link": (
        lambda r: (
            table(r, [*rows(), "link.png,y0.png,,y0,test"]),
            put(r / "y0.png", MASK),
            (r / "link.png").symlink_to(r / "test/images/x0.png"),
        ),
        "hold the same pixels",
    ),
    "one mask of two subjects": (
        lambda r: table(r, [row.replace("lesions/x1.png", "lesions/../lesions/x0.png") for row in rows()]),
        "a lesion mask is of one image, but .* stands in rows 7 and 8",
    ),
    "zeros that a spreadsheet takes away": (lambda r: table(r, rows(t0="MS-007", x0="MS-7")), "leading zeros"),
    "one mask of two images of a subject": (
        lambda r: table(r, [row.replace("lesions/x1.png", "lesions/x0.png") for row in rows(x1="x0")]),
        "a lesion mask is of one image, but .* stands in rows 7 and 8",
    ),
    "a number with decimals in one of its rows": (lambda r: table(r, rows(t0="7", x0="7.0")), "has one spelling"),
    "decimals with a comma": (
        lambda r: table(r, [row.replace("7.0", '"7,0"') for row in rows(t0="7", x0="7.0")]),
        "has one spelling",
    ),
    "hyphens and underscores": (lambda r: table(r, rows(t0="MS-B 4", x0="ms_b_4")), "has one spelling"),
    "a hyphen that a text program made longer": (
        lambda r: table(r, rows(t0="MS-4", x0="MS\u20134")),
        "has one spelling",
    ),
    "a number that a spreadsheet rounded": (lambda r: table(r, rows(t0="1.2E+11", t1="1.2E+11")), "has rounded"),
    **{
        f"{word} for a subject": (lambda r, word=word: table(r, rows(t0=word, t1=word)), "says that it is missing")
        for word in (
            "nan",
            "n/a",
            "N/A",
            "#N/A",
            "#REF!",
            "#DIV/0!",
            "None",
            "null",
            "unknown",
            "?",
            "-",
            ".",
            "<NA>",
            "N.A.",
            "\u2014",
        )
    },
    "paths of Windows": (lambda r: table(r, [row.replace("/", "\\") for row in rows()]), "names 'train.*t0.png'"),
    "Excel's line of the delimiter": (lambda r: table(r, [HEADER, *rows()], "sep=,"), "lacks image"),
    "not known, as BIDS says it": (
        lambda r: table(r, [row.replace("test/lesions/x0.png", "n/a") for row in rows()]),
        "names 'n/a'",
    ),
    "a web address": (
        lambda r: table(r, [row.replace("train/t0.png", "https://a/t0.png") for row in rows()]),
        "names 'https",
    ),
    "of files elsewhere": (
        lambda r: table(r, [row.replace("train/t0.png", "/etc/hostname") for row in rows()]),
        "image must lie below",
    ),
    "accents in two ways": (lambda r: table(r, rows(t0="Zoé", x0=SPELT)), "has one spelling"),
    "case": (lambda r: table(r, rows(t0="Anna", x0="ANNA")), "has one spelling"),
    "sharp s": (lambda r: table(r, rows(t0="Weiß", x0="WEISS")), "has one spelling"),
    "a zero-width character": (lambda r: table(r, rows(x0="x\u200b0")), r"has '\\u200b'"),
    "a soft hyphen": (lambda r: table(r, rows(x0="x\u00ad0")), "visible characters alone"),
    "a mark of direction": (lambda r: table(r, rows(x0="\u202ex0")), "visible characters alone"),
    "UTF-16": (lambda r: table(r, rows(), encoding="utf-16"), "must be UTF-8"),
    "UTF-16 without a mark": (lambda r: table(r, rows(), encoding="utf-16-le"), "must be UTF-8"),
    "Latin-1": (lambda r: table(r, rows(x0="é"), encoding="latin-1"), "must be UTF-8"),
    "unquoted comma": (lambda r: table(r, rows(x0="Doe, J")), "6 cells for 5 columns"),
    "no header": (lambda r: table(r, rows()[1:], rows()[0]), "lacks image"),
    "NaN for a mask": (
        lambda r: table(r, [row.replace("test/lesions/x0.png", "NaN") for row in rows()]),
        "names 'NaN'",
    ),
    "no subject": (lambda r: table(r, rows(x0="")), "subject may not be empty"),
    "no header at all": (lambda r: table(r, [], ""), "lacks image"),
    "a mask that is all zero": (
        lambda r: (table(r, rows()), put(r / "test/lesions/x0.png", 0 * MASK)),
        "the mask is all zero",
    ),
    "name of a file not UTF-8": (
        lambda r: (os.rename(pictures(r) / "train/t0.png", os.fsencode(r / "train") + b"/caf\xe9.png"),),
        "must be UTF-8",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_or_name_that_is_not_clear_is_refused(tmp_path: Path, name: str) -> None:
    make, words = TABLES[name]
    make(tmp_path)
    with pytest.raises(DataError, match=words) as caught:
        load(tmp_path)
    str(caught.value).encode()  # it can be printed


@pytest.mark.parametrize(
    ("one", "other"),
    [("slice_5", "slice_-5"), ("1.2.840.5", "1.2.840.5.0"), ("12-3", "1-23"), ("2.1", "2.10"), ("#A", "#B")],
)
def test_names_of_two_people_are_no_spellings_of_one(tmp_path: Path, one: str, other: str) -> None:
    assert len(lesion_px(table(tmp_path, rows(x0=one, x1=other)))) == 3


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_tables_of_any_delimiter_with_quotes_and_other_columns_are_read(
    tmp_path: Path, delimiter: str, encoding: str, newline: str
) -> None:
    pictures(tmp_path)
    lines = [*((HEADER + ",note").split(",") for _ in range(1))]
    lines += [[*row.split(","), f'"a{delimiter} quoted{newline}note"'] for row in rows()]
    (tmp_path / "cases.csv").write_bytes(newline.join(delimiter.join(line) for line in lines).encode(encoding))
    said: list[str] = []
    assert lesion_px(tmp_path, said) == [BLOB.sum()] * 3
    assert any("columns note are not read" in text for text in said)
