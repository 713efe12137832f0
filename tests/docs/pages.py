"""The pages of documentation, and the code in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:adbench|make) [^`\n]+)`")
ASSIGNMENT = re.compile(r"[A-Z_]+=")


@dataclass(frozen=True)
class Command:
    """One command of a page, as words; `whole` where it stands in a block and must be complete."""

    page: Path
    words: tuple[str, ...]
    whole: bool = True

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {shlex.join(self.words)}"


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in one of the languages."""
    return [text for language, text in FENCE.findall(page.read_text("utf-8")) if language in languages]


def commands(page: Path) -> list[Command]:
    """All commands of a page: first those of its blocks in order, then those within sentences."""
    lines = [line for text in blocks(page, "sh", "bash") for line in text.replace("\\\n", " ").splitlines()]
    lines += [line[2:] for text in blocks(page, "console") for line in text.splitlines() if line.startswith("$ ")]
    whole = [Command(page, words) for line in lines for words in _split(line)]
    prose = FENCE.sub("", page.read_text("utf-8"))
    return whole + [Command(page, words, whole=False) for text in INLINE.findall(prose) for words in _split(text)]


def _split(line: str) -> list[tuple[str, ...]]:
    """The commands of a line, which may be joined by && or ;, without comments and settings of variables."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";&"):
            found.append([])
        elif found[-1] or not ASSIGNMENT.match(word):
            found[-1].append(word)
    return [tuple(words) for words in found if words]
