"""Which pixels and images count, which threshold is transferred, and how scoring goes on after a cut."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import toys
from measuring import H, W, checkerboard, measured, scorer

from adbench.errors import ConfigError
from adbench.metrics.catalogue import METRICS
from adbench.metrics.estimate import Estimate
from adbench.protocol.measure import prevalence
from adbench.protocol.scoring import Scorer


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


def metrics(work: Scorer) -> dict[str, Estimate]:
    return measured(work).metrics


def test_all_pixels_count_by_default(tmp_path):
    images, lesions = checkerboard()
    work = scorer(tmp_path, test=toys.healthy(images, "test", lesions=lesions, brains=lesions))
    found = metrics(work)
    assert prevalence(work.cell.data.splits.test, work.cell.protocol) == 0.25
    assert found["best_dice"].value == pytest.approx(2 / 3), "half of the bright pixels are lesion"
    assert found["auprc"].value == pytest.approx(0.5, abs=0.05)


def test_within_the_brain_the_other_pixels_are_left_out(tmp_path):
    images, lesions = checkerboard()
    brains = np.ones(images.shape, bool)
    brains[:, :, H // 2 :, W // 2 :] = False  # the bright pixels that are no lesion
    splits = {
        "test": toys.healthy(images, "test", lesions=lesions, brains=brains),
        "validation": toys.healthy(images + np.float32(0.001), "validation", brains=brains),
    }
    work = scorer(tmp_path, "toy-brightness", "protocol.region=brain", **splits)
    found = metrics(work)
    assert prevalence(work.cell.data.splits.test, work.cell.protocol) == pytest.approx(1 / 3)
    assert found["best_dice"].value == 1
    assert found["auprc"].value == found["auroc"].value == 1


def test_the_rule_for_all_looks_at_the_region_alone_and_the_methods_own_at_the_whole_image(tmp_path):
    images = np.full((4, 1, H, W), 0.25, np.float32) + np.arange(4, dtype=np.float32)[:, None, None, None] / 100
    brains = np.ones(images.shape, bool)
    brains[:, :, : H // 2] = False
    lesions = np.zeros(images.shape, bool)
    lesions[2:, :, -1] = True
    images[lesions] = 0.5
    images[:2, :, : H // 2] = 0.9  # what shines in healthy images lies outside the brain
    splits = {
        "test": toys.healthy(images, "test", lesions=lesions, brains=brains),
        "validation": toys.healthy(images + np.float32(0.001), "validation", brains=brains),
    }
    found = metrics(scorer(tmp_path, "toy-brightness", "protocol.region=brain", **splits))
    assert (found["image_auroc"].value, found["image_auroc_p99"].value) == (0, 1)


@pytest.mark.parametrize("without", ["validation", "test"])
def test_a_brain_region_without_brains_is_refused(tmp_path, without, monkeypatch):
    load = toys.ToyData.load

    def bare(self):
        splits = load(self)
        return replace(splits, **{without: replace(getattr(splits, without), brains=None)})

    monkeypatch.setattr(toys.ToyData, "load", bare)
    with pytest.raises(ConfigError, match="region=brain needs brain masks, but toy has none: use region=image"):
        toys.cell(tmp_path, "toy-brightness", "protocol.region=brain")


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_ignored_pixels_leave_every_metric(tmp_path, value):
    images, lesions = checkerboard()
    ignores = np.zeros(images.shape, bool)
    ignores[:, :, :2, :3] = True
    ignores[:, :, -2:, :3] = True  # healthy and lesion pixels
    kept = toys.healthy(images, "test", lesions=lesions, ignores=ignores)
    other = images.copy()
    other[ignores] = value
    changed = replace(kept, images=other)
    first, second = (scorer(tmp_path / name, test=part) for name, part in (("a", kept), ("b", changed)))
    ours, theirs = measured(first), measured(second)
    differing = {key for key in METRICS if ours.metrics[key] != theirs.metrics[key]}
    assert differing <= {"image_auroc", "image_auprc"}, "the method's own score sees the whole image"
    assert ours.measurement == theirs.measurement
    assert prevalence(kept, first.cell.protocol) == pytest.approx((16 - 6) / (64 - 12))


def test_images_for_image_level_only_leave_pixel_metrics_but_count_for_image_level_ones(tmp_path):
    images, lesions = checkerboard()
    lesions[2:] = False
    only = np.array([False, False, True, True])
    split = toys.healthy(images, "test", lesions=lesions, image_level_only=only)
    work = scorer(tmp_path, test=split)
    found = metrics(work)
    assert prevalence(split, work.cell.protocol) == 0.25
    assert found["best_dice"].value == pytest.approx(2 / 3)
    assert found["image_auroc"].value == 0, "the clean ones are brighter"


def test_an_image_whose_lesion_does_not_count_leaves_image_level_metrics(tmp_path):
    images, lesions = checkerboard()
    lesions[0] = False
    ignores = np.zeros(images.shape, bool)
    ignores[1] = lesions[1]
    split = toys.healthy(images, "test", lesions=lesions, ignores=ignores)
    found = measured(scorer(tmp_path, test=split))
    assert found.measurement.images_left_out == 1
    assert found.metrics["image_auroc"].value == 1, "one clean image, and two with lesions that count, all brighter"


def test_without_a_clean_image_image_level_metrics_are_undefined(tmp_path):
    images, lesions = checkerboard()
    found = metrics(scorer(tmp_path, test=toys.healthy(images, "test", lesions=lesions)))
    assert found["image_auroc"].value is None


def test_the_mean_over_subjects_is_over_those_with_lesions(tmp_path):
    images = np.zeros((4, 1, H, W), np.float32)
    lesions = np.zeros(images.shape, bool)
    lesions[0, 0, :4], images[0, 0, :4] = True, 1  # found
    lesions[1, 0, :4], images[1, 0, :2] = True, 1  # half of it found: Dice 2/3
    images[2] = 0.01  # healthy
    lesions[3, 0, 4:], images[3, 0, 4:] = True, 1  # the second image of the first subject, found
    images[3, 0, 0, 0] = 0.02
    split = replace(toys.healthy(images, "test", lesions=lesions), subjects=["one", "two", "three", "one"])
    validation = toys.healthy(0.5 * np.ones((2, 1, H, W), np.float32), "validation")
    found, measurement, *_ = measured(scorer(tmp_path, test=split, validation=validation))
    assert measurement.best_threshold == 1
    mean = found["subject_dice_5pct"]
    assert mean.value == pytest.approx((1 + 2 / 3) / 2)
    assert mean.low is None, "two subjects with lesions are too few for an interval"


def test_thresholds_come_from_healthy_images_that_the_method_did_not_see(tmp_path):
    data = scorer(tmp_path).cell.data
    seen, reference = data.healthy()[1], data.reference
    assert len(seen) + len(reference) == len(data.splits.validation)
    shown = seen[np.arange(len(seen))].numpy()
    assert not {image.tobytes() for image in shown} & {image.tobytes() for image in reference.images}


def test_only_as_many_healthy_images_are_scored_as_the_protocol_says(tmp_path):
    work = scorer(tmp_path, "toy-brightness", "protocol.reference_images=3")
    assert measured(work).measurement.reference_images == 3
    assert len(work.cell.data.reference) > 3


def test_constant_scores_have_a_threshold_that_flags_nothing(tmp_path):
    found = metrics(scorer(tmp_path, "toy-constant"))
    assert found["dice_5pct"].value == 0
    assert found["best_dice"].value == pytest.approx(2 * 48 / (6 * 256 + 48)), "everything or nothing is flagged"


def peak_bytes(tmp_path, n: int) -> int:
    """Most bytes in use while measuring `n` images of eight subjects, beyond those in use before."""
    images = (np.random.default_rng(0).integers(0, 64, (n, 1, 64, 64)) / 64).astype(np.float32)
    lesions = images > 0.9
    split = replace(toys.healthy(images, f"test{n}", lesions=lesions), subjects=[f"s{i % 8}" for i in range(n)])
    small = toys.healthy(images[:4] / 2, f"small{n}")
    work = scorer(tmp_path / str(n), "toy-brightness", "protocol.batch_size=8", test=split, validation=small)
    assert work.cell.config_hash  # hashes the data once, as a run does before
    tracemalloc.start()
    try:
        metrics(work)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_while_measuring_does_not_grow_with_the_score_maps(tmp_path):
    peak_bytes(tmp_path, 8)  # what is imported on the way
    few, many = peak_bytes(tmp_path, 32), peak_bytes(tmp_path, 160)
    maps_bytes = (160 - 32) * 64 * 64 * 4
    assert many - few < maps_bytes / 8


def test_the_lesions_of_the_record_are_those_of_the_pixels_measured(tmp_path):
    images, lesions = checkerboard()
    ignores = np.zeros(images.shape, bool)
    ignores[0, 0, H // 2 :] = True  # the lesion of the first image
    found = measured(scorer(tmp_path, test=toys.healthy(images, "test", lesions=lesions, ignores=ignores))).measurement
    assert [(s.lesions, s.pixels) for s in found.strata] == [(0, 0), (0, 0), (0, 0), (3, 3 * 16)]
    assert found.strata[3].lesion_recall["5pct"].value == found.strata[3].sensitivity["5pct"].value == 1
    assert found.strata[3].lesion_recall["5pct"].low is None, "all images agree"


def test_without_a_lesion_that_counts_the_strata_are_empty(tmp_path):
    images, lesions = checkerboard()
    split = toys.healthy(images, "test", lesions=lesions, ignores=lesions.copy())
    found, measurement, *_ = measured(scorer(tmp_path, test=split))
    assert [stratum.lesions for stratum in measurement.strata] == [0, 0, 0, 0]
    assert measurement.best_threshold is None
    assert {key for key, estimate in found.items() if estimate.value is None} >= {
        *("best_dice", "dice_5pct", "subject_dice_5pct", "auprc", "auroc", "subject_auprc", "lesion_recall_5pct"),
    }
