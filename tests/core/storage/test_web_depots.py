"""Parts from a web server: what it lies about is refused, each in one sentence, and leaves nothing."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest
from part_files import KEY, SPEC, files_of, never, store_with
from web_depots import body, endless, lying, redirect, serving

from adbench.errors import ArtifactError
from adbench.storage.depot import Depot
from adbench.storage.spec import canonical_hash
from adbench.storage.store import ArtifactStore
from adbench.storage.travel import parts_at, parts_of, pull, push

pytestmark = pytest.mark.slow  # they start a server


@pytest.fixture
def home(tmp_path) -> ArtifactStore:
    return store_with(tmp_path / "home", SPEC)


@pytest.fixture
def away(tmp_path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "away")


def test_parts_of_a_web_server_are_listed_and_pulled(home, away):
    with serving(home.root) as url:
        depot = Depot(url)
        depot.check()
        assert parts_at(depot) == parts_of(home)
        pull(away, depot, KEY)
    assert files_of(away.root) == files_of(home.root)
    away.get(SPEC, never)


def test_a_web_server_is_only_read(home):
    with serving(home.root / "elsewhere") as url, pytest.raises(ArtifactError, match="A web server is only read"):
        push(home, Depot(url), KEY)


def test_what_a_web_server_does_not_have_or_not_list_is_said(home, away, tmp_path):
    (tmp_path / "empty").mkdir()
    with serving(tmp_path / "empty") as url:
        with pytest.raises(ArtifactError, match=rf"There is no part {KEY} at {url}"):
            pull(away, Depot(url), KEY)
        with pytest.raises(ArtifactError, match="does not list what it holds: name the keys"):
            parts_at(Depot(f"{url}/nowhere"))


def test_a_server_that_is_away_is_said_and_no_password_is_shown(home, away):
    with serving(home.root) as url:
        pass
    with pytest.raises(ArtifactError, match=r"must be within reach, but .* is not") as told:
        pull(away, Depot(url.replace("://", "://me:secret@")), KEY)
    assert "secret" not in str(told.value)


def index_of(home: ArtifactStore, **changes: object) -> bytes:
    content = json.loads((home.folder(SPEC) / "part.json").read_text("utf-8"))
    content["meta"].update(changes.pop("meta", {}))
    content["meta_sha256"] = canonical_hash(content["meta"])
    return json.dumps(content | changes).encode()


OTHER_SHA = "0" * 64
LIES = {
    "other bytes": ("part-", lambda home: lambda h: body(h, b"x" * size(home)), "do not match its hash"),
    "fewer bytes": ("part-", lambda home: lambda h: body(h, b"x"), "the 1 bytes of .* do not match its hash"),
    "an endless body": ("part-", lambda home: endless, r"must end after \d+ bytes, but goes on"),
    "a bomb": (
        "part-",
        lambda home: lambda h: body(h, gzip.compress(bytes(50 << 20)), Content_Encoding="gzip"),
        r"must end after \d+ bytes, but goes on",
    ),
    "a body that breaks off": (
        "part-",
        lambda home: lambda h: body(h, b"x" * 9, Content_Length="100"),
        "must be within reach, but .* is not",
    ),
    "a redirect to a local file": ("part-", lambda home: redirect("file:///etc/hostname"), r"a redirect \(302\)"),
    "a redirect to this machine": ("part.json", lambda home: redirect("http://127.0.0.1:1/"), r"a redirect \(302\)"),
    "an endless index": ("part.json", lambda home: endless, r"must end after \d+ bytes, but goes on"),
    "an index that is none": ("part.json", lambda home: lambda h: body(h, b"<html>"), "is no index of a part"),
    "an index without end": ("part.json", lambda home: lambda h: body(h, b"[" * 9999), "is no index of a part"),
    "an index of nothing": ("part.json", lambda home: lambda h: body(h, b"{}"), r"is no index of a part \(sha256: "),
    "an index that leads out": (
        "part.json",
        lambda home: lambda h: body(h, index_of(home, sha256="../../../etc/passwd")),
        r"is no index of a part \(sha256",
    ),
    "an index of too much": (
        "part.json",
        lambda home: lambda h: body(h, index_of(home, bytes=1 << 60)),
        r"is no index of a part \(bytes",
    ),
    "an index of no number": (
        "part.json",
        lambda home: lambda h: body(h, index_of(home, meta={"core_s": -1})),
        r"is no index of a part \(core_s",
    ),
    "an index of another part": (
        "part.json",
        lambda home: lambda h: body(h, index_of(home, meta={"spec": {"kind": "net"}})),
        "is of another or was altered",
    ),
    "an index with another hash": (
        "part.json",
        lambda home: lambda h: body(h, index_of(home, sha256=OTHER_SHA)),
        rf"names {KEY}, but has no part-{OTHER_SHA[:16]}",
    ),
    "an error": ("part.json", lambda home: lambda h: h.send_error(500), "must be within reach, but .* is not"),
}


def size(home: ArtifactStore) -> int:
    (file,) = home.folder(SPEC).glob("part-*")
    return file.stat().st_size


@pytest.mark.parametrize("lie", LIES)
def test_a_server_that_lies_is_refused_in_one_sentence_and_leaves_nothing(home, away, lie):
    about, answer, message = LIES[lie]
    with lying(home.root, about, answer(home)) as url, pytest.raises(ArtifactError, match=message) as refused:
        pull(away, Depot(url), KEY)
    said = str(refused.value)
    assert "\n" not in said
    assert len(said) < 400
    assert files_of(away.root) == {}
    assert not away.has(SPEC)


def test_bytes_that_match_their_hash_but_are_no_tensors_are_refused(home, away):

    content = b"not safetensors"
    sha = hashlib.sha256(content).hexdigest()
    (home.folder(SPEC) / f"part-{sha[:16]}.safetensors").write_bytes(content)
    (home.folder(SPEC) / "part.json").write_bytes(index_of(home, sha256=sha, bytes=len(content)))
    with serving(home.root) as url, pytest.raises(ArtifactError, match=r"A part is safetensors, but .* is not"):
        pull(away, Depot(url), KEY)
    assert files_of(away.root) == {}


def test_a_run_does_not_train_what_a_liar_offers_but_ends_with_the_sentence(home, away):
    from adbench.storage.travel import fetch_or_say

    with lying(home.root, "part-", lambda h: body(h, b"x")) as url:
        depot = Depot(url)
        with pytest.raises(ArtifactError, match="do not match its hash"):
            away.looking(lambda key: fetch_or_say(away, depot, key)).get(SPEC, never)
