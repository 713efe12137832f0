"""Trained parts, content-addressed: made once, shared by every detector that asks for the same thing.

The key of a part is a hash of what it is made from (kind, code version, the fields of its config that differ from the
defaults, data fingerprint, seed, parents): a new field orphans no part, a changed default needs a new version. Files
are safetensors beside a JSON file that names them and their SHA-256 and is written last, so a kill at any moment leaves
either the old state or the new one. A file that does not match its hash is reported, removed and made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from adbench.errors import ArtifactError
from adbench.storage.files import write_atomic

Tensors = Mapping[str, Tensor]
Notify = Callable[[str], None]
PROBE_BYTES = 1 << 16
"""Written to find out whether a folder can be: an empty file fits on a full disk."""


def canonical_hash(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def changed_fields(config: BaseModel, exclude: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a config, JSON-able and by name, that differ from their defaults; `exclude` leaves some out."""
    return config.model_dump(mode="json", exclude_defaults=True, exclude=set(exclude))


@dataclass(frozen=True)
class PartSpec:
    """What a part is made from."""

    kind: str
    version: int
    """Version of the code that makes it: raise it when the same inputs would give another part."""
    config: Mapping[str, Any]
    """What differs from the defaults (`changed_fields`), and whatever else decides the part."""
    data: str
    """Fingerprint of the images it is made from."""
    seed: int
    parents: Mapping[str, str] = field(default_factory=dict)
    """Name -> key of the parts it is made with."""

    @property
    def key(self) -> str:
        """`<kind>-<16 hex digits>`, also the part's folder name."""
        return f"{self.kind}-{canonical_hash(self.as_dict())[:16]}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "version": self.version,
            "config": dict(self.config),
            "data": self.data,
            "seed": self.seed,
            "parents": dict(self.parents),
        }


class _DamagedError(Exception):
    """A file does not match its hash, or cannot be parsed."""


class Saved:
    """One named set of tensors with JSON metadata in a folder: `<name>.json` naming `<name>-<sha>.safetensors`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self._index = folder / f"{name}.json"

    def save(self, tensors: Tensors, meta: Mapping[str, Any]) -> None:
        """Replace what was saved. Raises ArtifactError where the folder cannot be written."""
        data = tensors_to_bytes({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
        meta = dict(meta)
        sha = hashlib.sha256(data).hexdigest()
        file = self.folder / f"{self.name}-{sha[:16]}.safetensors"
        try:
            write_atomic(file, data)
            index = {"file": file.name, "sha256": sha, "meta": meta, "meta_sha256": canonical_hash(meta)}
            write_atomic(self._index, json.dumps(index, indent=1, sort_keys=True).encode())
        except OSError as error:
            raise ArtifactError(
                f"Trained parts must be saved, but {self.folder} cannot be written ({error.strerror}). "
                "Free space there, or name another folder with --cache."
            ) from error
        for old in self.folder.glob(f"{self.name}-*.safetensors"):
            if old != file:
                old.unlink(missing_ok=True)

    def exists(self) -> bool:
        return self._index.is_file()

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and metadata. Raises _DamagedError."""
        with self._naming_damage():
            index = self._read_index()
            data = (self.folder / index["file"]).read_bytes()
            if hashlib.sha256(data).hexdigest() != index["sha256"]:
                raise _DamagedError("it does not match its hash")
            return tensors_from_bytes(data), index["meta"]

    def read_meta(self) -> dict[str, Any]:
        """Return the metadata without reading the tensors. Raises _DamagedError."""
        with self._naming_damage():
            meta: dict[str, Any] = self._read_index()["meta"]
            return meta

    def _read_index(self) -> dict[str, Any]:
        index: dict[str, Any] = json.loads(self._index.read_bytes())
        if canonical_hash(index["meta"]) != index["meta_sha256"]:
            raise _DamagedError("it does not match its hash")
        return index

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _DamagedError(f"{error.filename}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _DamagedError(f"{self._index.name} is not what was written") from error

    def remove(self) -> None:
        """Remove what was saved, and what a kill in the middle of saving left behind."""
        self._index.unlink(missing_ok=True)
        for pattern in (f"{self.name}-*.safetensors", f".{self.name}*"):
            for file in self.folder.glob(pattern):
                file.unlink(missing_ok=True)


class Checkpoint:
    """Where a part's training saves its state, and finds it again after it was cut off.

    It counts the processor seconds that go into the part, those before it was cut off too.
    """

    def __init__(self, folder: Path, notify: Notify) -> None:
        self._saved, self._notify = Saved(folder, "checkpoint"), notify
        self._earlier_s, self._since = 0.0, time.process_time()

    @property
    def core_s(self) -> float:
        """Processor seconds spent so far, of all threads together."""
        return self._earlier_s + time.process_time() - self._since

    def save(self, tensors: Tensors, meta: Mapping[str, Any]) -> None:
        self._saved.save(tensors, {**meta, "core_s": self.core_s})

    def keep(self, name: str, tensors: Tensors, meta: Mapping[str, Any]) -> None:
        """Keep tensors beside the part for good: a snapshot of the weights, a loss curve."""
        Saved(self._saved.folder, name).save(tensors, {**meta, "core_s": self.core_s})

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the last saved state, or None where there is none (or it is damaged, which is said)."""
        if not self._saved.exists():
            return None
        try:
            tensors, meta = self._saved.read()
            self._earlier_s = float(meta.pop("core_s", 0.0))
            return tensors, meta
        except _DamagedError as error:
            self._notify(f"checkpoint {self._saved.folder.name} is damaged ({error}): training starts again")
            self._saved.remove()
            return None

    def remove(self) -> None:
        self._saved.remove()


class ArtifactStore:
    """A folder of parts. Safe for several processes: one makes a part, the others wait for it."""

    def __init__(self, root: Path, notify: Notify = lambda message: None) -> None:
        self.root, self.notify = root, notify

    @classmethod
    def below(cls, cache: Path, notify: Notify = lambda message: None) -> ArtifactStore:
        """The store of a cache folder."""
        return cls(cache / "artifacts", notify)

    @classmethod
    def temporary(cls) -> ArtifactStore:
        """A store in a temporary folder, removed when the store is."""
        folder = tempfile.TemporaryDirectory(prefix="adbench-")
        store = cls(Path(folder.name))
        store._folder = folder  # type: ignore[attr-defined]  # removes itself with the store
        return store

    def folder(self, spec: PartSpec) -> Path:
        return self.root / spec.key

    def has(self, spec: PartSpec) -> bool:
        return Saved(self.folder(spec), "part").exists()

    def has_checkpoint(self, spec: PartSpec) -> bool:
        """Whether the part's training was cut off and can go on."""
        return Saved(self.folder(spec), "checkpoint").exists()

    def get(self, spec: PartSpec, make: Callable[[Checkpoint], Tensors]) -> dict[str, Tensor]:
        """Return the part's tensors, calling `make` with its checkpoint where it is absent or damaged."""
        saved, checkpoint = Saved(self.folder(spec), "part"), Checkpoint(self.folder(spec), self.notify)
        with suppress(_DamagedError):  # made again below, by whoever gets the lock
            if saved.exists():
                found = saved.read()[0]
                if self.has_checkpoint(spec):  # a kill came between the part and the end of its checkpoint
                    checkpoint.remove()
                return found
        with self._locked(spec):
            loaded = self._load(saved)
            if loaded is None:
                saved.remove()
                loaded = dict(make(checkpoint))
                saved.save(loaded, {"spec": spec.as_dict(), "core_s": checkpoint.core_s})
            checkpoint.remove()
            return loaded

    def core_s(self, key: str) -> float | None:
        """Processor seconds that the part of this key took to make; None where it is absent or older than the count."""
        try:
            meta = Saved(self.root / key, "part").read_meta()
        except _DamagedError:
            return None
        return float(meta["core_s"]) if "core_s" in meta else None

    def beside(self, spec: PartSpec, prefix: str) -> dict[str, tuple[dict[str, Tensor], dict[str, Any]]]:
        """Name -> tensors and metadata of what the making of a part kept beside it, in the order of the names.

        Raises ArtifactError naming a file that does not match its hash.
        """
        names = sorted(path.stem for path in self.folder(spec).glob(f"{prefix}*.json"))
        try:
            return {name: Saved(self.folder(spec), name).read() for name in names}
        except _DamagedError as error:
            raise ArtifactError(
                f"What is kept beside {spec.key} must match its hash ({error}). "
                f"Remove {self.folder(spec)} to make it anew."
            ) from error

    def check_writable(self) -> None:
        """Raise ArtifactError where nothing can be kept, before hours are spent on it."""
        probe = self.root / ".adbench-probe"
        try:
            write_atomic(probe, bytes(PROBE_BYTES))
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def remove(self, spec: PartSpec) -> None:
        shutil.rmtree(self.folder(spec), ignore_errors=True)

    def _load(self, saved: Saved) -> dict[str, Tensor] | None:
        """Return the tensors, or None where there are none (or they are damaged, which is said)."""
        if not saved.exists():
            return None
        try:
            return saved.read()[0]
        except _DamagedError as error:
            self.notify(f"part {saved.folder.name} is damaged ({error}): it is made again")
            return None

    def _locked(self, spec: PartSpec) -> Any:
        folder = self.folder(spec)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / ".lock")
            try:
                return lock.acquire(timeout=0)
            except Timeout:
                self.notify(f"another run is making {spec.key}: waiting for it")
                return lock.acquire()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ArtifactError:
        return ArtifactError(
            f"Trained parts must be saved, but {self.root} cannot be written ({error.strerror}). "
            "Free space there, or name another folder with --cache."
        )
