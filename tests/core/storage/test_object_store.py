"""Parts in an object store, a server of its own on this machine that speaks S3."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from part_files import KEY, SPEC, files_of, never, store_with

from adbench.errors import ArtifactError
from adbench.storage.depot import Depot
from adbench.storage.store import ArtifactStore
from adbench.storage.travel import parts_at, pull, push

pytestmark = pytest.mark.slow  # the server and its libraries take seconds to start


@pytest.fixture(scope="module")
def bucket():
    """URL of an empty bucket."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "lab",
            "AWS_SECRET_ACCESS_KEY": "lab",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem().mkdir("lab")
        yield "s3://lab"
    server.stop()


@pytest.fixture
def depot(bucket, request) -> Depot:
    return Depot(f"{bucket}/{request.node.name}")


def test_a_part_goes_to_the_object_store_and_comes_back_the_same(tmp_path, depot):
    home, away = store_with(tmp_path / "home", SPEC), ArtifactStore(tmp_path / "away")
    with pytest.raises(ArtifactError, match="nothing does: correct the URL"):
        depot.check()
    assert parts_at(depot) == []
    size = push(home, depot, KEY)
    assert push(home, depot, KEY) is None
    depot.check()
    assert parts_at(depot) == [KEY]
    assert pull(away, depot, KEY) == size
    assert files_of(away.root) == files_of(home.root)
    away.get(SPEC, never)


def test_what_others_push_meanwhile_is_seen(tmp_path, depot):
    away = ArtifactStore(tmp_path / "away")
    with pytest.raises(ArtifactError, match=f"There is no part {KEY}"):
        pull(away, depot, KEY)
    push(store_with(tmp_path / "home", SPEC), Depot(depot.shown), KEY)
    assert parts_at(depot) == [KEY]
    pull(away, depot, KEY)


def test_of_many_that_push_one_part_at_once_a_whole_one_arrives(tmp_path, depot):
    homes = [store_with(tmp_path / f"home{i}", SPEC, scale=i + 1) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda home: push(home, depot, KEY), homes))
    away = ArtifactStore(tmp_path / "away")
    pull(away, depot, KEY)
    assert files_of(away.root) in [files_of(home.root) for home in homes]


def test_bytes_that_were_altered_in_the_store_are_refused(tmp_path, depot):
    home, away = store_with(tmp_path / "home", SPEC), ArtifactStore(tmp_path / "away")
    push(home, depot, KEY)
    (name,) = (path.name for path in home.folder(SPEC).glob("part-*"))
    depot.put(f"{KEY}/{name}", b"x" * 10)
    with pytest.raises(ArtifactError, match=r"the 10 bytes of s3://lab/.* do not match its hash"):
        pull(away, depot, KEY)
    assert files_of(away.root) == {}


def test_a_bucket_that_is_not_there_is_said(tmp_path, bucket):
    home, depot = store_with(tmp_path / "home", SPEC), Depot("s3://nobody/parts")
    with pytest.raises(ArtifactError, match=r"s3://nobody/parts"):
        push(home, depot, KEY)
    with pytest.raises(ArtifactError, match="nothing does: correct the URL"):
        depot.check()
