"""What lies in a cache folder: what each thing is, for what, how large it is, and when it was last used."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from adbench.errors import ArtifactError
from adbench.storage.holds import alone
from adbench.storage.leases import Lease
from adbench.storage.saved import DamagedError, Saved
from adbench.storage.spec import key_of
from adbench.storage.store import LEASE, SCORES, ArtifactStore


class Category(StrEnum):
    """What a thing in the cache is."""

    part = "part"
    checkpoint = "checkpoint"
    scores = "score maps"
    slices = "prepared slices"
    trials = "maps of trials"


@dataclass(frozen=True)
class CacheEntry:
    """One thing that can be removed by itself."""

    category: Category
    place: Path
    index: Path
    """What says that it is there, and by its time of change when it was last used."""
    lease: Path
    """Of whoever makes it."""
    made_for: str
    """Method and dataset that it was made for, as far as it says so."""
    bytes: int
    used: float
    """Seconds since 1970."""

    @property
    def name(self) -> str:
        return self.place.stem if self.category == Category.trials else self.place.name

    def remove(self) -> bool:
        """Remove it, unless a process uses or makes it, or has used it since it was found.

        Raises ArtifactError where that is not allowed.
        """
        try:
            with alone(self.place) as free:
                return free and self._removed()
        except FileNotFoundError:  # removed by another meanwhile
            return True
        except OSError as error:
            raise ArtifactError(f"{self.place} cannot be removed ({error.strerror}): remove it yourself.") from error

    def _removed(self) -> bool:
        lease = Lease(self.lease)
        if not lease.acquire(patient=False):
            return False
        with lease:
            if unused := _used(self.index) == self.used:
                self._remove()
            return unused

    def _remove(self) -> None:
        if self.category == Category.trials:
            self.place.with_suffix(".have").unlink(missing_ok=True)  # first: without it the other is not believed
            self.place.unlink(missing_ok=True)
        else:
            shutil.rmtree(self.place)


def entries(cache: Path) -> list[CacheEntry]:
    """All that can be removed by itself, by category and name."""
    listed = [*_parts(cache), *_slices(cache), *_trials(cache)]
    return sorted(listed, key=lambda entry: (list(Category).index(entry.category), entry.name))


def _parts(cache: Path) -> Iterator[CacheEntry]:
    for folder in ArtifactStore.below(cache).root.glob("*/"):
        index = next((path for name in ("part", "checkpoint") if (path := folder / f"{name}.json").is_file()), None)
        if index is None:
            continue
        category = Category.checkpoint if index.stem == "checkpoint" else Category.part
        if folder.name.startswith(f"{SCORES}-"):
            category = Category.scores
        with suppress(OSError):  # removed meanwhile
            made_for = _made_for(folder, index.stem)
            yield CacheEntry(category, folder, index, folder / LEASE, made_for, _size(folder), _used(index))


def _slices(cache: Path) -> Iterator[CacheEntry]:
    for folder in (cache / "data" / "slices").glob("[!.]*/"):
        lease = folder.with_name(f"{folder.name}{LEASE}")
        index = path if (path := folder / "index.json").is_file() else folder
        with suppress(OSError):
            yield CacheEntry(
                Category.slices, folder, index, lease, folder.name.rpartition("-")[0], _size(folder), _used(index)
            )


def _trials(cache: Path) -> Iterator[CacheEntry]:
    for path in (cache / "tuning" / "kept").glob("*/*.npy"):
        with suppress(OSError):
            lease, size = path.with_suffix(LEASE), path.stat().st_size
            yield CacheEntry(Category.trials, path, path, lease, path.parent.name, size, _used(path))


def _made_for(folder: Path, name: str) -> str:
    with suppress(DamagedError):
        made_for = Saved(folder, name).read_meta().get("made_for")
        return made_for if isinstance(made_for, str) else ""
    return ""


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _used(path: Path) -> float:
    return path.stat().st_mtime


def faults(cache: Path) -> Iterator[tuple[str, str | None]]:
    """Yield key and fault (None: whole) of each part, checkpoint and batch of score maps, after reading all of it."""
    for folder in sorted(ArtifactStore.below(cache).root.glob("*/")):
        names = sorted(path.stem for path in folder.glob("[!.]*.json"))
        if names:
            yield folder.name, next((fault for name in names if (fault := _fault(folder, name))), None)


def _fault(folder: Path, name: str) -> str | None:
    try:
        meta: dict[str, Any] = Saved(folder, name).check()["meta"]
    except DamagedError as error:
        return str(error)
    if name == "part" and key_of(meta.get("spec", {})) != folder.name:
        return "it was made as another part"
    return None
