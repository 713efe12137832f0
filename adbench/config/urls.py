"""URLs as they may be shown."""

from __future__ import annotations

import re

USER = re.compile(r"(://[^\s:/@]*:)[^\s]*@")
PARAMETER = re.compile(r"(?i)([?&;\s][\w.-]*(?:pass|pwd|secret|token|key|credential)[\w.-]*=)[^&;\s]*")


def shown(text: str) -> str:
    """A URL, or any text with one, without passwords: neither before the host nor among the parameters."""
    return PARAMETER.sub(r"\1***", USER.sub(r"\1***@", text))
