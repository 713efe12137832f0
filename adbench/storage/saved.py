"""Tensors in files that say what they should be: safetensors beside a JSON file that names them, their size and hash.

The JSON file is written last, so a kill at any moment leaves either the old state or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from adbench.errors import ArtifactError
from adbench.storage.files import write_atomic, write_new, writing
from adbench.storage.spec import canonical_hash

Tensors = Mapping[str, Tensor]
Shapes = Mapping[str, Sequence[int]]
Notify = Callable[[str], None]
Write = Callable[[Path, bytes], object]


def shapes_of(tensors: Tensors, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Name -> shape of tensors, such as those of `module.state_dict()`; `prefix` goes before the names."""
    return {f"{prefix}{name}": tuple(tensor.shape) for name, tensor in tensors.items()}


class DamagedError(Exception):
    """A file does not match its hash, or cannot be parsed."""


class Saved:
    """One named set of tensors with JSON metadata in a folder: `<name>.json` naming `<name>-<sha>.safetensors`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self._index = folder / f"{name}.json"

    def save(self, tensors: Tensors, meta: Mapping[str, Any]) -> None:
        """Replace what was saved. Raises ArtifactError where the folder cannot be written."""
        self._save(tensors, meta, write_atomic)

    def save_first(self, tensors: Tensors, meta: Mapping[str, Any]) -> bool:
        """Save unless something is saved; whether this was. Of several processes that try at once one does.

        Raises ArtifactError as `save`.
        """
        return self._save(tensors, meta, write_new)

    def _save(self, tensors: Tensors, meta: Mapping[str, Any], write: Write) -> bool:
        data = tensors_to_bytes({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
        meta = dict(meta)
        sha = hashlib.sha256(data).hexdigest()
        file = f"{self.name}-{sha[:16]}.safetensors"
        index = {"file": file, "bytes": len(data), "sha256": sha, "meta": meta, "meta_sha256": canonical_hash(meta)}
        with writing("Trained parts", self.folder):
            self._write(write_atomic, self.folder / file, data)
            try:
                self._write(write, self._index, json.dumps(index, indent=1, sort_keys=True).encode())
            except FileExistsError:
                with suppress(DamagedError):
                    self._sweep(self._read_index()["file"])
                return False
        self._sweep(file)
        return True

    @staticmethod
    def _write(write: Write, path: Path, data: bytes) -> None:
        try:
            write(path, data)
        except FileNotFoundError:  # swept away by another process that has saved the same meanwhile
            write(path, data)

    def _sweep(self, kept: str) -> None:
        """Remove what was saved before and what a kill in the middle of saving left behind."""
        for pattern in (f"{self.name}-*.safetensors", f".{self.name}*"):
            for path in self.folder.glob(pattern):
                if path.name != kept:
                    path.unlink(missing_ok=True)

    def touch(self) -> None:
        """Note that it was used now, by the time of its index; a cache that can only be read keeps none."""
        with suppress(OSError):
            os.utime(self._index)

    def exists(self) -> bool:
        return self._index.is_file()

    def read(self, shapes: Shapes | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and metadata, checked by size and hash, and by `shapes` where they are given.

        Raises:
            DamagedError: they are not what was written.
            ArtifactError: they are, but not as `shapes` says.
        """
        with self._naming_damage():
            index = self._read_index()
            data = self._file(index).read_bytes()
            self._check_hash(hashlib.sha256(data), index)
            tensors, meta = tensors_from_bytes(data), index["meta"]
        if shapes is not None:
            self.check_shapes(tensors, shapes)
        return tensors, meta

    def check(self) -> dict[str, Any]:
        """Return the index with file, bytes, sha256 and meta, after all was read. Raises DamagedError, as `read`."""
        with self._naming_damage():
            index = self._read_index()
            with self._file(index).open("rb") as file:
                self._check_hash(hashlib.file_digest(file, "sha256"), index)
                return {**index, "bytes": file.tell()}

    def _file(self, index: Mapping[str, Any]) -> Path:
        """The file of the tensors, which is of its size. Raises DamagedError, OSError."""
        file = self.folder / index["file"]
        size = file.stat().st_size
        if size != index.get("bytes", size):  # those written first do not say their size
            raise DamagedError(f"{file.name} has {size} bytes and not {index['bytes']}")
        return file

    @staticmethod
    def _check_hash(digest: Any, index: Mapping[str, Any]) -> None:
        if digest.hexdigest() != index["sha256"]:
            raise DamagedError(f"{index['file']} does not match its hash")

    def check_shapes(self, tensors: Tensors, shapes: Shapes) -> None:
        """Raise ArtifactError where tensors that were saved here are not those that `shapes` names, each of its shape.

        They are not made again in silence: hours of training may be in them.
        """
        there, here = shapes_of(tensors), {name: tuple(shape) for name, shape in shapes.items()}
        for name in sorted(there.keys() | here.keys()):
            if there.get(name) != here.get(name):
                raise ArtifactError(
                    f"The {self.name} of {self.folder.name} must fit what it is loaded into, but {name} is "
                    f"{there.get(name, 'missing')} in the file and {here.get(name, 'missing')} here: the file is "
                    f"damaged or of other code. Remove {self.folder} to make it anew."
                )

    def read_meta(self) -> dict[str, Any]:
        """Return the metadata without reading the tensors. Raises DamagedError."""
        with self._naming_damage():
            meta: dict[str, Any] = self._read_index()["meta"]
            return meta

    def _read_index(self) -> dict[str, Any]:
        index: dict[str, Any] = json.loads(self._index.read_bytes())
        if not isinstance(index["meta"], dict) or canonical_hash(index["meta"]) != index["meta_sha256"]:
            raise DamagedError(f"{self._index.name} does not match its hash")
        return index

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DamagedError(f"{error.filename}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise DamagedError(f"{self._index.name} is not what was written") from error

    def remove(self) -> None:
        """Remove what was saved, and what a kill in the middle of saving left behind."""
        self._index.unlink(missing_ok=True)
        self._sweep("")


class Checkpoint:
    """Where a part's training saves its state, and finds it again after it was cut off.

    It counts the processor seconds that go into the part, those before it was cut off too, and says in which precision
    it was made: a training goes on in no other.
    """

    def __init__(self, folder: Path, notify: Notify, precision: str = "float32", made_for: str = "") -> None:
        self._saved, self._notify, self._precision = Saved(folder, "checkpoint"), notify, precision
        self._made_for = made_for
        self._earlier_s, self._since = 0.0, time.process_time()

    @property
    def core_s(self) -> float:
        """Processor seconds spent so far, of all threads together."""
        return self._earlier_s + time.process_time() - self._since

    def save(self, tensors: Tensors, meta: Mapping[str, Any]) -> None:
        own = {"core_s": self.core_s, "precision": self._precision, "part": self._saved.folder.name}
        own |= {"made_for": self._made_for} if self._made_for else {}
        self._saved.save(tensors, {**meta, **own})

    def keep(self, name: str, tensors: Tensors, meta: Mapping[str, Any]) -> None:
        """Keep tensors beside the part for good: a snapshot of the weights, a loss curve."""
        Saved(self._saved.folder, name).save(tensors, {**meta, "core_s": self.core_s})

    def load(self, shapes: Shapes | None = None) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the last saved state, or None where there is none (or it is damaged, which is said).

        Raises ArtifactError where it was made in another precision or for another part, lacks a tensor that `shapes`
        names, or has another shape for it.
        """
        if not self._saved.exists():
            return None
        try:
            tensors, meta = self._saved.read()
        except DamagedError as error:
            self._notify(f"checkpoint {self._saved.folder.name} is damaged ({error}): training starts again")
            self._saved.remove()
            return None
        self._earlier_s = float(meta.pop("core_s", 0.0))
        self._check_precision(meta.pop("precision", None))
        meta.pop("made_for", None)
        folder = self._saved.folder
        if (part := meta.pop("part", folder.name)) != folder.name:
            raise ArtifactError(
                f"A checkpoint lies in the folder of its part, but that in {folder} is of {part}. Move it back, or "
                "remove it to train anew."
            )
        if shapes is not None:
            self._saved.check_shapes({name: tensors[name] for name in tensors.keys() & shapes.keys()}, shapes)
        return tensors, meta

    def _check_precision(self, made_in: str | None) -> None:
        """Raise ArtifactError where the state was `made_in` another precision; None: before that was said."""
        folder = self._saved.folder
        if made_in is None:
            self._notify(f"checkpoint {folder.name} does not say its precision: it is taken to be float32")
        made_in = made_in or "float32"
        if made_in != self._precision:
            raise ArtifactError(
                f"A training goes on in the precision that it began in, but {folder.name} was cut off in {made_in} "
                f"and this run computes in {self._precision}. Go on with --precision {made_in}, or remove the "
                f"checkpoint at {folder} to train anew."
            )

    def remove(self) -> None:
        self._saved.remove()
