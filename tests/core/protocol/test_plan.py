"""A cell is planned once: run, dry run and tuning have the same plan, and one that breaks is an error of its method."""

from __future__ import annotations

from dataclasses import replace

import pytest
import toys
import tuning_toys

from adbench.config.options import Silent
from adbench.contracts.plan import Plan
from adbench.errors import AdbenchError, ConfigError, PluginError
from adbench.protocol import harness
from adbench.protocol.cell import build_cells
from adbench.protocol.forecast import forecast


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


def build(tmp_path, methods, options):
    return build_cells(methods, "toy", options)


def run(tmp_path, methods, options):
    return harness.run(methods, "toy", options, toys.Diary())


def dry_run(tmp_path, methods, options):
    return forecast(methods, "toy", options, toys.Diary())


every_way = pytest.mark.parametrize("way", [build, run, dry_run])
FAULTS = {
    "it divides by zero": lambda *given: 1 / 0,
    "it leaves": lambda *given: exit(1),
    "it gives no plan": lambda *given: ["vqvae"],
    "its passes are no numbers": lambda *given: Plan(passes={"net": "many"}),
    "its passes are missing": lambda *given: Plan(passes=None),
    "its part cannot be hashed": lambda self, healthy, validation: Plan(
        [
            replace(part, spec=replace(part.spec, config={"x": object()}))
            for part in PLAN(self, healthy, validation).parts
        ]
    ),
}
PLAN = toys.Trained.plan


@every_way
@pytest.mark.parametrize("fault", FAULTS)
def test_a_plan_that_breaks_names_its_method_before_anything_is_trained_or_written(tmp_path, monkeypatch, way, fault):
    monkeypatch.setattr(toys.Twin, "plan", FAULTS[fault])
    monkeypatch.setattr(toys.Brightness, "fit", None)
    with pytest.raises(
        PluginError, match=r"but toy-twin of toys 1\.0 cannot plan \((\w+Error|SystemExit): .+ leave toy-twin out"
    ):
        way(tmp_path, ["toy-brightness", "toy-trained", "toy-twin"], toys.options(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"site"}


@pytest.mark.parametrize("fault", ["forward", "build"])
def test_what_a_plan_would_run_and_cannot_names_its_method(tmp_path, monkeypatch, fault):
    def plan(self, healthy, validation):
        whole = PLAN(self, healthy, validation)
        parts = [replace(part, build=lambda: 1 / 0) for part in whole.parts]
        return replace(whole, forward=lambda n: 1 / 0, passes={"net": 1}) if fault == "forward" else Plan(parts)

    monkeypatch.setattr(toys.Trained, "plan", plan)
    with pytest.raises(PluginError, match=r"toy-trained .+ cannot plan \(ZeroDivisionError"):
        dry_run(tmp_path, ["toy-trained"], toys.options(tmp_path))


def test_the_parts_of_a_plan_may_be_any_iterable(tmp_path, monkeypatch):
    named = build(tmp_path, ["toy-trained"], toys.options(tmp_path))[0]
    monkeypatch.setattr(toys.Trained, "plan", lambda *given: replace(PLAN(*given), parts=iter(PLAN(*given).parts)))
    (cell,) = build(tmp_path, ["toy-trained"], toys.options(tmp_path))
    assert cell.part_versions == named.part_versions != {}
    assert (cell.config_hash, cell.scores_hash) == (named.config_hash, named.scores_hash)


@every_way
def test_a_detector_that_cannot_be_made_has_no_plan(tmp_path, monkeypatch, way):
    monkeypatch.setattr(toys.Constant, "__init__", lambda *given: 1 / 0, raising=False)
    with pytest.raises(PluginError, match=r"toy-constant .+\(ZeroDivisionError"):
        way(tmp_path, ["toy-constant"], toys.options(tmp_path))


@every_way
def test_what_does_not_suit_the_data_is_said_with_the_method_before_anything_is_trained(tmp_path, monkeypatch, way):
    def plan(self, healthy, validation):
        raise ConfigError("The toy needs more images.")

    monkeypatch.setattr(toys.Trained, "plan", plan)
    monkeypatch.setattr(toys.Brightness, "fit", None)
    with pytest.raises(ConfigError, match=r"^toy-trained: The toy needs more images\.$"):
        way(tmp_path, ["toy-brightness", "toy-trained"], toys.options(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"site"}


def test_a_cell_is_planned_once_whatever_asks_for_it(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(toys.Trained, "plan", lambda self, *given: asked.append(self) or PLAN(self, *given))
    (record,) = run(tmp_path, ["toy-trained"], toys.options(tmp_path))
    assert record.detector.part_versions == {"toy": 1}
    assert len(asked) == 1
    dry_run(tmp_path, ["toy-trained"], toys.options(tmp_path))
    assert len(asked) == 2


def test_the_detector_that_is_fitted_was_not_asked_for_its_plan(tmp_path, monkeypatch):
    def plan(self, *given):
        self.fit = None
        return PLAN(self, *given)

    monkeypatch.setattr(toys.Trained, "plan", plan)
    assert run(tmp_path, ["toy-trained"], toys.options(tmp_path))[0].status == "ok"


def test_a_method_without_a_plan_runs(tmp_path):
    (cell,) = build(tmp_path, ["toy-brightness"], toys.options(tmp_path))
    assert (cell.plan, cell.part_versions) == (Plan(), {})
    assert run(tmp_path, ["toy-brightness"], toys.options(tmp_path))[0].status == "ok"


def test_tuning_asks_for_the_plan_before_there_is_a_study(tmp_path, monkeypatch):
    tuning_toys.install(tmp_path / "tuning-site", monkeypatch)
    monkeypatch.setattr(tuning_toys.Levels, "plan", FAULTS["it divides by zero"])
    with pytest.raises(PluginError, match=r"toy-tuned of tuning-toys 1\.0 cannot plan"):
        tuning_toys.tune(tuning_toys.options(tmp_path), Silent())
    assert not (tmp_path / "cache").exists()


def test_a_trial_that_does_not_suit_the_images_ends_before_it_is_fitted_and_the_others_go_on(tmp_path, monkeypatch):
    def plan(self, healthy, validation):
        if self.config.level > 0.5:
            raise ConfigError("The level needs more images.")
        return Plan()

    tuning_toys.install(tmp_path / "tuning-site", monkeypatch)
    monkeypatch.setattr(tuning_toys.Levels, "plan", plan)
    found = tuning_toys.tune(tuning_toys.options(tmp_path, trials=6))
    counts = tuning_toys.counts(found)
    assert counts["PRUNED"] >= 1, "the first trial: the default is 0.9"
    assert len(tuning_toys.Levels.fitted) == counts["COMPLETE"] >= 1
    assert found.trials[0].user_attrs["reason"] == "toy-tuned: The level needs more images."


def test_one_kind_of_error_passes_through_with_its_own_class(tmp_path, monkeypatch):
    class OwnError(AdbenchError):
        def __init__(self, first: str, second: str) -> None:
            super().__init__(f"{first} {second}")

    def plan(self, healthy, validation):
        raise OwnError("one", "two")

    monkeypatch.setattr(toys.Constant, "plan", plan, raising=False)
    with pytest.raises(OwnError, match=r"^toy-constant: one two$"):
        build(tmp_path, ["toy-constant"], toys.options(tmp_path))
