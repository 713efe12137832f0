"""SLURM with one node, this machine: munge, MariaDB, slurmdbd, slurmctld and slurmd in a folder of their own.

It needs root and Debian's packages munge, mariadb-server, slurmdbd and slurm-wlm, and neither systemd nor cgroups.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = ("munge", "mariadb-server", "slurmdbd", "slurm-wlm")
PROGRAMS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch", "sacct")
START_S = 30
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

SLURM = """\
ClusterName=node
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/slurmd
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
KillWait={kill_s}
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStoragePass={folder}/munge.socket
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

DATABASE = """\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
"""


def missing() -> str:
    """Why there can be no such node here; empty where there can."""
    if os.geteuid() != 0:
        return "the daemons of SLURM are started by root alone"
    absent = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    return f"{', '.join(absent)} not found: apt-get install {' '.join(PACKAGES)}" if absent else ""


@dataclass
class Node:
    folder: Path
    found: dict[str, str]
    """What the environment must have for SLURM's commands to find its daemons."""
    ends: ExitStack
    daemons: dict[str, _Daemon] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.found}

    def start(self, command: list[str], until: list[str]) -> None:
        """Start a daemon and wait until a command succeeds. Raises RuntimeError where it does not start."""
        daemon = _Daemon(command, self.folder / f"{command[0]}.log", self.environment)
        self.ends.callback(daemon.end)
        self.daemons[command[0]] = daemon
        end = time.monotonic() + START_S
        while (asked := _ran(until, self.environment)).returncode:
            if daemon.process.poll() is not None or time.monotonic() > end:
                said = daemon.log.read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"{command[0]} does not start: {asked.stdout}\n{said}")
            time.sleep(0.2)

    def start_slurmd(self) -> None:
        ready = "sinfo --noheader --format=%T | grep -qxE 'idle|mixed|allocated'"
        self.start(["slurmd", "-D"], until=["sh", "-c", ready])

    def cancel_all(self) -> None:
        """End all jobs, which would outlive the daemons."""
        self.run(["scancel", "--user=root"])
        end = time.monotonic() + START_S
        while self.run(["squeue", "--noheader"]) and time.monotonic() < end:
            time.sleep(0.2)

    def run(self, command: list[str]) -> str:
        """What a command says. Raises RuntimeError where it fails."""
        if (done := _ran(command, self.environment)).returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stdout}")
        return done.stdout


@contextmanager
def slurm_node(folder: Path, kill_s: int = 20) -> Iterator[Node]:
    """Start the daemons, and end them.

    kill_s: seconds that a job gets to end after SIGTERM. Raises RuntimeError where a daemon does not start.
    """
    folder.mkdir(mode=0o755)
    host = socket.gethostname().partition(".")[0]
    ports = dict(zip(("ctld_port", "slurmd_port", "dbd_port"), _free_ports(3), strict=True))
    for name, text in (("slurm.conf", SLURM), ("slurmdbd.conf", DATABASE)):
        _write(folder / name, text.format(folder=folder, host=host, kill_s=kill_s, **ports).encode())
    found = {"PATH": PATH, "SLURM_CONF": f"{folder}/slurm.conf", "MYSQL_UNIX_PORT": f"{folder}/mariadb.socket"}
    with ExitStack() as ends:
        node = Node(folder, found, ends)
        _start_munge(node)
        _start_database(node)
        node.start(["slurmdbd", "-D"], until=["sacctmgr", "--noheader", "list", "cluster"])
        node.run(["sacctmgr", "--immediate", "add", "cluster", "node"])
        node.start(["slurmctld", "-D"], until=["sinfo"])
        node.start_slurmd()
        try:
            yield node
        finally:
            node.cancel_all()


class _Daemon:
    """In the foreground of a process that is ended by SIGTERM, and by SIGKILL where that takes long."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(START_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _start_munge(node: Node) -> None:
    folder = node.folder
    _write(folder / "munge.key", os.urandom(128))
    files = {"key-file": "key", "log-file": "log", "pid-file": "pid", "seed-file": "seed", "socket": "socket"}
    options = [f"--{option}={folder}/munge.{name}" for option, name in files.items()]
    # --force: folders above may be anybody's, as that for temporary files is
    node.start(
        ["munged", "--foreground", "--force", *options],
        until=["munge", "--no-input", f"--socket={folder}/munge.socket"],
    )


def _start_database(node: Node) -> None:
    folder = node.folder
    where = ["--no-defaults", "--user=root", f"--datadir={folder}/mariadb", f"--tmpdir={folder}"]  # /tmp is all nodes'
    node.run(["mariadb-install-db", *where, "--skip-test-db"])
    files = [f"--{name}={folder}/mariadb.{name.partition('-')[0]}" for name in ("socket", "pid-file")]
    node.start(
        ["mariadbd", *where, *files, "--skip-networking", "--innodb-flush-log-at-trx-commit=0"],
        until=["mariadb-admin", "--no-defaults", f"--socket={folder}/mariadb.socket", "ping"],
    )


def _ran(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, env=environment, text=True, check=False, **pipes)


def _write(path: Path, content: bytes) -> None:
    """A file that root alone may read."""
    path.touch(mode=0o600)
    path.write_bytes(content)


def _free_ports(n: int) -> list[int]:
    with ExitStack() as open_ones:
        sockets = [open_ones.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
