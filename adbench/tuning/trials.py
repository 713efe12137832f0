"""Trial after trial of a study in one process, and what is said of them."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from typing import Any

import numpy as np
import optuna

from adbench.config.options import Reporter
from adbench.contracts.search import Choice, Domain, Integer
from adbench.errors import AdbenchError, ConfigError, ScoreError, TrainingError
from adbench.results import formats
from adbench.tuning import studies
from adbench.tuning.objective import Objective
from adbench.tuning.space import TuneOptions

RANDOM_FIRST = 10
"""Trials drawn at random, and never pruned, before the sampler and the pruner have something to go by."""
GIVE_UP_AFTER = 10
"""Failures at the beginning of a study that end it."""


def choose_sampling(study: optuna.Study, options: TuneOptions, first: bool) -> None:
    """Give a process its sampler and the pruner.

    The `first` of a study draws by the study's seed, and so the same again. Any that joins later draws by chance, since
    two that had the same random numbers would try the same values.
    """
    drawn = np.random.SeedSequence([options.seed, len(studies.trials_of(study))] if first else None)
    seed = int(drawn.generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_FIRST, multivariate=True, seed=seed)
    several = len(options.objectives) > 1  # what they are by batches cannot be compared then
    study.pruner = optuna.pruners.NopPruner() if several else optuna.pruners.MedianPruner(n_startup_trials=RANDOM_FIRST)


def work(study: optuna.Study, objective: Objective, deadline: float | None) -> None:
    """Run trials until the study has enough, counting those that other processes work on.

    Raises:
        TuningError: the study's first trials all failed.
    """
    o, reporter = objective.options, objective.reporter
    several = len(o.objectives) > 1
    shown = Progress(study, o, reporter)
    while True:
        optuna.storages.fail_stale_trials(study)  # else those of dead machines would count as under way for ever
        trials = studies.trials_of(study)
        done = studies.finished(trials)
        shown.update(trials, len(done))
        if len(done) >= GIVE_UP_AFTER:
            studies.check_some_succeeded(o.name, done)
        if len(done) + studies.under_way(trials) >= o.trials or _left_alone():
            return
        if deadline is not None and time.monotonic() >= deadline:
            reporter.message(f"the time is spent after {len(done)} trials; the same command goes on")
            return
        _one(study, objective, several)


def _one(study: optuna.Study, objective: Objective, several: bool) -> None:
    """Run one trial. Another process may take it for dead meanwhile, as after a suspend: it is tried again then."""
    begun: list[int] = []

    def run(trial: optuna.Trial) -> tuple[float, ...]:
        begun.append(trial.number)
        return _run(trial, objective, several)

    try:
        study.optimize(run, n_trials=1, catch=(_CountedError,))
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):  # Optuna's words for a trial that has ended
        if not begun or not studies.was_cut_off(studies.trials_of(study)[begun[0]]):
            raise
        objective.reporter.message(f"trial {begun[0]} was taken for dead by another process, and is tried again")


def _left_alone() -> bool:
    """Whether the command that started this process was killed: nobody would end the process then."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


class _CountedError(Exception):
    """A trial failed, which its attributes say; the study goes on."""


def _run(trial: optuna.Trial, objective: Objective, several: bool) -> tuple[float, ...]:
    """Run one trial. A failure of the detector's ends this trial alone."""
    trial.set_user_attr(studies.WORKER, studies.this_process())
    try:
        values = {**trial.user_attrs.get(studies.UNSEARCHED, {})}
        values |= {name: _suggest(trial, name, d) for name, d in objective.space.items() if name not in values}
        outcome = objective.evaluate(values, None if several else lambda step, value: _report(trial, step, value))
    except ConfigError as error:  # values that do not go together: the sampler learns to leave them
        trial.set_user_attr(studies.REASON, str(error))
        raise optuna.TrialPruned(str(error)) from error
    except (ScoreError, TrainingError) as error:
        _fail(trial, objective, str(error))
    except (AdbenchError, optuna.TrialPruned, optuna.exceptions.UpdateFinishedTrialError):
        raise
    except (Exception, SystemExit) as error:
        objective.reporter.message(traceback.format_exc())
        _fail(trial, objective, f"{type(error).__name__}: {error}")
    trial.set_user_attr(studies.BY_KIND, outcome.by_kind)
    return tuple(outcome.values[name] for name in objective.options.objectives)


def _fail(trial: optuna.Trial, objective: Objective, reason: str) -> None:
    reason = " ".join(reason.split())
    trial.set_user_attr(studies.REASON, reason)
    objective.reporter.message(f"trial {trial.number} failed: {reason}")
    raise _CountedError(reason)


def _report(trial: optuna.Trial, step: int, value: float) -> None:
    trial.report(value, step)
    if trial.should_prune():
        raise optuna.TrialPruned


def _suggest(trial: optuna.Trial, name: str, domain: Domain) -> Any:
    if isinstance(domain, Choice):
        return trial.suggest_categorical(name, domain.values)
    if isinstance(domain, Integer):
        return trial.suggest_int(name, domain.low, domain.high, step=domain.step, log=domain.log)
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log)


class Progress:
    """Says how far a study is, and each new best."""

    def __init__(self, study: optuna.Study, options: TuneOptions, reporter: Reporter) -> None:
        self._study, self._options, self._reporter = study, options, reporter
        self._said: int | None = None
        self._done = -1

    def update(self, trials: studies.Trials, done: int) -> None:
        best = studies.ranked(self._study.directions, trials)[:1]
        if best and best[0].number != self._said:
            self._said = best[0].number
            self._reporter.message(f"best so far, {describe(best[0], self._options.objectives)}")
        if done != self._done:
            self._done, total = done, self._options.trials
            self._reporter.progress(f"{self._options.name}: trials", min(done, total), total)


def describe(trial: optuna.trial.FrozenTrial, objectives: tuple[str, ...]) -> str:
    """`trial 12: dice 0.531 with percentile=99.1, threshold=global`."""
    values = ", ".join(
        f"{name} {formats.number(value, 4)}" for name, value in zip(objectives, trial.values, strict=True)
    )
    settings = ", ".join(f"{name}={formats.short(value)}" for name, value in studies.values_of(trial).items())
    return f"trial {trial.number}: {values} with {settings}"
