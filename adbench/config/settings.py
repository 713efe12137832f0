"""From presets and `--set key=value` to a validated config.

Layers are merged in order, later wins: field defaults, a variant's `overrides`, the preset, `--set`. Keys may be nested
mappings or dotted (`unet.steps`). `data.<field>` goes to the dataset and `protocol.<field>` to the protocol.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from adbench.config.nested import flat
from adbench.errors import ConfigError, suggestion

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Settings:
    """`--set` values by receiver, each under its dotted key."""

    detector: Mapping[str, Any]
    data: Mapping[str, Any]
    protocol: Mapping[str, Any]


def parse_settings(settings: Sequence[str]) -> Settings:
    """Split `key=value` texts by receiver; a value is read as JSON where it is JSON, else kept as text.

    Raises:
        ConfigError: a text has no `=` or no key.
    """
    parts: dict[str, dict[str, Any]] = {"detector": {}, "data": {}, "protocol": {}}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"A setting is written key=value, such as unet.steps=100, got {text!r}.")
        receiver, dot, rest = key.strip().partition(".")
        if dot and receiver in ("data", "protocol"):
            parts[receiver][rest] = _value(value)
        else:
            parts["detector"][key.strip()] = _value(value)
    return Settings(**parts)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All dotted keys of a config class, nested ones too."""
    for name, field in model.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{prefix}{name}.")


def check_known(
    given: Iterable[str], known: Sequence[str], owner: str, advice: str, others: Sequence[str] = ()
) -> None:
    """Raise ConfigError for the first key that is not known, with the nearest one that is, or is among `others`."""
    for key in given:
        if key not in known:
            hint = suggestion(key, [*known, *others]) or "."
            raise ConfigError(f"no setting {key!r} for {owner}{hint} {advice}")


def resolve(model: type[ModelT], layers: Sequence[Mapping[str, Any]], owner: str, prefix: str = "") -> ModelT:
    """Merge layers, later wins, and validate.

    Raises:
        ConfigError: a value has the wrong type or range; names key, rule and value.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            _put(merged, key.split("."), value)
    try:
        config = model.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        key = prefix + ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ").removesuffix(".")
        shown = f", got {first['input']!r}" if not isinstance(first["input"], dict) else ""
        as_text = isinstance(first["input"], str) and first["type"] not in ("literal_error", "value_error")
        written = " Values are written as JSON: null, true, [32, 32]." if as_text else ""
        raise ConfigError(f"{owner}: {key.rstrip('.') or 'settings'}: {reason}{shown}.{written}") from error
    _check_numbers(merged, config, owner, prefix)
    return config


def _check_numbers(given: Mapping[str, Any], config: BaseModel, owner: str, prefix: str) -> None:
    """Raise ConfigError where `true` was taken for 1, or a number is infinite or NaN: no field means that."""
    asked = flat(given)
    for key, value in flat(config.model_dump()).items():
        infinite = isinstance(value, float) and not math.isfinite(value)
        if infinite or (isinstance(asked.get(key), bool) and not isinstance(value, bool)):
            raise ConfigError(f"{owner}: {prefix}{key}: Input should be a finite number, got {asked.get(key, value)}.")


def _put(target: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a value at a path; a mapping is merged into what stands there."""
    for name in path[:-1]:
        inner = target.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{'.'.join(path)} cannot be set: {name} is a value, not a group of settings.")
        target = inner
    if isinstance(value, Mapping):
        for name, inner_value in value.items():
            _put(target, [path[-1], str(name)], inner_value)
    else:
        target[path[-1]] = value
