"""Working on a study: trial after trial in this process, or in several.

Any number of processes may work on one study, those that `--jobs` starts and those of commands that a user starts
beside them. What was cut off is queued again when a command ends, and when the next one begins (`requeue_dead`).
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from dataclasses import replace
from typing import Any

import optuna

from adbench.config.options import Reporter, Silent
from adbench.config.urls import shown
from adbench.devices.threads import threads_each, use_threads
from adbench.errors import AdbenchError, TuningError
from adbench.protocol.workers import end
from adbench.tuning import places, studies
from adbench.tuning.objective import DIRECTIONS, Objective, prepare
from adbench.tuning.space import TuneOptions
from adbench.tuning.trials import Progress, choose_sampling, work

MOST_RESTARTS = 3
POLL_S = 0.5


def tune(options: TuneOptions, reporter: Reporter) -> optuna.Study:
    """Work on a study until it has its trials, or the time is spent, and return it.

    Raises:
        AdbenchError: anything is wrong with what the user gave, or all trials failed.
        KeyboardInterrupt: all is kept, and the same command goes on.
    """
    url = options.storage or places.default_storage(options.cache)
    _check_options(options)
    objective = prepare(options, reporter)
    options = replace(options, precision=objective.precision)  # worker processes decide nothing anew
    with places.reaching(url):
        study = _open(url, objective)
        reporter.message(f"study {options.name} in {shown(url)}")
        numbers = studies.requeue_dead(study)
        if numbers:
            reporter.message(f"trials {', '.join(map(str, numbers))} were cut off and are tried again")
        first = _queue_defaults(study, objective)
        deadline = time.monotonic() + options.timeout_s if options.timeout_s else None
        try:
            if options.jobs == 1:
                choose_sampling(study, options, first)
                work(study, objective, deadline)
            else:
                _work_in_processes(study, options, reporter, deadline)
        finally:
            studies.requeue_dead(study)
        studies.check_some_succeeded(options.name, studies.finished(studies.trials_of(study)))
    return study


def _check_options(options: TuneOptions) -> None:
    studies.check_name(options.name)
    unknown = [name for name in options.objectives if name not in DIRECTIONS]
    if unknown or not options.objectives or len(set(options.objectives)) < len(options.objectives):
        raise TuningError(
            f"Objectives are {', '.join(DIRECTIONS)}, each at most once; got {','.join(options.objectives) or 'none'}."
        )
    if options.objectives == ("seconds",):
        raise TuningError("The fastest settings alone say nothing: tune dice,seconds or auprc,seconds together.")
    if "seconds" in options.objectives and options.jobs > 1:
        raise TuningError(
            f"Processes beside one another would time one another, but seconds is an objective and --jobs is "
            f"{options.jobs}. Leave --jobs out, or seconds."
        )


def _open(url: str, objective: Objective) -> optuna.Study:
    directions = [DIRECTIONS[name] for name in objective.options.objectives]
    return studies.open_study(url, objective.options.name, objective.identity, directions)


def _queue_defaults(study: optuna.Study, objective: Objective) -> bool:
    """Let the first trial be the settings without tuning, so that the best is never worse than they are.

    Return whether this process queued it: of several that begin at once, that is one.
    """
    if not studies.trials_of(study):
        values, unsearched = objective.defaults()
        attrs = {studies.QUEUED_BY: studies.this_process(), studies.UNSEARCHED: unsearched}
        study.enqueue_trial(values, user_attrs=attrs, skip_if_exists=True)
    return bool(studies.trials_of(study)[0].user_attrs.get(studies.QUEUED_BY) == studies.this_process())


def _work_in_processes(study: optuna.Study, options: TuneOptions, reporter: Reporter, deadline: float | None) -> None:
    """Work on the study in `options.jobs` processes; one that dies is replaced a few times, its trial tried again."""
    context = multiprocessing.get_context("forkserver")  # not fork: CUDA and threads do not survive it
    context.set_forkserver_preload(["adbench.tuning.workers"])
    ends = time.time() + deadline - time.monotonic() if deadline else None
    failures = context.SimpleQueue()
    shown, restarts = Progress(study, options, reporter), 0

    def start() -> Any:
        process = context.Process(target=_process, args=(options, ends, failures), daemon=True)
        process.start()
        return process

    processes = [start() for _ in range(options.jobs)]
    try:
        while processes:
            time.sleep(POLL_S)
            trials = studies.trials_of(study)
            shown.update(trials, len(studies.finished(trials)))
            for process in list(processes):
                if process.is_alive():
                    continue
                process.join()
                processes.remove(process)
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
                studies.requeue_dead(study)
                processes.append(start())
    finally:
        end(processes)


def _process(options: TuneOptions, ends: float | None, failures: Any) -> None:
    """A worker process: prepare for oneself, join the study, and work.

    Ctrl-C in a terminal interrupts all processes, and `end` once more: only the latter counts, so that it comes once.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    use_threads(threads_each(options.jobs))
    url = options.storage or places.default_storage(options.cache)
    try:
        objective = prepare(options, Silent())
        deadline = time.monotonic() + ends - time.time() if ends else None
        with places.reaching(url):
            study = _open(url, objective)
            choose_sampling(study, options, first=False)
            work(study, objective, deadline)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except AdbenchError as error:
        failures.put(str(error))
        raise SystemExit(1) from None
