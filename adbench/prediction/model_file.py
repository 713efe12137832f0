"""A model as one file: safetensors, whose metadata hold the card. Nothing in it is executed.

A file is checked before anything of its size is reserved: its length, the header, the card and its hash, names, types
and shapes of the tensors, then the hash of each.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from adbench.errors import ModelError, first_fault
from adbench.prediction.card import FORMAT, ModelCard, TensorCard, is_sealed
from adbench.storage.files import write_atomic, writing

KEY = "adbench"
"""Of the card in the metadata of safetensors."""
MAX_BYTES = 8 << 30
MAX_HEADER_BYTES = 32 << 20
ITEM_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "U8": 1, "I8": 1, "BOOL": 1}
AGAIN = "Fetch or export it again."


@dataclass(frozen=True)
class ModelFile:
    """What was read from a model file."""

    card: ModelCard
    tensors: dict[str, Tensor]
    sha256: str
    """Of the whole file."""


def cards_of(tensors: Mapping[str, Tensor]) -> dict[str, TensorCard]:
    """Describe tensors as they are stored."""
    data = tensors_to_bytes(dict(tensors))
    header, body = _split(data)
    return {name: _card(entry, body) for name, entry in sorted(header.items())}


def write_model(path: Path, card: ModelCard, tensors: Mapping[str, Tensor]) -> str:
    """Write a model file and return its SHA-256. Raises ModelError where it cannot be written."""
    note = json.dumps(card.sealed(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    data = tensors_to_bytes(dict(tensors), {KEY: note})
    with writing("A model file", path, "Name another with -o.", ModelError):
        write_atomic(path, data)
    return hashlib.sha256(data).hexdigest()


def read_card(path: Path) -> ModelCard:
    """Read the card alone. Raises ModelError as `read_model`, but for the content of the tensors."""
    return _checked(path)[0]


def read_model(path: Path) -> ModelFile:
    """Read a model file. Raises ModelError saying what is wrong with it."""
    card, header, start = _checked(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"Cannot read the model {path} ({error.strerror}).") from error
    body = memoryview(data)[start:]
    for name, entry in header.items():
        if _card(entry, body) != card.tensors[name]:
            raise ModelError(f"The tensor {name} of {path} does not match its hash: the file was altered. {AGAIN}")
    try:
        return ModelFile(card, tensors_from_bytes(data), hashlib.sha256(data).hexdigest())
    except SafetensorError as error:  # stricter with the header than JSON is
        raise ModelError(
            f"The header of {path} is not that of safetensors ({error}): it was altered. {AGAIN}"
        ) from error


def _checked(path: Path) -> tuple[ModelCard, dict[str, Any], int]:
    """The card, the header's entries of tensors, and where their bytes begin."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= MAX_HEADER_BYTES:
                raise ModelError(f"A model is a file of 'adbench model export', but {path} is no such file.")
            raw = file.read(length)
    except OSError as error:
        raise ModelError(f"Cannot read the model {path} ({error.strerror}). Correct the path.") from error
    if size > MAX_BYTES:
        raise ModelError(f"A model has at most {MAX_BYTES} bytes, but {path} has {size}: it is none of adbench.")
    if len(raw) < length:
        raise ModelError(f"{path} is cut short: its header has {length} bytes, of which {len(raw)} are there. {AGAIN}")
    header = _json_object(path, raw)
    metadata = header.pop("__metadata__", None)
    note = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(note, str):
        raise ModelError(f"{path} holds tensors, but no card of adbench. A model is made by 'adbench model export'.")
    card = _card_of(path, note)
    _check_tensors(path, header, card, size - 8 - length)
    return card, header, 8 + length


def _json_object(path: Path, raw: bytes | str) -> dict[str, Any]:
    try:
        content = json.loads(raw, object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"The header of {path} is no JSON ({error}): it is damaged, or no model of adbench. {AGAIN}"
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"The header of {path} must be a JSON object: it is damaged, or no model. {AGAIN}")
    return content


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises ValueError where a name stands twice, of which others might read the first."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name stands twice")
    return content


def _card_of(path: Path, note: str) -> ModelCard:
    content = _json_object(path, note)
    version = content.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ModelError(f"The card of {path} must say its format, a number from 1 on, not {version!r}. {AGAIN}")
    if version > FORMAT:
        raise ModelError(
            f"This adbench reads model files up to format {FORMAT}, but {path} is of format {version}: update adbench."
        )
    if not is_sealed(content):
        raise ModelError(f"The card of {path} does not match its hash: the file was altered. {AGAIN}")
    content.pop("sha256")
    try:
        return ModelCard.model_validate(content)
    except ValidationError as error:
        raise ModelError(f"The card of {path} is not valid: {first_fault(error)}. {AGAIN}") from error


def _check_tensors(path: Path, header: Mapping[str, Any], card: ModelCard, available: int) -> None:
    """Raise ModelError where names, types, shapes or places of the tensors are not those of the card."""
    if missing := sorted(header.keys() ^ card.tensors.keys()):
        raise ModelError(f"Tensors and card of {path} must name the same, but {missing[0]} is in one alone. {AGAIN}")
    expected = 0
    for name, entry in sorted(header.items(), key=lambda item: _offsets(path, *item)):
        wanted = card.tensors[name]
        if wanted.dtype not in ITEM_BYTES:
            raise ModelError(f"The tensor {name} of {path} is of a type that is not read, {wanted.dtype}. {AGAIN}")
        here, said = (entry.get("dtype"), entry.get("shape")), (wanted.dtype, list(wanted.shape))
        if here != said or min(wanted.shape, default=0) < 0:
            raise ModelError(f"The tensor {name} of {path} must be {said} by the card, but is {here}. {AGAIN}")
        begin, end = _offsets(path, name, entry)
        if begin != expected or end - begin != math.prod(wanted.shape) * ITEM_BYTES[wanted.dtype]:
            raise ModelError(f"The tensor {name} of {path} does not lie where its size says. {AGAIN}")
        expected = end
    if available < expected:
        raise ModelError(f"{path} is cut short: {expected} bytes of tensors are needed, {available} are there. {AGAIN}")
    if available > expected:
        raise ModelError(f"{path} has {available - expected} bytes after its end: the file was altered. {AGAIN}")


def _offsets(path: Path, name: str, entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(type(at) is int and at >= 0 for at in offsets)):
        raise ModelError(f"The tensor {name} of {path} must say where it lies, but says {offsets!r}. {AGAIN}")
    return offsets[0], offsets[1]


def _split(data: bytes) -> tuple[dict[str, Any], memoryview]:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    return header, memoryview(data)[8 + length :]


def _card(entry: Mapping[str, Any], body: memoryview) -> TensorCard:
    begin, end = entry["data_offsets"]
    return TensorCard(
        dtype=entry["dtype"], shape=tuple(entry["shape"]), sha256=hashlib.sha256(body[begin:end]).hexdigest()
    )
