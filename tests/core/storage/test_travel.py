"""Parts that travel between stores by way of a folder: whole or not at all, and checked on arrival."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from part_files import KEY, SPEC, TENSORS, files_of, never, store_with

from adbench.errors import ArtifactError
from adbench.storage.depot import Depot
from adbench.storage.spec import canonical_hash
from adbench.storage.store import ArtifactStore
from adbench.storage.transports import TRANSPORTS
from adbench.storage.travel import fetch_or_say, is_at, parts_at, parts_of, pull, push

OTHER = replace(SPEC, seed=1)


@pytest.fixture
def depot(tmp_path) -> Depot:
    return Depot(f"file://{tmp_path / 'depot'}")


@pytest.fixture
def away(tmp_path) -> ArtifactStore:
    """The store of somebody else."""
    return ArtifactStore(tmp_path / "away")


def test_a_part_arrives_as_it_was_pushed_and_is_used_without_being_made(tmp_path, depot, away):
    home = store_with(tmp_path / "home", SPEC)
    size = push(home, depot, KEY)
    assert pull(away, depot, KEY) == size == len(files_of(home.root)[f"{KEY}/{only(home)}"])
    assert files_of(away.root) == files_of(home.root)
    found = away.get(SPEC, never)
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def only(store: ArtifactStore) -> str:
    """The name of the one file of tensors."""
    (file,) = store.folder(SPEC).glob("part-*.safetensors")
    return file.name


def test_what_is_there_is_neither_pushed_nor_pulled_again(tmp_path, depot):
    home = store_with(tmp_path / "home", SPEC)
    assert push(home, depot, KEY) is not None
    before = files_of(tmp_path / "depot")
    assert push(home, depot, KEY) is None
    assert pull(home, depot, KEY) is None
    assert files_of(tmp_path / "depot") == before


def test_another_training_of_the_same_part_does_not_replace_the_first(tmp_path, depot, away):
    push(store_with(tmp_path / "first", SPEC), depot, KEY)
    assert push(store_with(tmp_path / "second", SPEC, scale=2), depot, KEY) is None
    pull(away, depot, KEY)
    assert torch.equal(away.get(SPEC, never)["weight"], TENSORS["weight"])


def test_parts_are_listed_and_kept_score_maps_stay_at_home(tmp_path, depot):
    scores = replace(SPEC, kind="scores")
    home = store_with(tmp_path / "home", SPEC, OTHER, scores)
    assert parts_of(home) == sorted([KEY, OTHER.key])
    assert parts_at(depot) == []
    for key in parts_of(home):
        push(home, depot, key)
    assert parts_at(depot) == parts_of(home)
    assert parts_at(Depot(str(home.root))) == parts_of(home), "a cache's folder of parts is a depot too"


def test_a_store_asks_a_depot_before_it_makes_a_part_and_says_what_came_of_it(tmp_path, depot):
    push(store_with(tmp_path / "home", SPEC), depot, KEY)
    said: list[str] = []
    store = ArtifactStore(tmp_path / "away", said.append)
    asking = store.looking(lambda key: fetch_or_say(store, depot, key))
    asking.get(SPEC, never)
    made = asking.get(OTHER, lambda checkpoint: {"weight": torch.zeros(1)})
    assert list(made) == ["weight"]
    assert said == [
        f"part {KEY} comes from {depot.shown}, 0.0 MiB",
        f"part {OTHER.key} is not at {depot.shown}: it is made here",
    ]
    assert (is_at(depot, KEY), is_at(depot, OTHER.key), is_at(depot, "no key")) == (True, False, False)


def test_a_part_that_is_damaged_at_home_is_brought_again(tmp_path, depot, away):
    push(store_with(tmp_path / "home", SPEC), depot, KEY)
    pull(away, depot, KEY)
    (away.folder(SPEC) / only(away)).write_bytes(b"half")
    assert pull(away, depot, KEY) is not None
    away.get(SPEC, never)


def test_a_damaged_part_is_not_pushed(tmp_path, depot):
    home = store_with(tmp_path / "home", SPEC)
    (home.folder(SPEC) / only(home)).write_bytes(b"half")
    with pytest.raises(ArtifactError, match=rf"A pushed part must be whole, but {KEY} is not"):
        push(home, depot, KEY)
    with pytest.raises(ArtifactError, match=r"must be whole, but net-0123456789abcdef is not .*No such file"):
        push(home, depot, "net-0123456789abcdef")
    assert files_of(tmp_path / "depot") == {}


def test_a_part_that_lost_its_tensors_in_the_depot_is_pushed_again(tmp_path, depot, away):
    home = store_with(tmp_path / "home", SPEC)
    push(home, depot, KEY)
    (tmp_path / "depot" / KEY / only(home)).unlink()
    with pytest.raises(ArtifactError, match=rf"names {KEY}, but has no part-\w+\.safetensors: push it again"):
        pull(away, depot, KEY)
    assert push(home, depot, KEY) is not None
    pull(away, depot, KEY)


@pytest.mark.parametrize("key", ["../../etc", "net", "net-0123456789ABCDEF", "a/net-0123456789abcdef", ""])
def test_what_is_no_key_leads_nowhere(tmp_path, depot, away, key):
    for move in (push, pull):
        with pytest.raises(ArtifactError, match="A part is known by its key"):
            move(away, depot, key)


def test_many_that_push_and_pull_at_once_see_whole_parts_alone(tmp_path, depot):
    homes = [store_with(tmp_path / f"home{i}", SPEC, OTHER, scale=i + 1) for i in range(4)]
    began = threading.Barrier(8)

    def pushed(store: ArtifactStore) -> None:
        began.wait(20)
        for key in (KEY, OTHER.key):
            push(store, depot, key)

    def pulled(i: int) -> None:
        began.wait(20)
        store = ArtifactStore(tmp_path / f"away{i}")
        for _ in range(50):
            if is_at(depot, KEY):
                pull(store, depot, KEY)
                store.get(SPEC, never)

    with ThreadPoolExecutor(8) as pool:
        for done in [*(pool.submit(pushed, s) for s in homes), *(pool.submit(pulled, i) for i in range(4))]:
            done.result(60)
    left = {name.partition("/")[2] for name in files_of(tmp_path / "depot")}
    assert {name for name in left if name != "part.json"} <= {only(home) for home in homes}


def test_a_push_that_is_cut_off_leaves_nothing_that_a_reader_sees(tmp_path, depot, monkeypatch):
    home = store_with(tmp_path / "home", SPEC)
    monkeypatch.setattr(depot._fs, "mv", lambda *args: 1 / 0)
    with pytest.raises(ArtifactError, match="must be within reach"):
        push(home, depot, KEY)
    assert files_of(tmp_path / "depot") == {}
    assert not is_at(depot, KEY)


def test_what_is_said_of_a_part_beyond_what_is_known_does_not_arrive(tmp_path, depot, away):
    push(store_with(tmp_path / "home", SPEC), depot, KEY)
    rewrite(tmp_path / "depot", lambda index: index["meta"].update(command="rm -r /"))
    pull(away, depot, KEY)
    assert "rm -r" not in (away.folder(SPEC) / "part.json").read_text("utf-8")


def rewrite(root, change) -> None:
    """Change the index of the part in a depot, and its hashes with it."""
    path = root / KEY / "part.json"
    index = json.loads(path.read_text("utf-8"))
    change(index)
    index["meta_sha256"] = canonical_hash(index["meta"])
    path.write_text(json.dumps(index))


URLS = {
    "ftp://host/parts": "at a URL of file://, ssh://, s3://, gs://, http://, https:// without parameters",
    "https://host/parts?token=abc": "without parameters, not at 'https://host/parts?token=***'",
    "s3://": "correct it",
    "simplecache::s3://bucket/parts": "correct it",
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_that_is_of_no_known_kind_is_refused(url):
    with pytest.raises(ArtifactError) as refused:
        Depot(url)
    assert URLS[url] in str(refused.value)
    assert "abc" not in str(refused.value)


def test_a_library_that_is_missing_is_named_with_what_brings_it(monkeypatch):
    def missing(*args: object, **options: object) -> None:
        raise ModuleNotFoundError("No module named 'gcsfs'", name="gcsfs")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(ArtifactError, match=r"not installed \(gcsfs\): pip install 'brain-adbench\[gcs\]'"):
        Depot("gs://bucket/parts")


def test_a_place_where_nothing_is_is_said(tmp_path):
    with pytest.raises(ArtifactError, match=r"Parts must lie at file://.*nowhere, but nothing does: correct the URL"):
        Depot(str(tmp_path / "nowhere")).check()


def test_every_kind_of_url_that_needs_a_library_names_an_extra_of_the_installation():
    extras = {backend.extra for name, backend in TRANSPORTS.items() if name != "file"}
    assert extras == {"ssh", "s3", "gcs", "http"}
