"""URLs as they may be shown: nothing of them that could be a secret, by what is kept, not by a list of what is hidden.

Before the host nothing is kept but the scheme, and of parameters (after ?, # or ;) the names alone, with the values of
a few that are no secrets. What stands elsewhere is hidden by its name (`password=`) or its form (`ghp_...`).
"""

from __future__ import annotations

import re

HIDDEN = "***"
SCHEME = re.compile(r"(?:(?:[a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
PATH = re.compile(r"/(?!/)|~|\.\.?/")
LOCAL = re.compile(r"(?:file|sqlite|journal):///", re.IGNORECASE)
"""With a path of this machine, in which @ is a letter."""
AT = re.compile(r".*(?:@|%40)", re.DOTALL)
MARK = re.compile(r"([?#;&]|%(?:3f|23|3b|26))", re.IGNORECASE)
"""Where parameters begin, and what parts them; percent-encoded too."""
HARMLESS = ("charset", "connect_timeout", "mode", "port", "sslmode", "timeout", "uri")
PLAIN = re.compile(r"[\w.-]{1,40}")
PAIR = re.compile(
    r"""([\w.-]*(?:pass|pw|secret|token|key|credential|auth|sig|jwt)[\w.-]*["']?(?:\s*=\s*|:\s+|:(?=["'])))"""
    r"""((?:bearer|basic)\s+\S+|'[^']*'(?![^\s;,&})])|"[^"]*"(?![^\s;,&})])|\S+)""",
    re.IGNORECASE,
)
"""A secret by its name, as connection strings, headers and dictionaries have them."""
TOKEN = (
    r"\b(?:(?:AKIA|ASIA|gh[a-z]_|github_pat_|glpat-|hf_|sk-|xox[a-z]-|ya29\.|eyJ)[\w.-]{8,}"
    r"|(?<=bearer )\S+|(?<=basic )\S+)"
)
"""A secret by its own form."""
MIXED = r"(?<![\w./+-])(?=[a-z_+~-]*\d)(?=[\d_+~-]*[a-z])[\w+~-]{16,}(?![\w./])"
"""A long word of letters and digits, which is no name of a file."""
IN_TEXT = re.compile(rf"(?P<url>{SCHEME.pattern}\S*|\S*@\S*|[\w./:-]+[?#&]\S+)|{TOKEN}|{MIXED}", re.IGNORECASE)
"""URLs within a text, with or without scheme, and tokens."""


def shown(url: str) -> str:
    """A URL, with or without scheme, without anything that could be a secret; a path of this machine as it is.

    A secret in the place of a host or of a folder is found only by its form, such as `ghp_...`.
    """
    return _without_named(url if PATH.match(url) else _parts_of(url))


def shown_text(text: str) -> str:
    """A message of a library without what could be a secret in the URLs and connection strings that it repeats.

    A URL ends with the first space.
    """
    return _without_named(IN_TEXT.sub(lambda match: shown(match[0]) if match["url"] else HIDDEN, text))


def _without_named(text: str) -> str:
    return re.sub(TOKEN, HIDDEN, PAIR.sub(rf"\1{HIDDEN}", text), flags=re.IGNORECASE)


def _parts_of(url: str) -> str:
    scheme = match[0] if (match := SCHEME.match(url)) else ""
    rest = url.removeprefix(scheme)
    if not LOCAL.match(url) and (user := AT.match(rest)):
        if MARK.search(user[0]):  # of a password or of a parameter: where either ends is not known
            return scheme + HIDDEN
        rest = f"{HIDDEN}@{rest.removeprefix(user[0])}"
    place, *parameters = MARK.split(rest)
    marks, pairs = parameters[::2], parameters[1::2]
    return scheme + place + "".join(mark + _parameter(pair) for mark, pair in zip(marks, pairs, strict=True))


def _parameter(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if name.lower() in HARMLESS and PLAIN.fullmatch(value):
        return pair
    if not equals or not PLAIN.fullmatch(name):
        return HIDDEN if pair else ""
    return f"{name}={HIDDEN}"
