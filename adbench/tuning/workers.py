"""Working on a study: trial after trial in this process, or in several.

Any number of processes may work on one study, those that `--jobs` starts and those of commands that a user starts
beside them. A trial that is cut off, by Ctrl-C or by a kill, is queued again with the same values.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from typing import Any

import optuna
import torch

from adbench.errors import AdbenchError
from adbench.options import Reporter, Silent
from adbench.tuning import TuningError, storage, study
from adbench.tuning.objective import DIRECTIONS, Objective, prepare
from adbench.tuning.space import TuneOptions
from adbench.tuning.trials import Progress, choose_sampling, work

MOST_RESTARTS = 3
POLL_S = 0.5
STOP_S = 30.0


@dataclass(frozen=True)
class Outcome:
    """What a study has come to."""

    study: optuna.Study
    storage: str
    """Its URL, without a password."""


def tune(options: TuneOptions, reporter: Reporter) -> Outcome:
    """Work on a study until it has its trials, or the time is spent.

    Raises:
        AdbenchError: anything is wrong with what the user gave, or all trials failed.
        KeyboardInterrupt: all is kept, and the same command goes on.
    """
    url = options.storage or storage.default_storage(options.cache)
    _check_options(options)
    objective = prepare(options, reporter)
    with storage.reaching(url):
        found = _open(url, objective)
        reporter.message(f"study {options.name} in {storage.shown(url)}")
        numbers = study.requeue_dead(found)
        if numbers:
            reporter.message(f"trials {', '.join(map(str, numbers))} were cut off and are tried again")
        _queue_defaults(found, objective)
        deadline = time.monotonic() + options.timeout_s if options.timeout_s else None
        if options.jobs == 1:
            choose_sampling(found, options, 0)
            work(found, objective, deadline)
        else:
            _spread(found, options, reporter, deadline)
        study.check_some_succeeded(options.name, study.finished(study.trials_of(found)))
    return Outcome(found, storage.shown(url))


def _check_options(options: TuneOptions) -> None:
    unknown = [name for name in options.objectives if name not in DIRECTIONS]
    if unknown or not options.objectives or len(set(options.objectives)) < len(options.objectives):
        raise TuningError(
            f"Objectives are {', '.join(DIRECTIONS)}, each at most once; got {','.join(options.objectives) or 'none'}."
        )
    if options.objectives == ("seconds",):
        raise TuningError("The fastest settings alone say nothing: tune dice,seconds or auprc,seconds together.")


def _open(url: str, objective: Objective) -> optuna.Study:
    directions = [DIRECTIONS[name] for name in objective.options.objectives]
    return study.open_study(url, objective.options.name, objective.identity, directions)


def _queue_defaults(found: optuna.Study, objective: Objective) -> None:
    """Let the first trial be the settings without tuning, so that the best is never worse than they are."""
    if not study.trials_of(found) and (values := objective.defaults()):
        found.enqueue_trial(values, skip_if_exists=True)


def _spread(found: optuna.Study, options: TuneOptions, reporter: Reporter, deadline: float | None) -> None:
    """Work on the study in `options.jobs` processes; one that dies is replaced a few times, its trial tried again."""
    context = multiprocessing.get_context("forkserver")  # not fork: CUDA and threads do not survive it
    context.set_forkserver_preload(["adbench.tuning.workers"])
    ends = time.time() + deadline - time.monotonic() if deadline else None
    failures = context.SimpleQueue()
    shown, restarts = Progress(found, options, reporter), 0

    def start(index: int) -> Any:
        process = context.Process(target=_process, args=(options, index, ends, failures), daemon=True)
        process.start()
        return process

    processes = {index: start(index) for index in range(options.jobs)}
    try:
        while processes:
            time.sleep(POLL_S)
            trials = study.trials_of(found)
            shown.update(trials, len(study.finished(trials)))
            for index, process in list(processes.items()):
                if process.is_alive():
                    continue
                process.join()
                del processes[index]
                if process.exitcode == 0:
                    continue
                if not failures.empty():
                    raise TuningError(failures.get())
                restarts += 1
                if restarts > MOST_RESTARTS:
                    raise TuningError(
                        f"Worker processes died {restarts} times (the last with exit code {process.exitcode}). "
                        "Look for what kills them, such as too little memory, or lower --jobs."
                    )
                reporter.message(f"a worker process died (exit code {process.exitcode}): its trial is tried again")
                study.requeue_dead(found)
                processes[options.jobs + restarts] = start(options.jobs + restarts)
    finally:
        _end(processes.values())
        study.requeue_dead(found)


def _end(processes: Any) -> None:
    """Interrupt the processes, and wait until each has put its trial back."""
    running = [process for process in processes if process.is_alive()]
    for process in running:
        os.kill(process.pid, signal.SIGINT)
    for process in running:
        process.join(STOP_S)
        if process.is_alive():
            process.kill()
            process.join()


def _process(options: TuneOptions, index: int, ends: float | None, failures: Any) -> None:
    """A worker process: prepare for oneself, join the study, and work."""
    torch.set_num_threads(max(1, torch.get_num_threads() // options.jobs))
    url = options.storage or storage.default_storage(options.cache)
    try:
        objective = prepare(options, Silent())
        deadline = time.monotonic() + ends - time.time() if ends else None
        with storage.reaching(url):
            found = _open(url, objective)
            choose_sampling(found, options, index)
            work(found, objective, deadline)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except AdbenchError as error:
        failures.put(str(error))
        raise SystemExit(1) from None
