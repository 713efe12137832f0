"""Kill workers, drivers and nodes of a suite, interrupt it, fill its disk; does it end as if nothing had been?

    python benchmarks/suite_faults [--on local ray slurm] [--faults 200] [--minutes 25] [--seed 0 1]

A suite of three tiny trainings on `phantom`, two of which share a part, is run by processes of this machine, by a
cluster of Ray with two nodes, or by a SLURM of one node, both started for it here. Drivers and jobs are forks of this
process, which has imported all that they need; the process of a job that Ray or SLURM begins waits for its fork and
ends as that does. Jobs write a checkpoint after every step, a driver of another host and a lease count as gone after
some seconds, not a minute, and SLURM is asked for states every two seconds; nothing else differs from `adbench suite
run`. Each trial has one to six faults, then `suite retry` and `suite run` finish the suite:

- its records are those of a run of one cell after another, but for date, environment and times;
- no part was trained to its end twice;
- every part, checkpoint and score map agrees with its hash, and every record can be read;
- no process is left, no driver ended in a traceback, and one more `suite run` has nothing to do.

Exit code 1 where one of these does not hold; the folder of such a trial is kept. It needs Linux and root. A trial
waits more than it computes, so executors and seeds are tried side by side, each with a cluster of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count, product
from multiprocessing import get_context
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch starts

from clusters import cluster
from faults import COMMON, FULL, LAST, Fault, faults_of
from forking import fork
from submitit import SlurmJob
from trial import Trial, WrongError, check, run_serial, write_suite

from adbench.errors import AdbenchError
from adbench.execution import driver, ledger, process, ray  # noqa: F401  (drivers are forks that need not import it)
from adbench.storage import leases

ENGINES = ("local", "ray", "slurm")
MOST = 6
"""Faults of one trial."""
OWN = 3
"""How much more often than others what is of one executor alone."""


@dataclass
class Tally:
    """Of one executor, by fault."""

    on: str
    faults: list[str]
    struck: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    runs: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Of `suite run` that it took to finish."""

    def add(self, other: Tally) -> None:
        """That of another seed."""
        self.struck += other.struck
        self.wrong += other.wrong
        for name, runs in other.runs.items():
            self.runs[name] += runs

    def rows(self) -> list[str]:
        """Of a table in Markdown."""
        said = [
            f"| {self.on} | {name} | {self.struck[name]} | {self.wrong[name]} | {max(self.runs[name], default='-')} |"
            for name in self.faults
        ]
        return [*said, f"| {self.on} | all | {self.struck.total()} | {self.wrong.total()} | |"]


def chosen(chance: random.Random, faults: Mapping[str, Fault]) -> list[str]:
    """What is to happen in a trial, one after another; what is of one executor alone, more often."""
    weights = [1 if name in COMMON else OWN for name in faults]
    names = sorted(chance.choices(list(faults), weights, k=chance.randint(1, MOST)), key=lambda name: name in LAST)
    return [FULL] if FULL in names else names


def befalls(trial: Trial, fault: Fault) -> bool:
    """Whether a fault struck a suite that was not done."""
    if trial.is_done:
        return False
    trial.retry()
    return fault(trial)


def try_once(trial: Trial, faults: Mapping[str, Fault], serial: Path, tally: Tally) -> None:
    """Some faults, and then everything to its end."""
    names = chosen(trial.chance, faults)
    try:
        struck = [name for name in names if befalls(trial, faults[name])]
        runs = trial.finish()
        check(trial, serial)
    except (WrongError, TimeoutError, AdbenchError, RuntimeError, OSError) as error:
        print(f"{', then '.join(names)}: {type(error).__name__}: {error}\n{trial.folder}", flush=True)
        tally.wrong.update(names)
        return
    print(f"{', then '.join(struck) or 'nothing'}: as if nothing had been", flush=True)
    tally.struck.update(struck)
    for name in struck:
        tally.runs[name].append(runs)
    trial.remove()


def try_often(on: str, seed: int, root: Path, serial: Path, given: argparse.Namespace) -> Tally:
    """Trials on an executor that is started for them."""
    folder = _made(root / f"{on}-{seed}")
    with cluster(on, folder) as there:
        write_suite(folder / "suite.toml", there.tables)
        faults = faults_of(there)
        tally = Tally(on, list(faults))
        duration_s = undisturbed_s(Trial(_made(folder / "undisturbed"), random.Random(), there.words), serial)
        print(f"{on}, undisturbed: {duration_s:.1f} s", flush=True)
        began = time.monotonic()
        for n in count():
            if time.monotonic() - began > 60 * given.minutes or tally.struck.total() >= given.faults:
                break
            chance = random.Random(f"{seed}-{on}-{n}")
            try_once(Trial(_made(folder / f"trial-{n}"), chance, there.words, duration_s), faults, serial, tally)
            took_s = time.monotonic() - began
            struck, wrong = tally.struck.total(), tally.wrong.total()
            print(f"{on}, seed {seed}: {struck} struck, {wrong} wrong, {took_s:.0f} s", flush=True)
        return tally


def undisturbed_s(trial: Trial, serial: Path) -> float:
    began = time.monotonic()
    trial.finish()
    took_s = time.monotonic() - began
    check(trial, serial)
    return took_s


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--faults", type=int, default=200, help="of each executor and seed")
    parser.add_argument("--minutes", type=float, default=25.0, help="for each executor and seed")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="adbench-faults-"))
    process.begin = fork
    driver.POLL_S, ledger.SILENT_S = 0.05, 5.0
    leases.DURATION_S = 5.0
    SlurmJob.watcher._delay_s = 2
    serial = run_serial(root / "serial")
    tried = list(product(given.on, given.seed))
    with ProcessPoolExecutor(len(tried), get_context("fork")) as pool:
        ends = [pool.submit(try_often, *each, root, serial, given) for each in tried]
    found: dict[str, Tally] = {}
    for (on, seed), end in zip(tried, ends, strict=True):
        if why := end.exception():
            print(f"{on}, seed {seed}: {type(why).__name__}: {why}")
            continue
        found.setdefault(on, Tally(on, end.result().faults)).add(end.result())
    print("| on | fault | struck | wrong | runs to finish, at most |\n| --- | --- | ---: | ---: | ---: |")
    print("\n".join(row for tally in found.values() for row in tally.rows()))
    if any(end.exception() for end in ends) or any(tally.wrong for tally in found.values()):
        return 1
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
