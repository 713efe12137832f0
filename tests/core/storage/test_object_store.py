"""Parts in object stores: servers on this machine that speak as S3 and as Google Cloud Storage do."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import fsspec
import pytest
from part_files import KEY, SPEC, files_of, never, store_with

from adbench.errors import ArtifactError
from adbench.storage.depot import Depot
from adbench.storage.store import ArtifactStore
from adbench.storage.travel import parts_at, pull, push

pytestmark = pytest.mark.slow  # the server and its libraries take seconds to start


@contextmanager
def s3() -> Iterator[None]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    says = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "lab",
        "AWS_SECRET_ACCESS_KEY": "lab",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in says.items():
            patch.setenv(name, value)
        yield
    server.stop()


@contextmanager
def gs() -> Iterator[None]:
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    port = server._api._httpd.server_address[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks by gRPC, which the server does not speak
        yield
    server.stop()


@pytest.fixture(scope="module", params=[s3, gs], ids=["s3", "gs"])
def bucket(request) -> Iterator[str]:
    """URL of an empty bucket."""
    protocol = request.param.__name__
    with request.param():
        fsspec.filesystem(protocol, use_listings_cache=False).mkdir("lab")
        yield f"{protocol}://lab"


@pytest.fixture
def depot(bucket, request) -> Depot:
    return Depot(f"{bucket}/{request.node.originalname}")


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
    with pytest.raises(ArtifactError, match=r"the 10 bytes of (s3|gs)://lab/.* do not match its hash"):
        pull(away, depot, KEY)
    assert files_of(away.root) == {}


def test_a_bucket_that_is_not_there_is_said(tmp_path, bucket):
    home, depot = store_with(tmp_path / "home", SPEC), Depot(f"{bucket.removesuffix('lab')}nobody/parts")
    with pytest.raises(ArtifactError, match="://nobody/parts"):
        push(home, depot, KEY)
    with pytest.raises(ArtifactError, match="nothing does: correct the URL"):
        depot.check()
