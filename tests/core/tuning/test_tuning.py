"""Tuning: what it may see, and how a study goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import optuna
import pytest
import tuning_toys
from optuna.trial import TrialState
from toys import Diary
from tuning_toys import Heads, HeadsConfig, Keeping, Levels, Poison, counts, options, tune, url_of, use

from adbench.config.options import Silent
from adbench.contracts.search import Integer, Real
from adbench.protocol.halves import halved
from adbench.tuning import studies, trials, workers
from adbench.tuning.development import develop, halves
from adbench.tuning.objective import prepare
from adbench.tuning.synthetic import LesionGenerator
from adbench.tuning.tuned import tuned_settings


@pytest.fixture(autouse=True)
def _toys(tmp_path, monkeypatch):
    tuning_toys.install(tmp_path / "site", monkeypatch)


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
    validation, _ = halved(Heads(HeadsConfig()).load().validation)
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
        assert found.by_kind[kind]["dice"] == pytest.approx(max(dice), abs=0.02)  # to the width of a bin
    assert found.values["dice"] == pytest.approx(np.mean(values), abs=0.01)


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
    assert (first.params, studies.values_of(first)) == ({}, {"level": 0.9, "depth": None})
    assert "level=0.9, depth=None" in trials.describe(first, ("dice",))
    tuned = use(tmp_path, "s#1")
    assert tuned.values == tuned.record["values"] == {"level": 0.9, "depth": None}


@pytest.mark.slow
def test_a_seed_gives_the_same_trials_again_and_processes_that_join_draw_others(tmp_path):
    def levels(found: optuna.Study, first: bool) -> list[float]:
        trials.choose_sampling(found, given, first)
        return [found.ask().suggest_float("level", 0, 1) for _ in range(2)]

    once, again = ([t.params for t in tune(options(tmp_path / name)).get_trials()] for name in "ab")
    assert once == again
    given, found = options(tmp_path / "a"), studies.load_study(url_of(tmp_path / "a"), "s")
    assert levels(found, first=True) != levels(found, first=False) != levels(found, first=False)


def test_of_processes_that_begin_a_study_at_once_one_is_the_first(tmp_path, monkeypatch):
    given, chosen = options(tmp_path, trials=1), []
    monkeypatch.setattr(workers, "choose_sampling", lambda found, options, first: chosen.append(first))
    tune(given)
    monkeypatch.setattr(studies, "this_process", lambda: {"host": "elsewhere", "pid": 1, "began": 0.0})
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
    assert objective.evaluate(values).values["dice"] == first.values["dice"]
    assert len(Keeping.computed) == computed + 1 + 3  # the warm-up and the repeats of the time
    assert first.values["seconds"] > 0


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
    best = studies.ranked(found.directions, found.get_trials())[0]
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
