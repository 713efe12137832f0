"""What lies in a cache: all of it is listed, damage is found, and only what nobody uses is removed."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from part_files import KEY, SPEC, TENSORS, never

from adbench.storage.inventory import Category, entries, faults
from adbench.storage.kept import Kept
from adbench.storage.leases import Lease
from adbench.storage.store import ArtifactStore

SCORES, CUT_OFF = replace(SPEC, kind="scores"), replace(SPEC, seed=1)


@pytest.fixture
def cache(tmp_path):
    """A cache with one thing of each category."""
    store = ArtifactStore.below(tmp_path).made_for("ddim on tcga-lgg")
    for spec in (SPEC, SCORES):
        store.get(spec, lambda checkpoint: TENSORS)

    def cut(checkpoint):
        checkpoint.save({"w": torch.ones(1)}, {"step": 1})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get(CUT_OFF, cut)
    slices = tmp_path / "data" / "slices" / "my-set-0123456789abcdef"
    slices.mkdir(parents=True)
    (slices / "index.json").write_text("{}")
    kept = Kept(tmp_path / "tuning" / "kept" / "cpu-float32")
    kept.planes(["k"], [0], (1, 2, 3), lambda indices: np.zeros((1, 2, 3), np.float32))
    return tmp_path


def test_each_thing_is_listed_once_with_what_it_is_for(cache):
    found = {entry.category: entry for entry in entries(cache)}
    assert list(found) == list(Category)
    assert len(entries(cache)) == len(Category)
    assert [found[category].made_for for category in Category] == [
        *("ddim on tcga-lgg", "ddim on tcga-lgg", "ddim on tcga-lgg", "my-set", "cpu-float32")
    ]
    assert found[Category.part].name == KEY
    (tensors,) = found[Category.part].place.glob("*.safetensors")
    assert found[Category.part].bytes > tensors.stat().st_size
    assert entries(cache / "nothing") == []


def test_reading_a_part_is_a_use_of_it(cache):
    store = ArtifactStore.below(cache)
    index = store.folder(SPEC) / "part.json"
    os.utime(index, (0, 0))
    (part,) = [entry for entry in entries(cache) if entry.category == Category.part]
    assert part.used == 0
    store.get(SPEC, never)
    (part,) = [entry for entry in entries(cache) if entry.category == Category.part]
    assert part.used > 1e9


def test_what_is_removed_is_gone_and_nothing_else(cache):
    for n, entry in enumerate(entries(cache), start=1):
        assert entry.remove()
        assert len(entries(cache)) == len(Category) - n
        assert not entry.place.exists()


def test_what_is_being_made_is_not_removed(cache):
    for entry in entries(cache):
        with Lease(entry.lease):
            assert not entry.remove()
        assert entry.place.exists()


def test_what_was_used_since_it_was_found_is_not_removed(cache):
    for entry in entries(cache):
        os.utime(entry.index, (entry.used + 1, entry.used + 1))
        assert not entry.remove()
        assert entry.place.exists()


def test_what_another_removed_meanwhile_is_gone(cache):
    found = entries(cache)
    for entry in [*found, *found]:
        assert entry.remove()


def test_kept_planes_are_computed_anew_after_they_were_removed(cache):
    (entry,) = [entry for entry in entries(cache) if entry.category == Category.trials]
    entry.remove()
    again = Kept(entry.place.parent).planes(["k"], [0], (1, 2, 3), lambda indices: np.ones((1, 2, 3), np.float32))
    assert again.min() == 1


def test_damage_is_found_and_named(cache):
    assert dict(faults(cache)) == {KEY: None, SCORES.key: None, CUT_OFF.key: None}
    store = ArtifactStore.below(cache)
    for spec in (SPEC, CUT_OFF):
        (file,) = store.folder(spec).glob("*.safetensors")
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    found = dict(faults(cache))
    assert found[SCORES.key] is None
    assert "does not match its hash" in str(found[KEY])
    assert "checkpoint-" in str(found[CUT_OFF.key])


def test_a_part_in_the_folder_of_another_is_found(cache):
    store = ArtifactStore.below(cache)
    store.folder(SPEC).rename(store.root / "net-0123456789abcdef")
    assert dict(faults(cache))["net-0123456789abcdef"] == "it was made as another part"
