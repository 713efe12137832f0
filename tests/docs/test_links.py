"""Links within the repository lead somewhere, and the README is short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import FENCE, PAGES, ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")
PUBLISHED = [page for page in (ROOT / "leaderboards").glob("**/*.md") if page.parent.name != "notes"]
"""Notes stand at the end of pages, where their links are looked at."""
ALL = sorted([*PAGES, ROOT / "CHANGELOG.md", *PUBLISHED])


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = FENCE.sub("", page.read_text("utf-8"))
    dead = []
    for target in LINK.findall(text):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)
    assert dead == []


def test_every_page_is_linked_from_the_readme() -> None:
    linked = set(LINK.findall((ROOT / "README.md").read_text("utf-8")))
    assert {page.relative_to(ROOT).as_posix() for page in PAGES if page.name != "README.md"} <= linked


def test_the_readme_is_short_and_its_picture_is_light() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
    assert (ROOT / "leaderboards/figures/headct-sprites.png").stat().st_size < 100_000
