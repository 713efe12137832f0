"""A publication's tables beside ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from record_factory import dataset, environment, make, metrics, timed

from adbench.errors import RecordError
from adbench.results.pages import check_pages, write_pages
from adbench.results.pages.published import COLUMNS, read_published
from adbench.results.record import write_record
from adbench.results.timing import write_timing

HEADER = ",".join(COLUMNS)
ROWS = [
    "Table 1,toy,Theirs (a),ddpm,best_dice,0.9,toy,",
    "Table 1,toy,Theirs (b),ddim,best_dice,0.95,toy,shorter training",
    "Table 1,toy,Theirs (b),ddim,auprc,0.8,toy,",
    "Table 2,PRIVATE,Theirs (b),ddim,best_dice,0.4,toy,private",
    "Table 2,PRIVATE,Theirs (b),ddim,s_per_100_slices,46,toy,",
    "Table 2,PRIVATE,Another,,best_dice,0.3,,no such method here",
]


@pytest.fixture
def out(tmp_path) -> Path:
    plain = {"version": 2, "region": "image", "postprocess": "none"}
    for record in (
        make("ddpm", metrics=metrics(0.9), protocol=plain),
        make("ddim", metrics=metrics(0.92), protocol=plain),
        make("ddim", seed=1, metrics=metrics(0.94), protocol=plain),
        make("ddim", config_hash="d" * 12, metrics=metrics(0.99), protocol={**plain, "postprocess": "median"}),
    ):
        write_record(record, tmp_path)
        write_timing(timed(record, 2.0, environment()), tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/paper.csv").write_text("\n".join([HEADER, *ROWS, ""]))
    return tmp_path


def test_every_row_stands_with_ours_and_says_whether_it_is_reached_and_if_not_why(out):
    assert out / "paper.md" in write_pages(out)
    page = (out / "paper.md").read_text("utf-8")
    lines = [line for line in page.splitlines() if line.startswith(("| Theirs", "| Another"))]
    assert lines == [
        "| Theirs (a) | toy | ⌈DICE⌉ | 0.9 | 0.900 | reached |",
        "| Theirs (b) | toy | ⌈DICE⌉ | 0.95 | 0.930 ± 0.014 | not reached: shorter training |",
        "| Theirs (b) | toy | AUPRC | 0.8 | 0.800 ± 0.000 | reached |",
        "| Theirs (b) | PRIVATE | ⌈DICE⌉ | 0.4 | 0.930 ± 0.014 | stand-in: [toy](toy.md): private |",
        "| Theirs (b) | PRIVATE | s / 100 slices | 46 | 2.00 | another device |",
        "| Another | PRIVATE | ⌈DICE⌉ | 0.3 | - | not measured: no such method here |",
    ]
    assert "6 numbers: another device 1, not measured 1, not reached 1, reached 2, stand-in 1." in page
    assert page.index("## Table 1") < page.index("## Table 2") < page.index("<details>") < page.index("| Another")
    assert "Table 2: 1 number not measured" in page
    assert check_pages(out) == []


def test_the_page_is_stale_when_a_row_changes_and_goes_with_its_file(out):
    write_pages(out)
    (out / "notes/paper.csv").write_text("\n".join([HEADER, *ROWS[:2], ""]))
    assert check_pages(out) == [out / "paper.md"]
    (out / "notes/paper.csv").unlink()
    assert out / "paper.md" in check_pages(out)
    write_pages(out)
    assert not (out / "paper.md").exists()


def test_a_number_that_is_lower_on_other_images_of_one_name_is_not_taken_for_ours(out):
    other = dataset(name="elsewhere", fingerprint="e" * 16)
    write_record(make("ddpm", dataset=other, metrics=metrics(0.99)), out)
    write_pages(out)
    assert "| Theirs (a) | toy | ⌈DICE⌉ | 0.9 | 0.900 | reached |" in (out / "paper.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "must be a CSV file"),
        ("a,b\n", "must have the columns table, dataset"),
        (f"{HEADER}\nT,toy,M,ddpm,dice,0.9,toy,\n", "names the metric 'dice'"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(text, match):
    with pytest.raises(RecordError, match=match):
        read_published(text, "notes/paper.csv")
