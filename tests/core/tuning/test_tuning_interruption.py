"""Studies that are cut off, or that several processes share: no trial is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3

import optuna
import pytest
import tuning_toys
from optuna.trial import TrialState
from processes import CONTEXT, until
from toys import Diary
from tuning_toys import Levels, counts, options, tune, url_of

from adbench.config.options import Silent
from adbench.errors import ArtifactError
from adbench.tuning import studies, workers
from adbench.tuning.space import TuneOptions


@pytest.fixture(autouse=True)
def _toys(tmp_path, monkeypatch):
    tuning_toys.install(tmp_path / "site", monkeypatch)


def test_a_trial_that_was_interrupted_is_tried_again_with_the_same_values(tmp_path, monkeypatch):
    plain = Levels.score

    def interrupted(self, images):
        raise KeyboardInterrupt

    tune(options(tmp_path, trials=2))
    monkeypatch.setattr(Levels, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(options(tmp_path, trials=4))
    monkeypatch.setattr(Levels, "score", plain)
    found = tune(options(tmp_path, trials=4))
    assert counts(found) == {"COMPLETE": 4, "FAIL": 1}
    _, _, cut_off, again, _ = found.get_trials()
    assert cut_off.state == TrialState.FAIL
    assert again.params == cut_off.params
    assert again.user_attrs[studies.RETRY_OF] == cut_off.number


def test_a_trial_that_was_interrupted_while_its_result_was_written_is_tried_again(tmp_path, monkeypatch):
    plain = optuna.Trial.set_user_attr

    def interrupted(self, key, value):
        if key == studies.BY_KIND:
            raise KeyboardInterrupt
        plain(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "set_user_attr", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tune(options(tmp_path, trials=1))
    found = tune(options(tmp_path, trials=1))
    assert counts(found) == {"COMPLETE": 1, "FAIL": 1}
    assert found.get_trials()[1].params == found.get_trials()[0].params


def test_a_trial_that_met_a_full_disk_is_tried_again_by_the_next_command(tmp_path, monkeypatch):
    def full(self, images):
        raise ArtifactError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Levels, "score", full)
        with pytest.raises(ArtifactError):
            tune(options(tmp_path, trials=2))
    found = tune(options(tmp_path, trials=2))
    assert counts(found) == {"COMPLETE": 2, "FAIL": 1}
    assert found.get_trials()[1].params == {"level": 0.9, "power": 1, "sign": "both"}


def test_what_was_tried_again_is_not_queued_twice(tmp_path, monkeypatch):
    def interrupted(self, images):
        raise KeyboardInterrupt

    monkeypatch.setattr(Levels, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tune(options(tmp_path))
    found = studies.load_study(url_of(tmp_path), "s")
    assert studies.requeue_dead(found) == []
    assert counts(found) == {"FAIL": 1, "WAITING": 1}


def _tune_in_group(given: TuneOptions) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    workers.tune(given, Silent())


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_loses_no_trial_of_several_processes(tmp_path):
    given = options(tmp_path, "toy-slow", trials=2, jobs=2, settings=(f"kill={tmp_path / 'began'}",))
    process = CONTEXT.Process(target=_tune_in_group, args=(given,))
    process.start()
    until((tmp_path / "began").exists)
    found = studies.load_study(url_of(tmp_path), "s")
    until(lambda: [len(trial.params) for trial in found.get_trials(states=(TrialState.RUNNING,))] == [3, 3])
    os.killpg(process.pid, signal.SIGINT)
    process.join(60)
    assert counts(found) == {"FAIL": 2, "WAITING": 2}
    cut_off, again = found.get_trials()[:2], found.get_trials()[2:]
    assert [trial.params for trial in cut_off] == [trial.params for trial in again]


def test_the_trial_of_a_process_that_died_on_another_machine_is_tried_again(tmp_path):
    found = tune(options(tmp_path, trials=1))
    trial = found.ask()
    trial.set_user_attr(studies.WORKER, {"host": "elsewhere", "pid": 1, "began": 0.0})
    trial.suggest_float("level", 0, 1)
    connection = sqlite3.connect(tmp_path / "cache" / "tuning" / "studies.db")
    with connection:
        heartbeat = "INSERT INTO trial_heartbeats(trial_id, heartbeat) VALUES (?, datetime('now', '-1 day'))"
        connection.execute(heartbeat, (trial._trial_id,))
    connection.close()
    found = tune(options(tmp_path, trials=2))
    assert counts(found) == {"COMPLETE": 2, "FAIL": 1}
    assert found.get_trials()[2].params["level"] == found.get_trials()[1].params["level"]


def test_a_process_that_was_taken_for_dead_goes_on(tmp_path, monkeypatch):
    plain, diary = Levels.score, Diary()

    def suspended(self, images):
        monkeypatch.setattr(Levels, "score", plain)
        found = studies.load_study(url_of(tmp_path), "s")
        found.tell(0, state=TrialState.FAIL)  # as another process does after so long
        studies.try_again(found, found.get_trials()[0])
        return plain(self, images)

    monkeypatch.setattr(Levels, "score", suspended)
    found = tune(options(tmp_path, trials=2), diary)
    assert counts(found) == {"COMPLETE": 2, "FAIL": 1}
    assert found.get_trials()[1].params == found.get_trials()[0].params
    assert "trial 0 was taken for dead by another process" in diary.text


def _tune_in_process(given: TuneOptions) -> None:
    workers.tune(given, Silent())


@pytest.mark.slow
def test_the_trial_of_a_killed_process_is_tried_again(tmp_path):
    (tmp_path / "kill").touch()
    given = options(tmp_path, trials=3, settings=(f"kill={tmp_path / 'kill'}",))
    process = CONTEXT.Process(target=_tune_in_process, args=(given,))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    diary = Diary()
    found = tune(given, diary)
    assert counts(found) == {"COMPLETE": 3, "FAIL": 1}
    assert found.get_trials()[1].params == found.get_trials()[0].params
    assert "trials 0 were cut off and are tried again" in diary.text


@pytest.mark.slow
def test_a_trial_that_another_process_works_on_is_left_alone(tmp_path):
    began = tmp_path / "began"
    given = options(tmp_path, "toy-slow", trials=1, settings=(f"kill={began}",))
    process = CONTEXT.Process(target=_tune_in_process, args=(given,), daemon=True)
    process.start()
    until(began.exists)
    found = tune(given)  # the one trial is under way: nothing to do here
    assert counts(found) == {"RUNNING": 1}
    process.kill()
    process.join()
    assert studies.requeue_dead(found) == [0]
    assert counts(found) == {"FAIL": 1, "WAITING": 1}


def test_a_trial_is_not_tried_again_for_ever(tmp_path):
    found = tune(options(tmp_path, trials=1))
    for _ in range(studies.MOST_RETRIES + 3):
        waiting = [t for t in found.get_trials() if t.state == TrialState.WAITING]
        studies.try_again(found, waiting[-1] if waiting else found.get_trials()[0])
    retries = [t.user_attrs[studies.RETRIES] for t in found.get_trials() if studies.RETRIES in t.user_attrs]
    assert max(retries) == studies.MOST_RETRIES


@pytest.mark.slow
def test_processes_share_a_study_and_one_that_is_killed_is_replaced(tmp_path):
    (tmp_path / "kill").touch()
    diary = Diary()
    given = options(tmp_path, trials=6, jobs=2, settings=(f"kill={tmp_path / 'kill'}",))
    found = tune(given, diary)
    assert counts(found)["FAIL"] == 1
    assert 6 <= len(studies.finished(found.get_trials())) <= 7  # two may begin the last one at once
    assert "a worker process died (exit code -9): its trial is tried again" in diary.text
    pids = {
        trial.user_attrs[studies.WORKER]["pid"] for trial in found.get_trials() if studies.WORKER in trial.user_attrs
    }
    assert os.getpid() not in pids
    assert len(pids) >= 2


@pytest.mark.slow
def test_a_worker_begins_no_trial_once_the_command_that_started_it_was_killed(tmp_path, monkeypatch):
    process = CONTEXT.Process(target=os.getpid)
    process.start()
    process.join()
    assert not process.is_alive()
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: process)
    assert tune(options(tmp_path)).get_trials(states=(TrialState.COMPLETE,)) == []
