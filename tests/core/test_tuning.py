"""Tuning: what it may see, that it goes on, and what it says where it cannot."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
import tuning_toys
from optuna.trial import TrialState
from processes import CONTEXT, until
from toys import Diary
from tuning_toys import Heads, HeadsConfig, Keeping, Levels, Poison, options

from adbench.dataset import Splits
from adbench.errors import AdbenchError, ArtifactError, ConfigError, DataError
from adbench.options import RunOptions, Silent
from adbench.search import Integer, Real
from adbench.settings import parse_settings
from adbench.testing import toy_split
from adbench.tuning import TuningError, storage, study, trials, workers
from adbench.tuning.development import develop, halves
from adbench.tuning.objective import prepare
from adbench.tuning.space import TuneOptions
from adbench.tuning.synthetic import LesionGenerator
from adbench.tuning.tuned import check_same_images, settings_for_run, tuned_settings


@pytest.fixture(autouse=True)
def _toys(tmp_path, monkeypatch):
    tuning_toys.install(tmp_path / "site", monkeypatch)
    Keeping.computed.clear()
    Levels.fitted.clear()


def tune(given: TuneOptions, reporter=None) -> optuna.Study:
    return workers.tune(given, reporter or Silent()).study


def url_of(folder: Path) -> str:
    """The storage of the studies that `options(folder)` makes."""
    return storage.default_storage(options(folder).cache)


def counts(found: optuna.Study) -> dict[str, int]:
    states = [trial.state.name for trial in found.get_trials()]
    return {name: states.count(name) for name in sorted(set(states))}


# What tuning sees


def test_the_poison_of_the_toy_test_split_works():
    for touch in (lambda: Heads(HeadsConfig()).load().test.images, lambda: len(Poison())):
        with pytest.raises(AssertionError, match="tuning"):
            touch()


def test_no_test_image_and_no_test_label_is_looked_at_by_a_whole_study_and_its_use(tmp_path):
    given = options(tmp_path, objectives=("dice", "seconds"))
    assert counts(tune(given)) == {"COMPLETE": 4}
    tuned = tuned_settings("s", None, given.cache, "toy-tuned", "toy-heads", "smoke")
    assert tuned.values


def test_the_test_split_is_not_even_loaded(tmp_path):
    assert counts(tune(replace(options(tmp_path, trials=2), dataset="toy-sealed"))) == {"COMPLETE": 2}


def test_the_two_halves_share_no_subject_and_lesions_are_drawn_on_one_alone():
    validation = Heads(HeadsConfig()).load().validation
    first, second = halves(validation, seed=0)
    assert not set(first.subjects) & set(second.subjects)
    assert len(first) + len(second) == len(validation)
    lesioned = develop(Heads(HeadsConfig()), LesionGenerator(), 100, "image").lesioned
    for image, lesion in zip(lesioned.images, lesioned.lesions, strict=True):
        apart = [float(np.abs(image - healthy)[~lesion].mean()) for healthy in validation.images]
        assert validation.subjects[int(np.argmin(apart))] in second.subjects
        assert lesion.any()


def test_every_kind_is_drawn_equally_often_and_no_image_has_one_kind_twice():
    lesioned = develop(Heads(HeadsConfig()), LesionGenerator(), 100, "image").lesioned
    assert len(lesioned) == 5 * 6  # six images in that half, five kinds
    assert {lesioned.kinds.count(kind) for kind in set(lesioned.kinds)} == {6}
    assert len({image.tobytes() for image in lesioned.images}) == len(lesioned)


def test_the_detector_is_fitted_on_training_images_and_half_of_the_validation_images(tmp_path):
    tune(options(tmp_path, trials=1))
    assert Levels.fitted == [(8, 6)]


def test_ignored_pixels_count_nowhere():
    class Ignoring(Heads):
        def load(self):
            splits = super().load()
            ignores = np.zeros(splits.validation.images.shape, bool)
            ignores[..., :16] = True
            return replace(splits, validation=replace(splits.validation, ignores=ignores))

    valid = develop(Ignoring(HeadsConfig()), LesionGenerator(), 4, "image").lesioned.valid
    assert not valid[..., :16].any()
    assert valid[..., 16:].all()


# A study


def test_the_objective_is_the_dice_of_a_threshold_found_by_brute_force_averaged_over_kinds(tmp_path):
    objective = prepare(options(tmp_path), Silent())
    found = objective.evaluate({"level": 0.3, "power": 1, "sign": "both"})
    lesioned, values = objective.development.lesioned, []
    for kind in sorted(set(lesioned.kinds)):
        which = np.array(lesioned.kinds) == kind
        scores, lesion = np.abs(lesioned.images[which] - 0.3).ravel(), lesioned.lesions[which].ravel()
        edges = np.unique(scores)
        dice = [2 * (lesion & (scores >= t)).sum() / (lesion.sum() + (scores >= t).sum()) for t in edges]
        values.append(max(dice))
        assert found[f"dice {kind}"] == pytest.approx(max(dice), abs=0.02)  # to the width of a bin
    assert found["dice"] == pytest.approx(np.mean(values), abs=0.01)


def test_the_first_trial_is_the_settings_without_tuning_and_the_best_is_no_worse(tmp_path):
    found = tune(options(tmp_path, trials=6))
    assert found.get_trials()[0].params == {"level": 0.9, "power": 1, "sign": "both"}
    assert found.best_value >= found.get_trials()[0].value


def test_a_default_outside_of_the_space_is_kept_in_the_first_trial_and_after_an_interruption(tmp_path, monkeypatch):
    space = replace(Levels.search_space, inference={"level": Real(0.0, 0.5), "depth": Integer(1, 3)})
    monkeypatch.setattr(Levels, "search_space", space)
    seen, plain = [], Levels.score

    def score(self, images):
        seen.append((self.config.level, self.config.depth))
        if len(seen) == 1:
            raise KeyboardInterrupt
        return plain(self, images)

    monkeypatch.setattr(Levels, "score", score)
    with pytest.raises(KeyboardInterrupt):
        tune(options(tmp_path))
    found = tune(options(tmp_path))
    assert seen[:2] == [(0.9, None), (0.9, None)]
    assert all(level <= 0.5 and depth is not None for level, depth in seen[2:])
    first = found.get_trials()[1]
    assert (first.params, study.values_of(first)) == ({}, {"level": 0.9, "depth": None})
    assert "level=0.9, depth=None" in trials.describe(first, ("dice",))
    tuned = use(tmp_path, "s#1")
    assert tuned.values == tuned.record["values"] == {"level": 0.9, "depth": None}


def test_a_seed_gives_the_same_trials_again_and_processes_that_join_draw_others(tmp_path):
    def levels(found: optuna.Study, first: bool) -> list[float]:
        trials.choose_sampling(found, given, first)
        return [found.ask().suggest_float("level", 0, 1) for _ in range(2)]

    once, again = ([t.params for t in tune(options(tmp_path / name)).get_trials()] for name in "ab")
    assert once == again
    given, found = options(tmp_path / "a"), study.load_study(url_of(tmp_path / "a"), "s")
    assert levels(found, first=True) != levels(found, first=False) != levels(found, first=False)


def test_of_processes_that_begin_a_study_at_once_one_is_the_first(tmp_path, monkeypatch):
    given, chosen = options(tmp_path, trials=1), []
    monkeypatch.setattr(workers, "choose_sampling", lambda found, options, first: chosen.append(first))
    tune(given)
    monkeypatch.setattr(study, "this_process", lambda: {"host": "elsewhere", "pid": 1, "began": 0.0})
    tune(replace(given, trials=2))
    assert chosen == [True, False]


def test_a_study_goes_on_where_it_ended_and_is_not_begun_again(tmp_path):
    first = tune(options(tmp_path, trials=3))
    before = [trial.params for trial in first.get_trials()]
    after = [trial.params for trial in tune(options(tmp_path, trials=5)).get_trials()]
    assert after[:3] == before
    assert len(after) == 5
    assert len({str(params) for params in after}) == 5
    assert len(tune(options(tmp_path, trials=5)).get_trials()) == 5


def test_the_time_ends_a_study_between_trials(tmp_path):
    diary = Diary()
    found = tune(options(tmp_path, trials=10_000, timeout_s=1.0), diary)
    assert 0 < len(found.get_trials()) < 10_000
    assert "the same command goes on" in diary.text


def test_a_field_that_is_set_is_not_searched_and_the_training_tier_searches_more(tmp_path):
    fixed = prepare(options(tmp_path, settings=("level=0.25",)), Silent())
    assert set(fixed.space) == {"power", "sign"}
    training = prepare(options(tmp_path, tier="training"), Silent())
    assert set(training.space) == {"level", "power", "sign", "width"}
    assert training.kept is None


def test_results_that_are_kept_are_not_computed_again_and_are_not_used_for_times(tmp_path):
    objective = prepare(options(tmp_path, "toy-keeping", objectives=("dice", "seconds")), Silent())
    values = {"level": 0.3, "power": 1, "sign": "both"}
    first = objective.evaluate(values)
    computed = len(Keeping.computed)
    assert objective.evaluate(values)["dice"] == first["dice"]
    assert len(Keeping.computed) == computed + 1 + 3  # the warm-up and the repeats of the time
    assert first["seconds"] > 0


def test_poor_trials_are_pruned_between_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("adbench.tuning.objective.BATCH", 5)
    monkeypatch.setattr(trials, "RANDOM_FIRST", 3)
    found = tune(options(tmp_path, trials=12, images=20, seed=1))
    pruned = [trial for trial in found.get_trials() if trial.state == TrialState.PRUNED]
    assert pruned
    assert all(len(trial.intermediate_values) < 4 for trial in pruned)
    assert counts(found)["COMPLETE"] + len(pruned) == 12


def test_a_trial_that_is_wholly_scored_is_not_pruned(tmp_path, monkeypatch):
    monkeypatch.setattr("adbench.tuning.objective.BATCH", 5)
    reported: list[int] = []
    objective = prepare(options(tmp_path, images=20), Silent())
    objective.evaluate({}, lambda step, value: reported.append(step))
    assert reported == [0, 1, 2]


def test_two_objectives_give_a_pareto_front(tmp_path):
    found = tune(options(tmp_path, objectives=("auprc", "seconds")))
    assert [direction.name for direction in found.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert len(found.best_trials) >= 1
    best = study.ranked(found.directions, found.get_trials())[0]
    assert best.values[0] == max(trial.values[0] for trial in found.get_trials())


def test_values_that_do_not_go_together_do_not_disturb_two_objectives(tmp_path):
    given = options(tmp_path, trials=14, objectives=("dice", "auprc"), settings=("trouble=refuse above half",))
    found = tune(given)
    assert counts(found)["PRUNED"] >= 1
    assert counts(found)["COMPLETE"] + counts(found)["PRUNED"] == 14


def test_progress_says_each_new_best(tmp_path):
    diary = Diary()
    tune(options(tmp_path), diary)
    assert "best so far, trial 0: dice 0." in diary.text
    assert diary.steps[0] == ("s: trials", 0, 4)
    assert diary.steps[-1] == ("s: trials", 4, 4)


def test_journal_storage_works_and_goes_on(tmp_path):
    url = f"journal://{tmp_path}/studies/s.log"
    tune(options(tmp_path, trials=2, storage=url))
    assert len(tune(options(tmp_path, trials=3, storage=url)).get_trials()) == 3
    assert not (tmp_path / "cache" / "tuning" / "studies.db").exists()


# Interruption


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
    assert again.user_attrs[study.RETRY_OF] == cut_off.number


def test_a_trial_that_was_interrupted_while_its_result_was_written_is_tried_again(tmp_path, monkeypatch):
    plain = optuna.Trial.set_user_attr

    def interrupted(self, key, value):
        if key == "found":
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
    found = study.load_study(url_of(tmp_path), "s")
    assert study.requeue_dead(found) == []
    assert counts(found) == {"FAIL": 1, "WAITING": 1}


def _tune_in_group(given: TuneOptions) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    workers.tune(given, Silent())


def test_ctrl_c_in_a_terminal_loses_no_trial_of_several_processes(tmp_path):
    given = options(tmp_path, "toy-slow", trials=2, jobs=2, settings=(f"kill={tmp_path / 'began'}",))
    process = CONTEXT.Process(target=_tune_in_group, args=(given,))
    process.start()
    until((tmp_path / "began").exists)
    found = study.load_study(url_of(tmp_path), "s")
    until(lambda: [len(trial.params) for trial in found.get_trials(states=(TrialState.RUNNING,))] == [3, 3])
    os.killpg(process.pid, signal.SIGINT)
    process.join(60)
    assert counts(found) == {"FAIL": 2, "WAITING": 2}
    cut_off, again = found.get_trials()[:2], found.get_trials()[2:]
    assert [trial.params for trial in cut_off] == [trial.params for trial in again]


def test_the_trial_of_a_process_that_died_on_another_machine_is_tried_again(tmp_path):
    found = tune(options(tmp_path, trials=1))
    trial = found.ask()
    trial.set_user_attr(study.WORKER, {"host": "elsewhere", "pid": 1, "began": 0.0})
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
        found = study.load_study(url_of(tmp_path), "s")
        found.tell(0, state=TrialState.FAIL)  # as another process does after so long
        study.try_again(found, found.get_trials()[0])
        return plain(self, images)

    monkeypatch.setattr(Levels, "score", suspended)
    found = tune(options(tmp_path, trials=2), diary)
    assert counts(found) == {"COMPLETE": 2, "FAIL": 1}
    assert found.get_trials()[1].params == found.get_trials()[0].params
    assert "trial 0 was taken for dead by another process" in diary.text


def _tune_in_process(given: TuneOptions) -> None:
    workers.tune(given, Silent())


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
    assert study.requeue_dead(found) == [0]
    assert counts(found) == {"FAIL": 1, "WAITING": 1}


def test_a_trial_is_not_tried_again_for_ever(tmp_path):
    found = tune(options(tmp_path, trials=1))
    for _ in range(study.MOST_RETRIES + 3):
        waiting = [t for t in found.get_trials() if t.state == TrialState.WAITING]
        study.try_again(found, waiting[-1] if waiting else found.get_trials()[0])
    retries = [t.user_attrs[study.RETRIES] for t in found.get_trials() if study.RETRIES in t.user_attrs]
    assert max(retries) == study.MOST_RETRIES


def test_processes_share_a_study_and_one_that_is_killed_is_replaced(tmp_path):
    (tmp_path / "kill").touch()
    diary = Diary()
    given = options(tmp_path, trials=6, jobs=2, settings=(f"kill={tmp_path / 'kill'}",))
    found = tune(given, diary)
    assert counts(found)["FAIL"] == 1
    assert 6 <= len(study.finished(found.get_trials())) <= 7  # two may begin the last one at once
    assert "a worker process died (exit code -9): its trial is tried again" in diary.text
    pids = {trial.user_attrs[study.WORKER]["pid"] for trial in found.get_trials() if study.WORKER in trial.user_attrs}
    assert os.getpid() not in pids
    assert len(pids) >= 2


def test_a_worker_begins_no_trial_once_the_command_that_started_it_was_killed(tmp_path, monkeypatch):
    process = CONTEXT.Process(target=os.getpid)
    process.start()
    process.join()
    assert not process.is_alive()
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: process)
    assert tune(options(tmp_path)).get_trials(states=(TrialState.COMPLETE,)) == []


# Wrong input


def fails(given: TuneOptions, match: str, kind: type[AdbenchError] = TuningError) -> None:
    with pytest.raises(kind, match=match):
        tune(given)


def test_a_method_without_a_space_is_an_error(tmp_path):
    fails(options(tmp_path, "toy-fixed"), "toy-fixed has no search space: there is nothing to tune")


def test_a_space_that_is_set_away_is_an_error(tmp_path):
    fails(options(tmp_path, settings=("level=0.1", "power=1", "sign=both")), "--set fixes all of level, power, sign")


def test_a_method_with_a_training_space_alone_says_which_tier(tmp_path, monkeypatch):
    monkeypatch.setattr(Levels, "search_space", replace(Levels.search_space, inference={}))
    fails(options(tmp_path), "toy-tuned has no field of the inference tier .* --tier training")


@pytest.mark.parametrize(("trouble", "reason"), [("raise", "RuntimeError: the toy broke"), ("nan", "Scores must be")])
def test_a_study_of_which_all_trials_fail_ends_with_the_reason(tmp_path, trouble, reason):
    fails(options(tmp_path, settings=(f"trouble={trouble}",)), f"all 4 of study 's' failed; the first: {reason}")


def test_a_study_whose_first_trials_all_fail_is_given_up(tmp_path):
    fails(options(tmp_path, trials=1000, settings=("trouble=raise",)), f"all {trials.GIVE_UP_AFTER} of study")


def test_values_that_do_not_go_together_are_no_end_of_a_study_unless_none_does(tmp_path):
    fails(options(tmp_path, settings=("trouble=refuse",)), "all 4 .* the first: level and power do not go together")
    found = tune(options(tmp_path, study="t", trials=8, settings=("trouble=above half",)))
    assert counts(found)["COMPLETE"] >= 1
    assert all("RuntimeError" in t.user_attrs[study.REASON] for t in found.get_trials(states=(TrialState.FAIL,)))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"method": "toy-keeping"}, "method of study 's' is toy-tuned, and now toy-keeping"),
        ({"settings": ("width=5",)}, "set of study 's' is {}, and now {'width': 5} .and settings"),
        ({"settings": ("level=0.5",)}, "set of study 's' is {}, and now {'level': 0.5} .and settings, space"),
        ({"settings": ("data.data_seed=1",)}, "dataset config of study 's' is {'data_seed': 0}"),
        ({"objectives": ("auprc",)}, r"objectives of study 's' is \['dice'\], and now \['auprc'\]"),
        ({"images": 5}, "lesions of study 's' is {'images': 10}, and now {'images': 5}"),
        ({"seed": 1}, "seed of study 's' is 0, and now 1"),
    ],
)
def test_a_study_of_something_else_is_refused(tmp_path, change, what):
    tune(options(tmp_path, trials=1))
    fails(replace(options(tmp_path, trials=2), **change), what)


def test_changed_data_under_an_old_study_are_refused(tmp_path, monkeypatch):
    tune(options(tmp_path, trials=1))
    load = Heads.load
    changed = toy_split(8, 32, 99)
    monkeypatch.setattr(Heads, "load", lambda self: Splits(changed, load(self).validation, Poison()))
    fails(options(tmp_path, trials=2), "fingerprint of the healthy images of study 's' is")


def test_a_study_of_someone_else_is_refused(tmp_path):
    given = options(tmp_path)
    opened = storage.open_storage(storage.default_storage(given.cache), study.try_again)
    optuna.create_study(storage=opened, study_name="s").add_trial(optuna.create_trial(value=1.0))
    fails(given, "Study 's' was not made by adbench tune")


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("sqlite:////proc/nowhere/s.db", "sqlite:////proc/nowhere/s.db cannot"),
        ("nonsense", "nonsense cannot"),
        ("nosuch://here/db", "nosuch"),
        ("postgresql://me:secret@localhost:1/db", r"postgresql://me:\*\*\*@localhost:1/db cannot"),
        ("journal:///proc/nowhere/s.log", "cannot"),
    ],
)
def test_a_storage_that_cannot_be_reached_is_an_error_without_its_password(tmp_path, url, cause):
    with pytest.raises(TuningError, match=cause) as raised:
        tune(options(tmp_path, storage=url))
    assert "secret" not in str(raised.value)
    assert "--storage" in str(raised.value)


def test_a_file_that_is_no_database_is_an_error(tmp_path):
    (tmp_path / "s.db").write_text("no database at all, but long enough to be taken for one" * 50)
    fails(options(tmp_path, storage=f"sqlite:///{tmp_path}/s.db"), "file is not a database")


def test_a_storage_that_goes_away_in_the_middle_is_an_error(tmp_path, monkeypatch):
    given = options(tmp_path, trials=3)
    plain = Levels.score

    def dropping(self, images):
        connection = sqlite3.connect(given.cache / "tuning" / "studies.db")
        connection.execute("DROP TABLE trial_user_attributes")
        connection.commit()
        connection.close()
        return plain(self, images)

    monkeypatch.setattr(Levels, "score", dropping)
    fails(given, r"storage that can be reached, but .* cannot \(no such table")


def test_a_journal_that_goes_away_in_the_middle_is_an_error(tmp_path, monkeypatch):
    given, plain = options(tmp_path, trials=3, storage=f"journal://{tmp_path}/j/s.log"), Levels.score

    def dropping(self, images):
        shutil.rmtree(tmp_path / "j", ignore_errors=True)
        return plain(self, images)

    monkeypatch.setattr(Levels, "score", dropping)
    fails(given, "storage that can be reached, but .*s.log cannot .*No such file")


@pytest.mark.parametrize("text", ['{"a": 1}\n[]\n', "[]\n", "hello\nworld\n"])
def test_a_file_that_is_no_journal_is_an_error(tmp_path, text):
    (tmp_path / "s.log").write_text(text)
    fails(options(tmp_path, storage=f"journal://{tmp_path}/s.log"), "storage that can be reached, but .*s.log cannot")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true"])
def test_a_storage_in_memory_is_an_error(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    fails(options(tmp_path, storage=url), "is in memory. Name a file")
    assert not list(tmp_path.glob("*memory*"))


@pytest.mark.parametrize("name", ["a#1", "../x", "a b", ""])
def test_a_name_that_would_do_for_no_file_is_an_error(tmp_path, name):
    if name:
        fails(options(tmp_path, study=name), "name has letters, digits and")
    with pytest.raises(TuningError, match="name has letters, digits and"):
        study.load_study(url_of(tmp_path), name)


def test_times_are_not_measured_beside_other_processes(tmp_path):
    fails(options(tmp_path, objectives=("dice", "seconds"), jobs=2), "would time one another")


@pytest.mark.parametrize("given", [(), ("loss",), ("dice", "dice"), ("seconds",)])
def test_objectives_are_checked(tmp_path, given):
    fails(options(tmp_path, objectives=given), "Objectives are dice, auprc, seconds|The fastest settings alone")


def test_one_subject_cannot_be_halved(tmp_path):
    fails(options(tmp_path, settings=("data.subjects=1",)), "all 12 are of 'subject-0'")


def test_images_without_a_head_are_an_error(tmp_path, monkeypatch):
    def blank(self):
        train, validation = toy_split(8, 32, 1), toy_split(8, 32, 2)
        return Splits(train, replace(validation, images=np.zeros_like(validation.images)), Poison())

    monkeypatch.setattr(Heads, "load", blank)
    fails(options(tmp_path), "none of 4 validation images shows one")


def test_validation_images_with_lesions_are_an_error(tmp_path, monkeypatch):
    sick = toy_split(8, 32, 2, lesions=True)
    monkeypatch.setattr(Heads, "load", lambda self: Splits(toy_split(8, 32, 1), sick, Poison()))
    fails(options(tmp_path), "validation images must be healthy", DataError)


def test_settings_are_checked(tmp_path):
    fails(options(tmp_path, settings=("levle=0.1",)), "did you mean 'level'", ConfigError)
    fails(options(tmp_path, settings=("data.seed=1",)), "data_seed", ConfigError)
    fails(options(tmp_path, settings=("protocol.resamples=1",)), "protocol.region", ConfigError)
    fails(options(tmp_path, settings=("protocol.region=brain",)), "needs brain masks", DataError)


# Its use


def use(tmp_path: Path, name: str = "s", method: str = "toy-tuned", dataset: str = "toy-heads", **given):
    return tuned_settings(name, None, tmp_path / "cache", method, dataset, given.pop("preset", "smoke"), **given)


def test_tuned_settings_are_those_of_the_best_trial_with_all_that_led_to_them(tmp_path):
    found = tune(options(tmp_path, trials=5))
    tuned = use(tmp_path)
    assert tuned.values == found.best_params
    assert tuned.record["objectives"] == {"dice": found.best_value}
    assert (tuned.record["study"], tuned.record["trial"]) == ("s", found.best_trial.number)
    assert (tuned.record["trials"], tuned.record["seed"]) == (5, 0)
    assert tuned.record["generator"]["kinds"] == ["shape", "blob", "texture", "patch", "deformation"]
    assert tuned.record["budget_s"] > 0
    assert len(tuned.record["fingerprint"]) == 16
    other = next(t for t in found.get_trials(states=(TrialState.COMPLETE,)) if t.number != found.best_trial.number)
    assert use(tmp_path, f"s#{other.number}").values == other.params


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"name": "z"}, r"no study 'z'.* Studies are s"),
        ({"name": "s#99"}, "No trial '99' of study 's' is complete"),
        ({"method": "toy-keeping"}, "the method toy-tuned, and this run toy-keeping"),
        ({"dataset": "phantom"}, "the dataset toy-heads, and this run phantom"),
        ({"preset": "small"}, "the preset smoke, and this run small"),
        ({"given": ("protocol.region=brain",)}, "the region image, and this run brain"),
        ({"given": ("level=0.5",)}, "level of study 's' is 0.9, and of this run 0.5. Leave it out of --set"),
        ({"given": ("width=5",)}, "width of study 's' is 3, and of this run 5. Leave it out of --set"),
        ({"given": ('net={"rate": 0.5}',)}, "net.rate of study 's' is 0.1, and of this run 0.5"),
    ],
)
def test_tuned_settings_for_something_else_are_an_error(tmp_path, given, match):
    tune(options(tmp_path, trials=1))
    with pytest.raises(TuningError, match=match):
        use(tmp_path, **given)


def test_settings_that_were_tuned_with_another_code_are_an_error(tmp_path, monkeypatch):
    tune(options(tmp_path, trials=1))
    monkeypatch.setattr(Levels, "info", replace(Levels.info, version="2"))
    with pytest.raises(TuningError, match="has the code 1, and this run 2"):
        use(tmp_path)


def test_fields_that_were_fixed_while_others_were_tuned_belong_to_the_tuned_settings(tmp_path):
    found = tune(options(tmp_path, settings=("power=2",)))
    tuned = use(tmp_path)
    assert tuned.values == {**found.best_params, "power": 2}
    assert tuned.record["set"] == {"power": 2}
    with pytest.raises(TuningError, match="power of study 's' is 2, and of this run 3"):
        use(tmp_path, given=("power=3",))


def test_a_run_gets_the_tuned_settings_as_set_takes_them(tmp_path):
    found = tune(options(tmp_path))
    given = RunOptions(preset="smoke", cache=tmp_path / "cache", settings=("data.subjects=6",))
    texts, record = settings_for_run("s", None, given, ["toy-tuned"], ["toy-heads"])
    assert texts[-1] == "data.subjects=6"
    assert parse_settings(texts).detector == found.best_params
    assert record["study"] == "s"
    elsewhere = replace(given, train_on="toy-heads")
    assert settings_for_run("s", None, elsewhere, ["toy-tuned"], ["phantom", "x"])[0] == texts
    for methods, datasets in ((["toy-tuned", "random"], ["toy-heads"]), (["toy-tuned"], ["toy-heads", "phantom"])):
        with pytest.raises(TuningError, match="A study is of one method, trained on one dataset"):
            settings_for_run("s", None, given, methods, datasets)


def test_a_run_on_other_healthy_images_than_the_study_is_an_error(tmp_path):
    tune(options(tmp_path, trials=1))
    tuning = use(tmp_path).record
    splits = Heads(HeadsConfig()).load()
    check_same_images(tuning, splits.train, splits.validation)
    with pytest.raises(TuningError, match="had the healthy images"):
        check_same_images(tuning, Heads(HeadsConfig(data_seed=1)).load().train, splits.validation)


def test_a_study_without_a_complete_trial_gives_no_settings(tmp_path):
    with pytest.raises(TuningError):
        tune(options(tmp_path, settings=("trouble=raise",)))
    with pytest.raises(TuningError, match="all 4 of study 's' failed"):
        use(tmp_path)


def test_looking_for_a_study_where_there_are_none_makes_no_storage(tmp_path):
    for place in (None, f"sqlite:///{tmp_path}/none.db", f"journal://{tmp_path}/none.log"):
        with pytest.raises(TuningError, match=r"no study 's': .* holds none yet"):
            tuned_settings("s", place, tmp_path / "empty", "toy-tuned", "toy-heads", "smoke")
    assert not [path.name for path in tmp_path.iterdir() if path.name != "site"]
