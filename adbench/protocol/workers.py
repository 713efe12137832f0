"""Scoring over several devices: a process on each takes batch after batch, and leaves their scores in the store.

The first process has trained. It waits for each batch, measures and records, as though it had scored all by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from adbench.config.options import Reporter, RunOptions, Silent
from adbench.devices.device import backend_of
from adbench.devices.threads import threads_each, use_threads
from adbench.errors import AdbenchError, counted
from adbench.protocol.cell import Cell, build_cells
from adbench.protocol.faults import DetectorError, faults
from adbench.protocol.fitting import fit
from adbench.protocol.scoring import Scorer
from adbench.storage.spec import PartSpec

POLL_S = 0.2
STOP_S = 30.0


@contextmanager
def over_devices(scorer: Scorer) -> Iterator[list[str]]:
    """Let all devices of the scorer's cell score its batches within the block, each read when it is there.

    Yields their names; none where the first process scores alone: on one device, or where one batch at most is left.

    Raises:
        DetectorError: a process died, or the detector failed there; names the device.
        AdbenchError: as a run on that device.
    """
    cell = scorer.cell
    left = sum(not scorer.store.has(batch.spec) for batch in scorer.batches()) if cell.beside else 0
    devices = [cell.device, *cell.beside][:left]
    if len(devices) < 2:
        yield []
        return
    backend_of(cell.device).return_free_memory()
    workers = _Workers(cell, devices, scorer.reporter)
    try:
        scorer.wait = lambda spec: workers.wait_for(spec, scorer)
        yield [worker.name for worker in workers.running.values()]
    finally:
        end([worker.process for worker in workers.running.values()])


@dataclass(frozen=True)
class _Share:
    """What a process is told of the cell that it scores with others."""

    method: str
    dataset: str
    options: RunOptions
    threads: int


@dataclass(frozen=True)
class _Worker:
    name: str
    process: Any


class _Workers:
    """A process on each of some devices."""

    def __init__(self, cell: Cell, devices: Sequence[torch.device], reporter: Reporter) -> None:
        self._reporter = reporter
        self.running: dict[Any, _Worker] = {}
        """By what is heard of each."""
        context = multiprocessing.get_context("forkserver")  # not fork: CUDA and threads do not survive it
        context.set_forkserver_preload([__name__])
        self._taken = context.Value("q", 0)  # held here: it ends with the object that made it
        threads = threads_each(len(devices))
        for number, device in enumerate(devices, 1):
            # what decides scores was decided; the parts are in the store
            options = replace(cell.options, device=str(device), precision=cell.precision, parts=None, verify_data=False)
            hears, says = context.Pipe(duplex=False)
            task = _Share(cell.method, cell.data.registered, options, threads)
            process = context.Process(target=_process, args=(task, self._taken, says), daemon=True)
            process.start()
            says.close()  # the end of the process is then the end of what is heard
            name = f"{device}, {number} of {len(devices)} ({backend_of(device).name}, {counted(threads, 'thread')})"
            self.running[hears] = _Worker(name, process)

    def wait_for(self, spec: PartSpec, scorer: Scorer) -> None:
        """Return when the store has these scores, or nobody is left to make them. Raises as `over_devices`."""
        while self.running and not scorer.store.has(spec):
            for heard in wait(list(self.running), POLL_S):
                self._hear(heard)

    def _hear(self, heard: Any) -> None:
        worker = self.running[heard]
        try:
            said = heard.recv()
        except EOFError:
            worker.process.join()
            del self.running[heard]
            if worker.process.exitcode:
                raise DetectorError(_died(worker)) from None
            return
        if isinstance(said, Exception):
            said.args = (f"{worker.name}: {said}",)
            raise said
        self._reporter.message(f"{worker.name}: {said}")


def _died(worker: _Worker) -> str:
    code = worker.process.exitcode
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return (
        f"{worker.name}: the process that scored there {how}. Look for what ends it, such as too little memory, or "
        "name fewer devices; what was scored is kept."
    )


def end(processes: Sequence[Any]) -> None:
    """Interrupt the processes, and wait until each has ended."""
    running = [process for process in processes if process.is_alive()]
    for process in running:
        process.terminate()
    for process in running:
        process.join(STOP_S)
        if process.is_alive():
            process.kill()
            process.join()


def _process(task: _Share, taken: Any, says: Connection) -> None:
    """Score until all batches are taken. Ctrl-C in a terminal reaches all processes: the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    use_threads(task.threads)
    try:
        with redirect_stdout(sys.stderr):
            _score(task, taken, _Told(says))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (AdbenchError, DetectorError) as error:
        says.send(error)
        raise SystemExit(1) from None


def _end_with_parent() -> None:
    """End at once where the first process was killed: nobody else would end this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _score(task: _Share, taken: Any, reporter: Reporter) -> None:
    cell = build_cells([task.method], task.dataset, task.options)[0]  # all regions are measured on the same scores
    with cell.computing(), faults(cell, reporter):
        scorer = Scorer(cell, fit(cell, Silent()).detector, cell.store(reporter), reporter)
        batches = scorer.batches()
        while (i := _take(taken)) < len(batches):
            if not scorer.store.has(batches[i].spec):
                batches[i].read()


def _take(taken: Any) -> int:
    """The number of a batch that no process has taken."""
    with taken.get_lock():
        taken.value += 1
        return int(taken.value) - 1


@dataclass(frozen=True)
class _Told:
    """A reporter that tells the first process, which knows how far all are."""

    says: Connection

    def message(self, text: str) -> None:
        self.says.send(text)

    def progress(self, what: str, done: int, total: int) -> None: ...
