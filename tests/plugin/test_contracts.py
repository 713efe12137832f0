"""The shipped contracts: what keeps the rules passes, and each broken rule is found by the test that names it."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adbench.contracts.dataset import Dataset, DatasetConfig, DatasetInfo, Reported
from adbench.contracts.detector import Detector, DetectorConfig, DetectorInfo
from adbench.contracts.plan import PartPlan, Plan
from adbench.contracts.splits import Splits
from adbench.storage.spec import PartSpec
from adbench.testing import DatasetContract, DetectorContract, toy_split


def failures(contract: DetectorContract | DatasetContract, tmp_path: Path) -> set[str]:
    """Names of the contract's tests that fail; skipped ones are "skipped: <name>"."""
    found = set()
    for name, test in inspect.getmembers(contract, inspect.ismethod):
        if name.startswith("test_"):
            arguments = [tmp_path] if "tmp_path" in inspect.signature(test).parameters else []
            try:
                test(*arguments)
            except pytest.skip.Exception:
                found.add(f"skipped: {name}")
            except Exception:
                found.add(name)
    return found


class Config(DetectorConfig):
    gain: float = 1.0


class Good(Detector[Config]):
    """Distance to the healthy mean."""

    Config = Config
    info = DetectorInfo("distance to the mean", "control", "1")
    family = "control"
    presets = {"smoke": {"gain": 2.0}}

    def fit(self, healthy, validation):
        self.mean = healthy[:].mean(0)

    def score(self, images):
        return self.config.gain * (images - self.mean).abs()

    def state(self):
        return {"mean": self.mean}

    def load_state(self, state):
        self.mean = state["mean"]


class OfAnotherShape(Good):
    def score(self, images):
        return super().score(images)[..., 1:]


class InDoublePrecision(Good):
    def score(self, images):
        return super().score(images).double()


class NotFinite(Good):
    def score(self, images):
        return super().score(images) / 0


class ChangesItsInput(Good):
    def score(self, images):
        return images.sub_(self.mean).abs()


class ReturnsItsInput(Good):
    def score(self, images):
        return images


class ScoresPerPixelOnly(Good):
    def image_scores(self, images):
        return self.score(images)


class DrawsFromTheGlobalGenerator(Good):
    def fit(self, healthy, validation):
        self.mean = healthy[:].mean(0) + 0.01 * torch.rand(1)


class LooksAtTheBatch(Good):
    def score(self, images):
        return super().score(images) / images.mean()


class SaysThatItLooksAtTheBatch(LooksAtTheBatch):
    """Scores are divided by the mean of the batch."""

    batch_independent = False


class ForgetsItsState(Good):
    def load_state(self, state):
        self.mean = torch.zeros(1, 32, 32)


class HasAnEmptyCard(Good):
    info = DetectorInfo("", "control", "1")


class HasNoFamily(Good):
    family = None


class IsOfAFamilyOfItsOwn(Good):
    family = "magic"


class KnowsTooMuch(Good):
    knowledge = "everything"


class HidesWhatItLearnsFrom(Good):
    family = "synthetic"


class LooseConfig(Config):
    model_config = {"extra": "allow", "frozen": True}


class TakesAnyKey(Good):
    Config = LooseConfig


class ThawedConfig(Config):
    model_config = {"frozen": False}


class TakesChanges(Good):
    Config = ThawedConfig


class HasAPresetOfWrongKeys(Good):
    presets = {"smoke": {"gian": 2.0}}


class HasAPresetOfUnknownName(Good):
    presets = {"tiny": {"gain": 2.0}}


class PlansAPartThatItDoesNotMake(Good):
    def plan(self, healthy, validation):
        return Plan([PartPlan(PartSpec("ghost", 1, {}, healthy.fingerprint, 0), 1)])


class TrainsWhilePlanning(Good):
    def plan(self, healthy, validation):
        spec = PartSpec("eager", 1, {}, healthy.fingerprint, 0)
        self.runtime.store.get(spec, lambda checkpoint: {"mean": healthy[:].mean(0)})
        return Plan()


class SeesNothing(Good):
    def score(self, images):
        return 1 - super().score(images)


MAPS = "test_scores_are_finite_float32_maps_of_the_shape_of_the_images"
IMAGE_SCORES = "test_image_scores_are_one_finite_float32_number_an_image"
INPUT = "test_scoring_leaves_the_images_as_they_were"
SEED = "test_the_same_seed_gives_the_same_scores_whatever_the_global_generators_hold"
BATCH = "test_scores_do_not_depend_on_the_batch"
STATE = "test_a_saved_detector_scores_the_same_once_loaded"
CARD = "test_the_info_card_is_filled"
FAMILY = "test_the_family_is_named_and_what_is_known_beyond_healthy_images"
CONFIG = "test_the_config_is_frozen_and_refuses_unknown_keys"
PRESETS = "test_every_preset_makes_a_valid_config"
PLAN = "test_planning_trains_nothing_and_names_the_parts_that_fitting_makes"
LESIONS = "test_lesions_score_higher_than_chance"
WITHOUT_CHAINS = (
    "skipped: test_a_shortened_detector_takes_fewer_passes_through_the_same_stages_and_leaves_this_one_as_it_is"
)


def contract_of(cls: type[Good]) -> DetectorContract:
    return type("Contract", (DetectorContract,), {"detector_class": cls})()


def test_a_good_detector_passes_every_test(tmp_path):
    assert failures(contract_of(Good), tmp_path) == {WITHOUT_CHAINS}


@pytest.mark.parametrize(
    ("cls", "test"),
    [
        (OfAnotherShape, MAPS),
        (InDoublePrecision, MAPS),
        (InDoublePrecision, IMAGE_SCORES),
        (NotFinite, MAPS),
        (NotFinite, IMAGE_SCORES),
        (ChangesItsInput, INPUT),
        (ReturnsItsInput, INPUT),
        (ScoresPerPixelOnly, IMAGE_SCORES),
        (DrawsFromTheGlobalGenerator, SEED),
        (LooksAtTheBatch, BATCH),
        (SaysThatItLooksAtTheBatch, f"skipped: {BATCH}"),
        (ForgetsItsState, STATE),
        (HasAnEmptyCard, CARD),
        (HasNoFamily, FAMILY),
        (IsOfAFamilyOfItsOwn, FAMILY),
        (KnowsTooMuch, FAMILY),
        (HidesWhatItLearnsFrom, FAMILY),
        (TakesAnyKey, CONFIG),
        (TakesChanges, CONFIG),
        (HasAPresetOfWrongKeys, PRESETS),
        (HasAPresetOfUnknownName, PRESETS),
        (PlansAPartThatItDoesNotMake, PLAN),
        (TrainsWhilePlanning, PLAN),
        (SeesNothing, LESIONS),
    ],
)
def test_a_detector_that_breaks_a_rule_fails_the_test_of_that_rule(cls, test, tmp_path):
    assert test in failures(contract_of(cls), tmp_path)


def test_a_control_may_say_why_it_finds_no_lesions(tmp_path):
    contract = contract_of(SeesNothing)
    type(contract).blind_because = "it is upside down"
    assert failures(contract, tmp_path) == {f"skipped: {LESIONS}", WITHOUT_CHAINS}


class Toy(Dataset[DatasetConfig]):
    """Toy heads."""

    info = DatasetInfo("toy heads", "CC0", "none", "synthetic", "none needed", "1")

    def load(self) -> Splits:
        return Splits(toy_split(6, 32, 1), toy_split(4, 32, 2), toy_split(4, 32, 3, lesions=True))


class LesionsInTraining(Toy):
    def load(self):
        return replace(super().load(), train=toy_split(6, 32, 1, lesions=True))


class Bright(Toy):
    def load(self):
        splits = super().load()
        return replace(splits, test=replace(splits.test, images=2 * splits.test.images))


class AnotherDrawEachTime(Toy):
    draws = iter(range(100, 200))

    def load(self):
        return replace(super().load(), train=toy_split(6, 32, next(self.draws)))


class ShortHashes(Toy):
    def load(self):
        splits = super().load()
        return replace(splits, train=replace(splits.train, hashes=[h[:8] for h in splits.train.hashes]))


class SharesSubjects(Toy):
    def load(self):
        splits = super().load()
        return replace(splits, validation=replace(splits.validation, subjects=splits.train.subjects[:4]))


class OfTwoSizes(Toy):
    def load(self):
        return replace(super().load(), validation=toy_split(4, 48, 2))


class SickImageLevelImages(Toy):
    def load(self):
        splits = super().load()
        return replace(splits, test=replace(splits.test, image_level_only=np.ones(4, bool)))


class Unlicensed(Toy):
    info = replace(Toy.info, licence=" ")


class UnsourcedReports(Toy):
    info = replace(Toy.info, reported=(Reported("DDPM", "auprc", 0.9, "", "Table 1"),))


class ReportsAnUnknownMetric(Toy):
    info = replace(Toy.info, reported=(Reported("DDPM", "dice", 0.9, "A paper", "Table 1"),))


class LooseDataConfig(DatasetConfig):
    model_config = {"extra": "ignore", "frozen": True}


class TakesAnyDataKey(Toy):
    Config = LooseDataConfig


def dataset_contract_of(cls: type[Toy]) -> DatasetContract:
    return type("Contract", (DatasetContract,), {"dataset_class": cls})()


def test_a_good_dataset_passes_every_test(tmp_path):
    assert failures(dataset_contract_of(Toy), tmp_path) == set()


@pytest.mark.parametrize(
    ("cls", "test"),
    [
        (LesionsInTraining, "test_training_and_validation_images_are_healthy"),
        (Bright, "test_images_are_float32_from_0_to_1_and_of_one_size"),
        (AnotherDrawEachTime, "test_loading_twice_gives_the_same_fingerprint"),
        (ShortHashes, "test_the_manifest_names_every_image_with_its_sha256"),
        (SharesSubjects, "test_loading_gives_splits_that_pass_the_check"),
        (OfTwoSizes, "test_images_are_float32_from_0_to_1_and_of_one_size"),
        (SickImageLevelImages, "test_images_for_image_level_scores_alone_are_clean"),
        (Unlicensed, CARD),
        (UnsourcedReports, CARD),
        (ReportsAnUnknownMetric, CARD),
        (TakesAnyDataKey, CONFIG),
    ],
)
def test_a_dataset_that_breaks_a_rule_fails_the_test_of_that_rule(cls, test, tmp_path):
    assert test in failures(dataset_contract_of(cls), tmp_path)
