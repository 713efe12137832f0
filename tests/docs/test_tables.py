"""Tables of the documentation say what is registered, published and generated."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pages import ROOT, blocks

from adbench.cli import new

ENTRY_POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]


def rows(text: str, heading: str) -> list[dict[str, str]]:
    """The first table whose first heading this is, heading -> cell; of two columns with one heading, the first."""
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        titles, _, *lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]
        if titles[0] == heading:
            return [dict(reversed(list(zip(titles, line, strict=True)))) for line in lines]
    raise AssertionError(f"no table whose first column is {heading!r}")


@pytest.mark.parametrize(
    ("page", "heading", "group"),
    [("running.md", "method", "adbench.detectors"), ("own-data.md", "dataset", "adbench.datasets")],
)
def test_the_table_names_every_registered_plugin_and_no_other(page: str, heading: str, group: str) -> None:
    table = rows((ROOT / "docs" / page).read_text("utf-8"), heading)
    assert {name for row in table for name in re.findall(r"`([^`]+)`", row[heading])} == set(ENTRY_POINTS[group])


def test_the_readme_s_results_are_those_of_the_published_page() -> None:
    page = (ROOT / "leaderboards" / "headct-sprites.md").read_text("utf-8")
    published = rows(page, "method")
    readme = (ROOT / "README.md").read_text("utf-8")
    shown = next(table for table in readme.split("| method |")[1:] if "⌈DICE⌉" in table)
    ours = rows(f"| method |{shown}", "method")
    assert ours == [{key: row[key] for key in ours[0]} for row in published]


def test_the_detector_shown_is_the_one_that_is_written() -> None:
    written = new.render("detector", "my-method", "", "detector")["adbench_my_method/detector.py"]
    assert blocks(Path(ROOT / "docs" / "plugins.md"), "python")[0] == written
