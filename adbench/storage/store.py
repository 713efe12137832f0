"""Trained parts, content-addressed: made once, shared by every detector that asks for the same thing.

A file that does not match its size or hash is reported, removed and made again. One that is whole but does not fit what
it is loaded into is refused: hours of training may be in it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any

from torch import Tensor

from adbench.errors import ArtifactError
from adbench.storage.files import write_atomic, writing
from adbench.storage.holds import hold
from adbench.storage.leases import Lease
from adbench.storage.saved import Checkpoint, DamagedError, Notify, Saved, Shapes, Tensors
from adbench.storage.spec import PartSpec, canonical_hash

SCORES = "scores"
"""Kind of the score maps that are kept beside the parts."""
PROBE_BYTES = 1 << 16
"""Written to find out whether a folder can be: an empty file fits on a full disk."""
REMOVALS = 20
"""How often another run may remove a part's folder while its lease is being taken."""
LEASE = ".lease"
"""Of a part, in its folder."""


class ArtifactStore:
    """A folder of parts. Safe for several processes: one makes a part, the others wait for it.

    Where the lease of one runs out and another makes the part too, the part of the first that is done is that of both.
    """

    def __init__(self, root: Path, notify: Notify = lambda message: None) -> None:
        self.root, self.notify = root, notify
        self._computing: Callable[[], tuple[str, str]] = lambda: ("cpu", "float32")
        self._fetch: Callable[[str], object] = lambda key: None
        self._hold: Callable[[Path], object] = lambda folder: None
        self._made_for = ""

    @classmethod
    def below(cls, cache: Path, notify: Notify = lambda message: None) -> ArtifactStore:
        """The store of a cache folder."""
        store = cls(cache / "artifacts", notify)
        store._hold = hold
        return store

    @classmethod
    def temporary(cls) -> ArtifactStore:
        """A store in a temporary folder, removed when the store is."""
        folder = tempfile.TemporaryDirectory(prefix="adbench-")
        store = cls(Path(folder.name))
        store._folder = folder  # type: ignore[attr-defined]  # removes itself with the store
        return store

    def computing(self, how: Callable[[], tuple[str, str]]) -> ArtifactStore:
        """The same store for parts that are made as `how()` says: type of device, precision. Their keys do not tell."""
        store = copy(self)
        store._computing = how
        return store

    def made_for(self, what: str) -> ArtifactStore:
        """The same store, whose parts say what they were made for, such as "ddim on tcga-lgg"."""
        store = copy(self)
        store._made_for = what
        return store

    def looking(self, fetch: Callable[[str], object]) -> ArtifactStore:
        """The same store, where `fetch(key)` may bring a part into its folder before it is made; its lease is held."""
        store = copy(self)
        store._fetch = fetch
        return store

    def hold(self, spec: PartSpec) -> None:
        """Keep what a cache has of a part, now or later, from being pruned until this process ends."""
        self._hold(self.folder(spec))

    def folder(self, spec: PartSpec) -> Path:
        return self.root / spec.key

    def has(self, spec: PartSpec) -> bool:
        return Saved(self.folder(spec), "part").exists()

    def has_checkpoint(self, spec: PartSpec) -> bool:
        """Whether the part's training was cut off and can go on."""
        return Saved(self.folder(spec), "checkpoint").exists()

    def get(
        self, spec: PartSpec, make: Callable[[Checkpoint], Tensors], shapes: Shapes | None = None
    ) -> dict[str, Tensor]:
        """Return the part's tensors, calling `make` with its checkpoint where it is absent or damaged.

        Raises ArtifactError where the store cannot be written, or a part is not as `shapes` says: give those of
        the network that it is loaded into (`shapes_of(module.state_dict())`).
        """
        self.hold(spec)
        saved = Saved(self.folder(spec), "part")
        device, precision = self._computing()
        checkpoint = Checkpoint(self.folder(spec), self.notify, precision, self._made_for)
        with suppress(DamagedError):  # made again below, by whoever gets the lease
            if saved.exists():
                tensors = self._read(saved, spec, shapes)
                if self.has_checkpoint(spec):  # a kill came between the part and the end of its checkpoint
                    checkpoint.remove()
                return tensors
        with self.leased(spec.key):
            loaded = self._load(saved, spec, shapes)
            if loaded is None:
                if saved.exists():
                    saved.remove()
                self._fetch(spec.key)
                loaded = self._load(saved, spec, shapes)
            if loaded is None:
                tensors = dict(make(checkpoint))
                made = {"core_s": checkpoint.core_s, "device": device, "precision": precision}
                for_what = {"made_for": self._made_for} if self._made_for else {}
                meta = {"spec": spec.as_dict(), **made, **for_what}
                loaded = tensors if saved.save_first(tensors, meta) else self._load(saved, spec, shapes)
                if loaded is None:
                    saved.save(tensors, meta)
                    loaded = tensors
            checkpoint.remove()
            return loaded

    def core_s(self, key: str) -> float | None:
        """Processor seconds that the part of this key took to make; None where it is absent or older than the count."""
        try:
            meta = Saved(self.root / key, "part").read_meta()
        except DamagedError:
            return None
        return float(meta["core_s"]) if "core_s" in meta else None

    def beside(self, spec: PartSpec, prefix: str) -> dict[str, tuple[dict[str, Tensor], dict[str, Any]]]:
        """Name -> tensors and metadata of what the making of a part kept beside it, in the order of the names.

        Raises ArtifactError naming a file that does not match its hash.
        """
        names = sorted(path.stem for path in self.folder(spec).glob(f"{prefix}*.json"))
        try:
            return {name: Saved(self.folder(spec), name).read() for name in names}
        except DamagedError as error:
            raise ArtifactError(
                f"What is kept beside {spec.key} must match its hash ({error}). "
                f"Remove {self.folder(spec)} to make it anew."
            ) from error

    def check_writable(self) -> None:
        """Raise ArtifactError where nothing can be kept, before hours are spent on it."""
        probe = self.root / ".adbench-probe"
        with writing("Trained parts", self.root):
            write_atomic(probe, bytes(PROBE_BYTES))
            probe.unlink(missing_ok=True)

    def remove(self, spec: PartSpec) -> None:
        """Remove a part, after whoever is making it at the moment."""
        with self.leased(spec.key):
            shutil.rmtree(self.folder(spec), ignore_errors=True)

    def _read(self, saved: Saved, spec: PartSpec, shapes: Shapes | None) -> dict[str, Tensor]:
        """Return the tensors. Raises DamagedError, and ArtifactError where they are not of this part."""
        tensors, meta = saved.read(shapes)
        saved.touch()
        if canonical_hash(meta.get("spec")) != canonical_hash(spec.as_dict()):
            raise ArtifactError(
                f"A part lies in the folder of its own key, but what lies in {saved.folder} was made as another part. "
                "Move it back, or remove the folder to make the part anew."
            )
        return tensors

    def _load(self, saved: Saved, spec: PartSpec, shapes: Shapes | None) -> dict[str, Tensor] | None:
        """Return the tensors, or None where there are none (or they are damaged, which is said)."""
        if not saved.exists():
            return None
        try:
            return self._read(saved, spec, shapes)
        except DamagedError as error:
            self.notify(f"part {saved.folder.name} is damaged ({error}): it is made again")
            return None

    def leased(self, key: str) -> Lease:
        """Hold the lease of a part, after whoever is making it. Raises ArtifactError where it cannot be made."""
        with writing("Trained parts", self.root):
            for _ in range(REMOVALS):
                with suppress(FileNotFoundError, FileExistsError):  # another run removed the folder meanwhile
                    return self._lease(key)
            return self._lease(key)

    def _lease(self, key: str) -> Lease:
        folder = self.root / key
        folder.mkdir(parents=True, exist_ok=True)
        lease = Lease(folder / LEASE)
        lease.acquire(lambda: self.notify(f"another run is making {key}: waiting for it"))
        return lease
