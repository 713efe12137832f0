"""What tuning says where it cannot go on."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import replace

import numpy as np
import optuna
import pytest
import tuning_toys
from optuna.trial import TrialState
from tuning_toys import Heads, Levels, Poison, counts, fails, options, tune, url_of

from adbench.contracts.splits import Splits
from adbench.errors import ConfigError, DataError, TuningError
from adbench.testing import toy_split
from adbench.tuning import places, studies, trials


@pytest.fixture(autouse=True)
def _toys(tmp_path, monkeypatch):
    tuning_toys.install(tmp_path / "site", monkeypatch)


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
    assert all("RuntimeError" in t.user_attrs[studies.REASON] for t in found.get_trials(states=(TrialState.FAIL,)))


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
    opened = places.open_storage(places.default_storage(given.cache), studies.try_again)
    optuna.create_study(storage=opened, study_name="s").add_trial(optuna.create_trial(value=1.0))
    fails(given, "Study 's' was not made by adbench tune")


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("sqlite:////proc/nowhere/s.db", "sqlite:////proc/nowhere/s.db cannot"),
        ("nonsense", "nonsense cannot"),
        ("nosuch://here/db", "nosuch"),
        ("postgresql://me:secret@localhost:1/db", r"postgresql://\*\*\*@localhost:1/db cannot"),
        ("journal:///proc/nowhere/s.log", "cannot"),
        ("postgresql://localhost:1/db?user=me&password=secret", r"password=\*\*\* cannot"),
        ("postgresql://me:secret@host:5432x/db", r"postgresql://\*\*\*@host:5432x/db cannot"),
        ("postgresql://me:se@secret@localhost:1/db", r"//\*\*\*@localhost"),
        ("nosuch://here/db?sslkey=secret&x=1&API_TOKEN=secret", r"sslkey=\*\*\* cannot"),
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
        studies.load_study(url_of(tmp_path), name)


def test_times_are_not_measured_beside_other_processes(tmp_path):
    fails(options(tmp_path, objectives=("dice", "seconds"), jobs=2), "would time one another")


@pytest.mark.parametrize("given", [(), ("loss",), ("dice", "dice"), ("seconds",)])
def test_objectives_are_checked(tmp_path, given):
    fails(options(tmp_path, objectives=given), "Objectives are dice, auprc, seconds|The fastest settings alone")


def test_one_subject_cannot_be_halved(tmp_path):
    with pytest.raises(DataError, match="all 24 are of 'subject-0'"):
        tune(options(tmp_path, settings=("data.subjects=1",)))
    fails(
        options(tmp_path, settings=("data.subjects=2",)), "Tuning halves the validation images by subject, but all 12"
    )


def test_images_without_a_head_are_an_error(tmp_path, monkeypatch):
    def blank(self):
        train, validation = toy_split(8, 32, 1), toy_split(8, 32, 2)
        return Splits(train, replace(validation, images=np.zeros_like(validation.images)), Poison())

    monkeypatch.setattr(Heads, "load", blank)
    fails(options(tmp_path), "none of 2 validation images shows one")


def test_validation_images_with_lesions_are_an_error(tmp_path, monkeypatch):
    sick = toy_split(8, 32, 2, lesions=True)
    monkeypatch.setattr(Heads, "load", lambda self: Splits(toy_split(8, 32, 1), sick, Poison()))
    fails(options(tmp_path), "validation images must be healthy", DataError)


def test_settings_are_checked(tmp_path):
    fails(options(tmp_path, settings=("levle=0.1",)), "did you mean 'level'", ConfigError)
    fails(options(tmp_path, settings=("data.seed=1",)), "data_seed", ConfigError)
    fails(options(tmp_path, settings=("protocol.resamples=1",)), "protocol.region", ConfigError)
    fails(options(tmp_path, settings=("protocol.region=brain",)), "needs brain masks", DataError)
