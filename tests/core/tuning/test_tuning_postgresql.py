"""A study in PostgreSQL that processes with caches of their own share, as those of several machines do."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tuning_toys
from processes import CONTEXT
from tuning_toys import counts, options

from adbench.config.options import Silent
from adbench.tuning import studies, workers
from adbench.tuning.space import TuneOptions

pytestmark = pytest.mark.slow
LIMIT_S = 300
OWNER = "postgres"
"""Who the server runs as where this is root, whom it refuses: Debian's package makes this user."""


@pytest.fixture
def url() -> Iterator[str]:
    """Of an empty database, on a server of its own that nobody reaches over the network."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'brain-adbench[postgresql]'")
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    path = os.pathsep.join([os.environ["PATH"], *map(str, versions)])
    if not (shutil.which("initdb", path=path) and shutil.which("pg_ctl", path=path)):
        why = "PostgreSQL is not installed: apt-get install postgresql"
        pytest.fail(why) if os.environ.get("ADBENCH_POSTGRESQL_TESTS") else pytest.skip(why)
    owner: dict[str, Any] = {"user": OWNER} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="adbench-"))  # that of the test is for its owner alone
    shutil.chown(folder, *owner.values() or [os.geteuid()])

    def run(*words: object) -> None:
        command = [shutil.which(str(words[0]), path=path), *map(str, words[1:])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **owner)

    data = folder / "data"
    run("initdb", "--username", OWNER, "--auth", "trust", "--no-sync", data)
    try:
        options = f"-F -c listen_addresses='' -c unix_socket_directories={folder}"
        run("pg_ctl", "start", "--wait", "--pgdata", data, "--options", options, "--log", folder / "log")
        yield f"postgresql://{OWNER}@/postgres?host={folder}"
    finally:
        run("pg_ctl", "stop", "--mode", "immediate", "--pgdata", data)
        shutil.rmtree(folder)


def _tune(given: TuneOptions, together: Any) -> None:
    together.wait(LIMIT_S)
    workers.tune(given, Silent())


def test_two_processes_that_begin_at_once_share_a_study(tmp_path, monkeypatch, url):
    tuning_toys.install(tmp_path / "site", monkeypatch)
    together = CONTEXT.Barrier(2)
    both = [
        CONTEXT.Process(target=_tune, args=(options(tmp_path / name, storage=url, trials=20), together))
        for name in ("a", "b")
    ]
    for each in both:
        each.start()
    for each in both:
        each.join(LIMIT_S)
    assert [each.exitcode for each in both] == [0, 0]
    found = studies.load_study(url, "s")
    assert counts(found).keys() == {"COMPLETE"}
    assert 20 <= counts(found)["COMPLETE"] <= 21, "two may begin the last one at once"
    assert {trial.user_attrs[studies.WORKER]["pid"] for trial in found.get_trials()} == {each.pid for each in both}


def test_the_trial_of_a_process_that_was_killed_is_tried_again_by_another(tmp_path, monkeypatch, url):
    tuning_toys.install(tmp_path / "site", monkeypatch)
    (tmp_path / "kill").touch()
    given = {"storage": url, "trials": 3, "settings": (f"kill={tmp_path / 'kill'}",)}
    killed = CONTEXT.Process(target=workers.tune, args=(options(tmp_path / "a", **given), Silent()))
    killed.start()
    killed.join(LIMIT_S)
    assert killed.exitcode == -9
    found = workers.tune(options(tmp_path / "b", **given), Silent())
    assert counts(found) == {"COMPLETE": 3, "FAIL": 1}
    assert found.get_trials()[1].params == found.get_trials()[0].params
