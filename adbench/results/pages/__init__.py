"""Markdown pages from records and their times: `<dataset>.md` for each dataset, a glossary and an index.

Pages are a pure function of the files below `records/` (and of the hand-written `notes/<dataset>.md`), byte for byte:
no clock, no locale, every order is fixed by values. Rows share a table only where they are comparable.
"""

from adbench.results.pages.files import check_pages, write_pages
from adbench.results.pages.render import MARKER, render

__all__ = ["MARKER", "check_pages", "render", "write_pages"]
