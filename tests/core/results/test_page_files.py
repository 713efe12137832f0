"""Pages as files: current or stale, with the notes beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_records import RECORDS, TIMES, answer, details
from record_factory import (
    card,
    make,
    render,
)

from adbench.errors import RecordError
from adbench.results.method_card import method_card_path, write_method_card
from adbench.results.pages import check_pages, write_pages
from adbench.results.pages.render import Extras
from adbench.results.record import write_record


def test_written_pages_are_current(tmp_path):
    write_record(make(), tmp_path)
    pages = [tmp_path / name for name in ("GLOSSARY.md", "README.md", "toy.md")]
    assert check_pages(tmp_path) == pages
    assert write_pages(tmp_path) == pages
    assert check_pages(tmp_path) == []


def test_pages_know_methods_by_their_cards_and_are_stale_where_these_change(tmp_path):
    write_record(make(), tmp_path)
    path = tmp_path / method_card_path("ddpm")
    write_method_card(card("diffusion"), path)
    write_pages(tmp_path)
    assert "| `ddpm` | diffusion |" in (tmp_path / "README.md").read_text("utf-8")
    write_method_card(card("synthetic", "synthetic anomalies"), path)
    assert check_pages(tmp_path) == [tmp_path / name for name in ("GLOSSARY.md", "README.md", "toy.md")]
    path.write_text('{"family": "magic"}')
    with pytest.raises(RecordError, match="not a card of a method"):
        check_pages(tmp_path)


def test_a_page_that_was_changed_is_stale(tmp_path):
    write_record(make(), tmp_path)
    write_pages(tmp_path)
    with (tmp_path / "toy.md").open("a") as file:
        file.write("better\n")
    assert check_pages(tmp_path) == [tmp_path / "toy.md"]


def test_a_page_without_records_is_stale_and_removed_but_hand_written_ones_stay(tmp_path):
    path = write_record(make(), tmp_path)
    write_pages(tmp_path)
    (tmp_path / "ablation.md").write_text("# By hand\n")
    path.unlink()
    assert tmp_path / "toy.md" in check_pages(tmp_path)
    write_pages(tmp_path)
    assert sorted(file.name for file in tmp_path.glob("*.md")) == ["README.md", "ablation.md"]


def test_notes_are_part_of_the_page(tmp_path):
    write_record(make(), tmp_path)
    write_pages(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/toy.md").write_text("Sprites are easy.\n\nThey were drawn.\n")
    assert check_pages(tmp_path) == [tmp_path / "toy.md"]
    write_pages(tmp_path)
    page = (tmp_path / "toy.md").read_text("utf-8")
    assert "Sprites are easy." in answer(page)
    assert "They were drawn." in details(page, "Notes")


def test_the_index_ends_with_its_note():
    index = render(RECORDS, TIMES, Extras(notes={"README": "Which other methods there are.\n"}))[Path("README.md")]
    assert "\n\nWhich other methods there are.\n\n[What the numbers and the methods are]" in index


def test_notes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/toy.md").write_bytes(b"\xff\xfe")
    with pytest.raises(RecordError, match=r"toy\.md"):
        write_pages(tmp_path)
