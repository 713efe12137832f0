"""The store of parts: made once, found again, never half there."""

from __future__ import annotations

import errno
import gc
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_part import SPEC, TENSORS, equal, never

from adbench.errors import ArtifactError
from adbench.storage.files import write_atomic
from adbench.storage.leases import Lease
from adbench.storage.saved import Saved
from adbench.storage.spec import canonical_hash
from adbench.storage.store import ArtifactStore


def test_a_part_is_made_once(store, said):
    assert not store.has(SPEC)
    assert equal(store.get(SPEC, lambda checkpoint: TENSORS))
    assert store.has(SPEC)
    assert equal(store.get(SPEC, never))
    assert said == []


def test_the_key_depends_on_everything_but_the_order_of_the_config():
    again = replace(SPEC, config={"inner": {"b": [1, 2], "a": 1}, "width": 8})
    assert again.key == SPEC.key
    changes = [{"kind": "other"}, {"version": 2}, {"config": {}}, {"data": "x"}, {"seed": 1}, {"parents": {}}]
    assert len({replace(SPEC, **change).key for change in changes} | {SPEC.key}) == len(changes) + 1
    assert SPEC.key.startswith("net-")


def test_tensors_come_back_bit_for_bit_whatever_their_type_and_layout(store):
    tensors = {
        "half": torch.randn(3).bfloat16(),
        "indices": torch.tensor([1, -2], dtype=torch.int16),
        "turned": torch.randn(3, 4).T,
        "last": torch.randn(1, 4, 2, 2).to(memory_format=torch.channels_last),
        "odd": torch.tensor([torch.nan, torch.inf, -0.0]),
        "graph": torch.randn(2, requires_grad=True),
    }
    store.get(SPEC, lambda checkpoint: tensors)
    found = store.get(SPEC, never)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert np.array_equal(found[name].float().numpy(), tensor.detach().float().numpy(), equal_nan=True)


def test_what_fails_while_it_is_made_leaves_no_part_and_keeps_its_checkpoint(store):
    def fail(checkpoint):
        checkpoint.save(TENSORS, {"step": 3})
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        store.get(SPEC, fail)
    assert not store.has(SPEC)
    assert store.has_checkpoint(SPEC)

    def go_on(checkpoint):
        tensors, meta = checkpoint.load()
        assert meta == {"step": 3}
        return tensors

    assert equal(store.get(SPEC, go_on))
    assert not store.has_checkpoint(SPEC)


def test_only_the_last_checkpoint_is_kept(store):
    def make(checkpoint):
        for step in range(3):
            checkpoint.save({"x": torch.tensor(step)}, {"step": step})
            assert len(list(store.folder(SPEC).glob("checkpoint-*.safetensors"))) == 1
        assert checkpoint.load()[0]["x"] == 2
        return TENSORS

    store.get(SPEC, make)
    names = sorted(path.suffix for path in store.folder(SPEC).glob("[!.]*"))
    assert names == [".json", ".safetensors"]


def test_what_a_kill_left_behind_is_swept_away(store):
    folder = store.folder(SPEC)
    folder.mkdir(parents=True)
    for name in (".part.json.abc", ".part-123.safetensors.xyz", "part-123.safetensors", ".checkpoint.json.abc"):
        (folder / name).write_bytes(b"half")
    assert equal(store.get(SPEC, lambda checkpoint: TENSORS))
    assert not [path for path in folder.iterdir() if path.read_bytes() == b"half"]


def test_a_checkpoint_that_outlived_its_part_is_removed(store):
    store.get(SPEC, lambda checkpoint: TENSORS)
    Saved(store.folder(SPEC), "checkpoint").save(TENSORS, {"step": 1})
    assert equal(store.get(SPEC, never))
    assert not store.has_checkpoint(SPEC)


def test_an_index_names_its_file_with_size_and_both_hashes(store):
    store.get(SPEC, lambda checkpoint: TENSORS)
    index = json.loads((store.folder(SPEC) / "part.json").read_text("utf-8"))
    assert index["meta"]["spec"]["config"] == {"width": 8, "inner": {"a": 1, "b": [1, 2]}}
    assert index["file"] == f"part-{index['sha256'][:16]}.safetensors"
    assert index["bytes"] == (store.folder(SPEC) / index["file"]).stat().st_size
    assert index["meta_sha256"] == canonical_hash(index["meta"])


def test_a_store_waits_for_whoever_makes_the_part_and_says_so(store, said):
    folder = store.folder(SPEC)
    folder.mkdir(parents=True)
    found = []
    waiting = threading.Event()
    store.notify = lambda message: (said.append(message), waiting.set())
    with Lease(folder / ".lease"):
        thread = threading.Thread(target=lambda: found.append(store.get(SPEC, never)))
        thread.start()
        assert waiting.wait(20)
        Saved(folder, "part").save(TENSORS, {"spec": SPEC.as_dict()})
    thread.join(20)
    assert said == [f"another run is making {SPEC.key}: waiting for it"]
    assert equal(found[0])


def test_a_removed_part_is_gone(store):
    store.get(SPEC, lambda checkpoint: TENSORS)
    store.remove(SPEC)
    assert not store.folder(SPEC).exists()
    store.remove(SPEC)


def test_a_part_is_not_removed_under_whoever_is_making_it(store):
    making, go_on = threading.Event(), threading.Event()

    def make(checkpoint):
        making.set()
        assert go_on.wait(20)
        return TENSORS

    maker = threading.Thread(target=store.get, args=(SPEC, make))
    maker.start()
    assert making.wait(20)
    other = ArtifactStore(store.root, lambda message: go_on.set())
    other.remove(SPEC)
    maker.join(20)
    assert not store.folder(SPEC).exists()


def test_a_temporary_store_removes_itself():
    store = ArtifactStore.temporary()
    store.get(SPEC, lambda checkpoint: TENSORS)
    root = store.root
    assert root.is_dir()
    del store
    gc.collect()
    assert not root.exists()


def test_a_store_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    store = ArtifactStore(tmp_path / "file" / "store")
    for use in (store.check_writable, lambda: store.get(SPEC, never)):
        with pytest.raises(ArtifactError, match=r"cannot be written \(Not a directory\).*--cache"):
            use()


@pytest.mark.parametrize(("code", "reason"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only")])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_or_read_only_disk_leaves_no_half_written_file(store, monkeypatch, code, reason, call):
    def fail(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(ArtifactError, match=rf"cannot be written \({reason}.*--cache"):
        store.get(SPEC, lambda checkpoint: TENSORS)
    with pytest.raises(ArtifactError, match=rf"cannot be written \({reason}"):
        store.check_writable()
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == []
    monkeypatch.undo()
    assert equal(store.get(SPEC, lambda checkpoint: TENSORS))


def test_a_check_for_writing_leaves_nothing(store):
    store.check_writable()
    assert list(store.root.iterdir()) == []


def test_a_reader_sees_the_old_content_or_the_new(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    replace_file, seen = os.replace, []

    def look(source, target):
        seen.append(path.read_bytes())
        replace_file(source, target)
        seen.append(path.read_bytes())

    monkeypatch.setattr(os, "replace", look)
    write_atomic(path, b"new")
    assert seen == [b"old", b"new"]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_the_processor_seconds_of_a_part_hold_those_before_it_was_cut_off(tmp_path):
    store = ArtifactStore(tmp_path)

    def cut(checkpoint):
        busy(0.05)
        checkpoint.save({"w": torch.ones(1)}, {})
        raise KeyboardInterrupt

    def whole(checkpoint):
        assert checkpoint.load() is not None
        busy(0.02)
        return {"w": torch.ones(1)}

    assert store.core_s(SPEC.key) is None
    with pytest.raises(KeyboardInterrupt):
        store.get(SPEC, cut)
    assert store.core_s(SPEC.key) is None
    store.get(SPEC, whole)
    spent = store.core_s(SPEC.key)
    assert spent is not None
    assert spent >= 0.07


def test_what_a_training_keeps_outlasts_its_checkpoint_and_is_checked(tmp_path):
    store = ArtifactStore(tmp_path)

    def make(checkpoint):
        for step in (2, 1):
            checkpoint.keep(f"snapshot-{step}", {"w": torch.full((2,), float(step))}, {"step": step})
        return {"w": torch.ones(2)}

    store.get(SPEC, make)
    kept = store.beside(SPEC, "snapshot-")
    assert [meta["step"] for _, meta in kept.values()] == [1, 2]
    assert [float(tensors["w"][0]) for tensors, _ in kept.values()] == [1.0, 2.0]
    assert store.beside(SPEC, "curve") == {}
    (file,) = store.folder(SPEC).glob("snapshot-1-*.safetensors")
    file.write_bytes(b"")
    with pytest.raises(ArtifactError, match=SPEC.key):
        store.beside(SPEC, "snapshot-")


def cut_off(store: ArtifactStore) -> None:
    def make(checkpoint):
        checkpoint.save({"w": torch.ones(1)}, {"step": 1})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get(SPEC, make)


def go_on(checkpoint) -> dict[str, torch.Tensor]:
    tensors, meta = checkpoint.load()
    assert meta == {"step": 1}
    return tensors


def test_a_part_says_what_it_was_made_on_and_has_the_same_key_everywhere(store):
    def on_a_gpu() -> tuple[str, str]:
        return "cuda", "bf16"

    store.computing(on_a_gpu).get(SPEC, lambda checkpoint: TENSORS)
    meta = Saved(store.folder(SPEC), "part").read_meta()
    assert (meta["device"], meta["precision"]) == ("cuda", "bf16")
    assert equal(store.get(SPEC, never))


def test_a_training_that_was_cut_off_does_not_go_on_in_another_precision(store, said):
    cut_off(store.computing(lambda: ("cpu", "bf16")))
    with pytest.raises(
        ArtifactError, match=r"in bf16 and this run computes in float32.*--precision bf16, or remove"
    ) as told:
        store.get(SPEC, go_on)
    assert str(store.folder(SPEC)) in str(told.value)
    assert not store.has(SPEC)
    assert equal(store.computing(lambda: ("cuda", "bf16")).get(SPEC, go_on), {"w": torch.ones(1)})
    assert said == []


def test_a_checkpoint_that_does_not_say_its_precision_is_of_float32_which_is_said(store, said):
    cut_off(store)
    index = store.folder(SPEC) / "checkpoint.json"
    content = json.loads(index.read_text("utf-8"))
    del content["meta"]["precision"]
    content["meta_sha256"] = canonical_hash(content["meta"])
    index.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="--precision float32"):
        store.computing(lambda: ("cpu", "bf16")).get(SPEC, go_on)
    assert equal(store.get(SPEC, go_on), {"w": torch.ones(1)})
    assert said == [f"checkpoint {SPEC.key} does not say its precision: it is taken to be float32"] * 2


def test_parts_that_are_made_and_removed_at_the_same_time_raise_nothing(store):
    def work(i: int) -> None:
        for _ in range(100):
            store.remove(SPEC) if i == 0 else store.get(SPEC, lambda checkpoint: TENSORS)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
