"""Studies: what they belong to, and which of their trials are done, dead or to be tried again.

What a study belongs to stands in its user attributes, and a run that differs from it is refused. A trial names the
process that works on it: one whose process is dead is failed. One rule says which trials are tried again: those that
failed without a reason of their own (Ctrl-C, a kill, a full disk), with the same values. Databases know dead processes
on other machines by a heartbeat.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

from adbench.config.urls import shown
from adbench.errors import TuningError, suggestion
from adbench.storage.spec import canonical_hash
from adbench.tuning import places

IDENTITY, WORKER, REASON, RETRIES, RETRY_OF = "identity", "worker", "reason", "retries", "retry of"
UNSEARCHED = "outside of the space"
"""Field -> value of what a trial takes though it could not be drawn: defaults that lie outside of the space."""
BY_KIND = "by kind"
"""What a trial came to by kind of lesion: the objectives of quality."""
QUEUED_BY = "queued by"
"""The process that queued the first trial."""
MOST_RETRIES = 3
STARTING_S = 60.0
"""A trial that names no process yet is taken for alive this long."""

Trials = Sequence[FrozenTrial]


def check_name(name: str) -> None:
    """Raise TuningError where a name would not do for a file of a report, or for `STUDY#TRIAL`."""
    if not re.fullmatch(r"[\w.-]+", name):
        raise TuningError(f"A study's name has letters, digits and . _ - alone, got {name!r}. Give another.")


def open_study(url: str, name: str, identity: Mapping[str, Any], directions: Sequence[str]) -> optuna.Study:
    """Return the study of this name, made where there is none.

    Raises:
        TuningError: it belongs to another method, space, dataset or objective, or its data have changed.
    """
    check_name(name)
    opened = places.open_storage(url, try_again)
    better = [optuna.study.StudyDirection[direction.upper()] for direction in directions]
    study = optuna.create_study(storage=opened, study_name=name, directions=better, load_if_exists=True)
    if IDENTITY not in study.user_attrs:
        if study.get_trials(deepcopy=False):
            raise TuningError(f"Study {name!r} was not made by adbench tune. Give another name with --study.")
        study.set_user_attr(IDENTITY, dict(identity))
    _check_identity(name, study.user_attrs[IDENTITY], identity)
    return study


def load_study(url: str, name: str) -> optuna.Study:
    """Return a study that exists. Raises TuningError where there is none, or it is none of ours."""
    check_name(name)
    with places.reaching(url, opening=True):
        file = places.local_file(url)
    if file is not None and not file.is_file():
        raise TuningError(
            f"no study {name!r}: {shown(url)} holds none yet. Make one with adbench tune, or see --storage."
        )
    opened = places.open_storage(url, try_again)
    known = [summary.study_name for summary in optuna.get_all_study_summaries(opened)]
    if name not in known:
        listed = f" Studies are {', '.join(sorted(known))}." if known else " The storage holds none."
        raise TuningError(f"no study {name!r}{suggestion(name, known) or '.'}{listed}")
    study = optuna.load_study(study_name=name, storage=opened)
    if IDENTITY not in study.user_attrs:
        raise TuningError(f"Study {name!r} was not made by adbench tune: it does not say what it belongs to.")
    return study


def _check_identity(name: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    differing = [key for key in {**theirs, **ours} if canonical_hash(theirs.get(key)) != canonical_hash(ours.get(key))]
    if not differing:
        return
    key = differing[0]
    was, now = _apart(theirs.get(key), ours.get(key))
    others = f" (and {', '.join(differing[1:])})" if differing[1:] else ""
    raise TuningError(
        f"A study goes on only with what it began with, but {key} of study {name!r} is {was}, and now {now}{others}. "
        "Give another name with --study, or put back what it was."
    )


def _apart(was: Any, now: Any) -> tuple[str, str]:
    """Two values as text; of two mappings only the entries that differ."""
    if isinstance(was, dict) and isinstance(now, dict):
        keys = [key for key in {**was, **now} if was.get(key) != now.get(key)]
        was, now = ({key: side[key] for key in keys if key in side} for side in (was, now))
    return str(was), str(now)


@cache
def this_process() -> dict[str, Any]:
    """What a trial says of the process that queued it, or works on it."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "began": psutil.Process().create_time()}


def alive(trial: FrozenTrial) -> bool:
    """Whether a running trial's process lives, as far as this machine can tell."""
    worker = trial.user_attrs.get(WORKER)
    if worker is None:
        began = trial.datetime_start
        return began is not None and time.time() - began.timestamp() < STARTING_S
    if worker["host"] != socket.gethostname():
        return True
    try:
        return bool(abs(psutil.Process(worker["pid"]).create_time() - worker["began"]) < 1)
    except psutil.Error:
        return False


def try_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue a trial again that was cut off, with the values it had; one that was cut off often is left."""
    retries = trial.user_attrs.get(RETRIES, 0) + 1
    if retries > MOST_RETRIES:
        return
    attrs = {RETRIES: retries, RETRY_OF: _first_try(trial)}
    if UNSEARCHED in trial.user_attrs:
        attrs[UNSEARCHED] = trial.user_attrs[UNSEARCHED]
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=attrs,
            system_attrs={key: value for key, value in trial.system_attrs.items() if key == "fixed_params"},
        )
    )


def requeue_dead(study: optuna.Study) -> list[int]:
    """Fail running trials whose process is dead, queue again all that were cut off, and return their numbers."""
    optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not alive(trial):
            with suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):  # another process was first
                study.tell(trial.number, state=TrialState.FAIL)
    lost = _cut_off(trials_of(study))
    for trial in lost:
        try_again(study, trial)
    return [trial.number for trial in lost]


def _cut_off(trials: Trials) -> Trials:
    """Those that failed without a reason of their own and are to be tried again: the last try of each."""
    last = {_first_try(trial): trial for trial in trials}
    return [t for t in last.values() if was_cut_off(t) and t.user_attrs.get(RETRIES, 0) < MOST_RETRIES]


def was_cut_off(trial: FrozenTrial) -> bool:
    """Whether it failed without a reason of its own."""
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs


def _first_try(trial: FrozenTrial) -> int:
    """The number of the trial that this one is, or the one that it tries again."""
    return int(trial.user_attrs.get(RETRY_OF, trial.number))


def trials_of(study: optuna.Study) -> Trials:
    """All trials as they are now: one look at the storage."""
    return study.get_trials(deepcopy=False)


def finished(trials: Trials) -> Trials:
    """Those that count: complete, pruned, or failed for a reason of their own (and not cut off)."""
    return [t for t in trials if t.state.is_finished() and not was_cut_off(t)]


def complete(trials: Trials) -> Trials:
    """Those with values."""
    return [t for t in trials if t.state == TrialState.COMPLETE]


def under_way(trials: Trials) -> int:
    """How many run in a process that lives."""
    return sum(alive(t) for t in trials if t.state == TrialState.RUNNING)


def ranked(directions: Sequence[optuna.study.StudyDirection], trials: Trials) -> Trials:
    """The complete ones, best first in the first objective; of equal ones, in the next."""
    signs = [-1 if direction == optuna.study.StudyDirection.MAXIMIZE else 1 for direction in directions]

    def rank(trial: FrozenTrial) -> tuple[float, ...]:
        return (*(sign * value for sign, value in zip(signs, trial.values, strict=True)), trial.number)

    return sorted(complete(trials), key=rank)


def values_of(trial: FrozenTrial) -> dict[str, Any]:
    """The searched fields as a trial had them, drawn or not."""
    return {**trial.params, **trial.user_attrs.get(UNSEARCHED, {})}


def check_some_succeeded(name: str, trials: Sequence[FrozenTrial]) -> None:
    """Raise TuningError where every one of `trials` failed or was refused, with the first reason."""
    reasons = [t.user_attrs[REASON] for t in trials if REASON in t.user_attrs]
    if trials and len(reasons) == len(trials):
        raise TuningError(
            f"Tuning needs a trial that succeeds, but all {len(trials)} of study {name!r} failed; the first: "
            f"{reasons[0].rstrip('.')}. Mend that, and give a new name with --study."
        )
