"""The presets that a plugin may name values for."""

from __future__ import annotations

from adbench.errors import ConfigError, suggestion

PRESETS = ("smoke", "demo", "small", "standard", "paper")
"""The presets for which a plugin may name values."""


def check_preset(preset: str) -> str:
    """Return `preset`. Raises ConfigError where it is not one of PRESETS."""
    if preset not in PRESETS:
        hint = suggestion(preset, PRESETS) or "."
        raise ConfigError(f"no preset {preset!r}{hint} Presets are {', '.join(PRESETS)}.")
    return preset
