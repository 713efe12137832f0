"""What arrives from a depot, checked before the store has it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open

from adbench.errors import ArtifactError, first_fault
from adbench.storage.depot import Depot
from adbench.storage.spec import canonical_hash, key_of

INDEX = "part.json"
MAX_INDEX_BYTES = 1 << 20
MAX_BYTES = 8 << 30

Word = Annotated[str, Field(max_length=40, pattern=r"^[\w.+-]+$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Received(BaseModel):
    """What is not named here is dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Meta(_Received):
    """What an index says of its part."""

    spec: dict[str, Any]
    core_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    device: Word | None = None
    precision: Word | None = None
    made_for: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] | None = None


class Index(_Received):
    """An index of a part."""

    size: int = Field(MAX_BYTES, alias="bytes", ge=0, le=MAX_BYTES)
    """Those written first do not say their size."""
    sha256: Sha256
    meta: dict[str, Any]
    meta_sha256: Sha256

    @property
    def file(self) -> str:
        """The name that the file has by its content; the one that is said may lead anywhere."""
        return f"part-{self.sha256[:16]}.safetensors"

    def written(self, size: int) -> bytes:
        """The index as JSON, for a file of so many bytes."""
        known = Meta.model_validate(self.meta).model_dump()
        meta = {name: value for name, value in known.items() if value is not None}
        content = {"file": self.file, "bytes": size, "sha256": self.sha256}
        content |= {"meta": meta, "meta_sha256": canonical_hash(meta)}
        return json.dumps(content, indent=1, sort_keys=True).encode()


def index_at(depot: Depot, key: str) -> Index | None:
    """The index of a part, None where the depot has none. Raises ArtifactError where it is not one of this part."""
    place = f"{depot.shown}/{key}/{INDEX}"
    try:
        index = Index.model_validate_json(b"".join(depot.pieces(f"{key}/{INDEX}", MAX_INDEX_BYTES)))
        spec = Meta.model_validate(index.meta).spec
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ArtifactError(f"{place} is no index of a part ({first_fault(error)}): push it again.") from None
    if canonical_hash(index.meta) != index.meta_sha256 or key_of(spec) != key:
        raise ArtifactError(
            f"A part lies below its own key, but {place} is of another or was altered: nothing of it was kept."
        )
    return index


def bring(depot: Depot, key: str, index: Index, folder: Path) -> int:
    """Bring the tensors into a folder under their own name, return their bytes. Raises ArtifactError, OSError."""
    place, digest, size = f"{depot.shown}/{key}/{index.file}", hashlib.sha256(), 0
    with _arriving(folder / index.file) as path:
        try:
            with path.open("wb") as file:
                for piece in depot.pieces(f"{key}/{index.file}", index.size):
                    digest.update(piece)
                    size += file.write(piece)
                os.fsync(file.fileno())
        except FileNotFoundError as error:
            raise ArtifactError(f"{depot.shown} names {key}, but has no {index.file}: push it again.") from error
        if digest.hexdigest() != index.sha256:
            raise ArtifactError(
                f"A part must arrive as it was pushed, but the {size} bytes of {place} do not match its hash: nothing "
                "of it was kept."
            )
        _check_tensors(path, place)
    return size


def _check_tensors(path: Path, place: str) -> None:
    """Raise ArtifactError where a file is not safetensors; its header is read, and nothing loaded."""
    try:
        with safe_open(path, "pt"):
            pass
    except SafetensorError as error:
        raise ArtifactError(f"A part is safetensors, but {place} is not ({error}): nothing of it was kept.") from error


@contextmanager
def _arriving(target: Path) -> Iterator[Path]:
    """A file of another name in the same folder, which gets its own when all went well, and else is removed."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)
