"""Parts that travel: pushed to a depot, and brought from one, checked before the store has them.

A key says what a part was to be made from. That it was, whoever can write to the depot vouches for; what is checked is
that the tensors are those that were pushed, and are said to be of this key.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from adbench.errors import ArtifactError
from adbench.storage.arrival import INDEX, Index, bring, index_at
from adbench.storage.depot import KEY, Depot
from adbench.storage.files import write_atomic, writing
from adbench.storage.saved import DamagedError, Saved
from adbench.storage.store import SCORES, ArtifactStore


def parts_of(store: ArtifactStore) -> list[str]:
    """Keys of all parts that a store has, sorted."""
    return _parts(path.parent.name for path in store.root.glob(f"*/{INDEX}"))


def parts_at(depot: Depot) -> list[str]:
    """Keys of all parts that a depot lists, sorted. Raises ArtifactError where it lists nothing."""
    return _parts(depot.listed())


def _parts(keys: Iterable[str]) -> list[str]:
    """The keys but those of kept score maps, which lie among them."""
    return sorted(key for key in keys if not key.startswith(f"{SCORES}-"))


def is_at(depot: Depot, key: str) -> bool:
    """Whether a depot says that it has a part. Raises ArtifactError where what it says is not of this part."""
    return KEY.fullmatch(key) is not None and index_at(depot, key) is not None


def push(store: ArtifactStore, depot: Depot, key: str) -> int | None:
    """Put a part into a depot and return its bytes; None where the depot has it.

    Another training of the same part that lies there stays: whoever uses it goes on with what they have.

    Raises ArtifactError where the part is not there, or not whole, or the depot cannot be written.
    """
    saved = Saved(_folder(store, key), "part")
    try:
        whole = saved.check()
    except DamagedError as error:
        raise ArtifactError(f"A pushed part must be whole, but {key} is not ({error}): make it anew.") from error
    if (there := index_at(depot, key)) and depot.has(f"{key}/{there.file}"):
        return None
    index = Index.model_validate(whole)
    depot.put(f"{key}/{index.file}", saved.folder / whole["file"])
    depot.put(f"{key}/{INDEX}", index.written(index.size))
    return index.size


def pull(store: ArtifactStore, depot: Depot, key: str) -> int | None:
    """Bring a part into the store and return its bytes; None where the store has it whole.

    Raises ArtifactError where the depot has none, or what arrives is not it.
    """
    saved = Saved(_folder(store, key), "part")
    if not saved.exists() and index_at(depot, key) is None:
        raise ArtifactError(f"There is no part {key} at {depot.shown}: correct the key or the URL.")
    with store.leased(key):
        if saved.exists():
            try:
                saved.check()
                return None
            except DamagedError as error:
                store.notify(f"part {key} is damaged ({error}): it is brought again")
                saved.remove()
        return fetch(store, depot, key)


def fetch_or_say(store: ArtifactStore, depot: Depot, key: str) -> None:
    """Bring a part that is to be made otherwise, whose lock is held, and say which it is. Raises as `pull`."""
    size = fetch(store, depot, key)
    if size is None:
        store.notify(f"part {key} is not at {depot.shown}: it is made here")
    else:
        store.notify(f"part {key} comes from {depot.shown}, {size / 2**20:.1f} MiB")


def fetch(store: ArtifactStore, depot: Depot, key: str) -> int | None:
    """Bring a part, whose lock is held, and return its bytes; None where the depot has none. Raises as `pull`."""
    if not KEY.fullmatch(key) or (index := index_at(depot, key)) is None:
        return None
    folder = store.root / key
    with writing("Trained parts", store.root):
        folder.mkdir(parents=True, exist_ok=True)
        size = bring(depot, key, index, folder)
        write_atomic(folder / INDEX, index.written(size))
    return size


def _folder(store: ArtifactStore, key: str) -> Path:
    if not KEY.fullmatch(key):
        raise ArtifactError(f"A part is known by its key, such as vqvae-0123456789abcdef, not {key!r}: correct it.")
    return store.root / key
