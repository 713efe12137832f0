"""Parts over SSH, from and to a server of its own on this machine."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import asyncssh
import pytest
from part_files import KEY, SPEC, files_of, never, store_with

from adbench.errors import ArtifactError
from adbench.storage.depot import Depot
from adbench.storage.store import ArtifactStore
from adbench.storage.travel import parts_at, pull, push

pytestmark = pytest.mark.slow  # they start a server


class _Open(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        """Let everybody in."""
        return False


@pytest.fixture(scope="module")
def server():
    """Port and public key of an SSH server that serves files."""
    loop, key = asyncio.new_event_loop(), asyncssh.generate_private_key("ssh-ed25519")
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start():
        return await asyncssh.create_server(
            _Open, "127.0.0.1", 0, server_host_keys=[key], sftp_factory=True, allow_scp=False
        )

    acceptor = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    yield acceptor.get_port(), key.export_public_key().decode().strip()
    loop.call_soon_threadsafe(acceptor.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home folder, which knows no host yet."""
    (tmp_path / "me" / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    return tmp_path / "me"


def test_a_part_goes_to_a_host_that_is_known_and_comes_back_the_same(tmp_path, home, server):
    port, key = server
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
    depot = Depot(f"ssh://me@127.0.0.1:{port}{tmp_path}/depot")
    ours, away = store_with(tmp_path / "ours", SPEC), ArtifactStore(tmp_path / "away")
    assert parts_at(depot) == []
    size = push(ours, depot, KEY)
    assert push(ours, depot, KEY) is None
    assert parts_at(depot) == [KEY]
    assert files_of(tmp_path / "depot").keys() == files_of(ours.root).keys(), "no half-written file is left"
    assert pull(away, depot, KEY) == size
    assert files_of(away.root) == files_of(ours.root)
    away.get(SPEC, never)


def test_a_host_that_is_not_known_is_refused(tmp_path, home, server):
    (home / ".ssh" / "known_hosts").write_text("")
    with pytest.raises(ArtifactError, match=r"must be within reach, but it is not .*Host key"):
        Depot(f"ssh://you@127.0.0.1:{server[0]}{tmp_path}/depot")
