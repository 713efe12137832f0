"""URLs as they may be shown: nothing of them that could be a secret, by what is kept, not by a list of what is hidden.

Before the host nothing is kept but the scheme, and of parameters (after ?, # or ;) the names alone, with the values of
a few that are no secrets.
"""

from __future__ import annotations

import re

HIDDEN = "***"
SCHEME = re.compile(r"(?:[a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
PATH = re.compile(r"[/~]|\.\.?/")
LOCAL = re.compile(r"(?:file|sqlite|journal):///", re.IGNORECASE)
"""With a path of this machine, in which @ is a letter."""
AT = re.compile(r".*(?:@|%40)", re.DOTALL)
MARK = re.compile(r"([?#;&]|%(?:3f|23|3b|26))", re.IGNORECASE)
"""Where parameters begin, and what parts them; percent-encoded too."""
HARMLESS = ("charset", "connect_timeout", "mode", "port", "sslmode", "timeout", "uri")
PLAIN = re.compile(r"[\w.-]{1,40}")
IN_TEXT = re.compile(rf"{SCHEME.pattern}\S*|\S*@\S*|[\w./:-]+[?#&]\S+", re.IGNORECASE)
"""URLs within a text, with or without scheme."""
PAIR = re.compile(
    r"""([\w.-]*(?:pass|pw|secret|token|key|credential|auth|sig|jwt)[\w.-]*\s*=\s*)('[^']*'|"[^"]*"|[^\s;,&]+)""",
    re.IGNORECASE,
)
"""A secret by its name in a text, as connection strings have them."""


def shown(url: str) -> str:
    """A URL, with or without scheme, without anything that could be a secret; a path of this machine as it is."""
    if PATH.match(url):
        return url
    scheme = match[0] if (match := SCHEME.match(url)) else ""
    rest = url.removeprefix(scheme)
    if not LOCAL.match(url) and (user := AT.match(rest)):
        if MARK.search(user[0]):  # of a password or of a parameter: where either ends is not known
            return scheme + HIDDEN
        rest = f"{HIDDEN}@{rest.removeprefix(user[0])}"
    place, *parameters = MARK.split(rest)
    marks, pairs = parameters[::2], parameters[1::2]
    return scheme + place + "".join(mark + _parameter(pair) for mark, pair in zip(marks, pairs, strict=True))


def shown_text(text: str) -> str:
    """A message of a library without what could be a secret in the URLs and connection strings that it repeats.

    A URL ends with the first space.
    """
    return PAIR.sub(rf"\1{HIDDEN}", IN_TEXT.sub(lambda match: shown(match[0]), text))


def _parameter(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if name.lower() in HARMLESS and PLAIN.fullmatch(value):
        return pair
    if not equals or not PLAIN.fullmatch(name):
        return HIDDEN if pair else ""
    return f"{name}={HIDDEN}"
