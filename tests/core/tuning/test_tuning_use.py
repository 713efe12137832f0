"""What a study found, used in a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tuning_toys
from optuna.trial import TrialState
from tuning_toys import Heads, HeadsConfig, Levels, options, tune, use

from adbench.config.options import RunOptions
from adbench.config.settings import parse_settings
from adbench.errors import TuningError
from adbench.protocol.data import check_same_images
from adbench.tuning.tuned import settings_for_run, tuned_settings


@pytest.fixture(autouse=True)
def _toys(tmp_path, monkeypatch):
    tuning_toys.install(tmp_path / "site", monkeypatch)


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


OTHER = [
    ({"name": "z"}, r"no study 'z'.* Studies are s"),
    ({"name": "s#99"}, "No trial '99' of study 's' is complete"),
    ({"method": "toy-keeping"}, "the method toy-tuned, and this run toy-keeping"),
    ({"dataset": "phantom"}, "the dataset toy-heads, and this run phantom"),
    ({"preset": "small"}, "the preset smoke, and this run small"),
    ({"given": ("protocol.region=brain",)}, "the region image, and this run brain"),
    ({"given": ("level=0.5",)}, "level of study 's' is 0.9, and of this run 0.5. Leave it out of --set"),
    ({"given": ("width=5",)}, "width of study 's' is 3, and of this run 5. Leave it out of --set"),
    ({"given": ('net={"rate": 0.5}',)}, "net.rate of study 's' is 0.1, and of this run 0.5"),
]
"""What a run asks for that is not what study `s` tuned, and what is said."""


def test_tuned_settings_for_something_else_are_an_error(tmp_path):
    tune(options(tmp_path, trials=1))
    for given, match in OTHER:
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
    given = RunOptions(preset="smoke", cache=tmp_path / "cache", settings=("data.subjects=12",))
    texts, record = settings_for_run("s", None, given, ["toy-tuned"], ["toy-heads"])
    assert texts[-1] == "data.subjects=12"
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
