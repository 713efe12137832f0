"""Who runs the jobs: this machine, or a cluster on it that is started for it, whose parts can be killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from forking import carry_out
from preloaded import preloaded

REPOSITORY = Path(__file__).parents[2]
sys.path.append(str(REPOSITORY / "tests" / "core"))

from slurm_node import Node, missing, slurm_node  # noqa: E402

START_S = 300.0
RAY_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_period_ms": "1000",
    "RAY_worker_niceness": "0",  # others of this machine would go first
}
INSIDE = str(Path(__file__).parent / "inside")


def kill_with_all_below(pid: int) -> None:
    """As where a machine is gone: nothing has time for anything."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        below = process.children(recursive=True)
        for each in (process, *below):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(below)


@dataclass
class Local:
    """Processes of this machine."""

    words: tuple[str, ...] = ()
    """After `suite run`."""
    tables: str = ""
    """At the end of the suite."""


@dataclass
class Ray:
    """A cluster of Ray: a head that runs nothing, and two nodes of one worker each."""

    folder: Path
    port: int
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    tables: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        return "--on", "ray", "--ray-address", f"127.0.0.1:{self.port}"

    def start(self, *options: str) -> None:
        """Start a node and wait until it is there."""
        log = self.folder / f"node-{time.time_ns()}.log"
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address=127.0.0.1"]
        with log.open("wb") as file:
            self.nodes.append(subprocess.Popen([*command, *options], stdout=file, stderr=file, start_new_session=True))
        end = time.monotonic() + START_S
        while "Ray runtime started" not in log.read_text("utf-8"):
            if self.nodes[-1].poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Ray does not start: {log.read_text('utf-8')}")
            time.sleep(0.1)

    def start_node(self) -> None:
        self.start(f"--address=127.0.0.1:{self.port}", "--num-cpus=1")

    def lose(self, node: subprocess.Popen[bytes]) -> None:
        """All processes of a node are gone; another one comes."""
        kill_with_all_below(node.pid)
        node.wait()
        self.nodes.remove(node)
        self.start_node()

    def processes(self, named: str) -> list[psutil.Process]:
        """Those of the nodes that run jobs whose first word begins or ends so."""
        below = [each for node in self.nodes[1:] for each in psutil.Process(node.pid).children(recursive=True)]
        found = []
        for each in below:
            with suppress(psutil.Error):
                first = (each.cmdline() or [""])[0]
                if first.startswith(named) or first.endswith(named):
                    found.append(each)
        return found


@dataclass
class Slurm:
    """SLURM with one node."""

    node: Node
    words: tuple[str, ...] = ("--on", "slurm")
    tables: str = "[limits]\nhours = 0.2\n[slurm]\nsignal_delay_s = 10\n"

    def restart_daemon(self) -> None:
        """slurmd is killed and comes again, its jobs run on."""
        self.node.daemons["slurmd"].kill()
        self.node.start_slurmd()

    def lose_node(self, jobs: list[psutil.Process]) -> None:
        """slurmd, its jobs and what they began are gone; the machine starts again."""
        self.node.daemons["slurmd"].kill()
        for each in [each for each in psutil.process_iter(["name"]) if each.info["name"] == "slurmstepd"]:
            with suppress(psutil.NoSuchProcess):
                if str(self.node.folder) in each.environ().get("SLURM_CONF", ""):
                    kill_with_all_below(each.pid)
        for each in jobs:
            kill_with_all_below(each.pid)
        self.node.start_slurmd()


Cluster = Local | Ray | Slurm


@contextmanager
def cluster(name: str, folder: Path) -> Iterator[Cluster]:
    """The executor of a name, ended afterwards."""
    os.environ["PYTHONPATH"] = INSIDE
    if name == "local":
        yield Local()
    elif name == "ray":
        with preloaded(folder, carry_out), _ray(folder) as ray:
            yield ray
    else:
        if why := missing():
            raise SystemExit(why)
        with preloaded(folder, carry_out), slurm_node(folder / "node") as node:
            os.environ.update(node.found)
            yield Slurm(node)


@contextmanager
def _ray(folder: Path) -> Iterator[Ray]:
    os.environ.update(RAY_SETTINGS)
    ray = Ray(folder, _free_port())
    with ExitStack() as ends:
        ends.callback(lambda: [kill_with_all_below(node.pid) for node in ray.nodes])
        ray.start(
            "--head", f"--port={ray.port}", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={folder}/ray"
        )
        ray.start_node()
        ray.start_node()
        yield ray


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
