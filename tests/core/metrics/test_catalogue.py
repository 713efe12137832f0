"""The list of metrics: each object is complete, and its value is that of another way to compute it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from score_maps import brute_force, make_maps, pool, several_scores
from sklearn.metrics import average_precision_score, roc_auc_score

from adbench.metrics.catalogue import METRICS
from adbench.metrics.estimate import Estimate
from adbench.metrics.evidence import Evidence, map_quantile
from adbench.metrics.maps import Maps
from adbench.metrics.points import POINTS
from adbench.metrics.strata import strata

METRIC = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
SIDE = 15


def slices(shape: str, seed: int, subjects: int, lesion: float) -> list[Maps]:
    made = make_maps(shape, seed, subjects=subjects, pixels=SIDE * SIDE, lesion=lesion)
    return [(name, s.reshape(1, SIDE, SIDE), m.reshape(1, SIDE, SIDE), v) for name, s, m, v in made]


def evidence(shape: str = "few values", lesion: float = 0.2) -> tuple[Evidence, list[Maps]]:
    """Of six subjects with one image each, half of them without a lesion, and the maps."""
    maps = [(n, s, m & (i % 2 == 0), v) for i, (n, s, m, v) in enumerate(slices(shape, 0, 6, lesion))]
    healthy = slices(shape, 1, 24, 0.0)
    images = np.random.default_rng(1).integers(0, 3, 6).astype(np.float32)
    anomalous, names = np.arange(6) % 2 == 0, [name for name, *_ in maps]
    every = np.ones(6, bool)
    return Evidence(lambda: iter(maps), every, lambda: iter(healthy), images, anomalous, every, names, 50), maps


@METRIC
def test_a_metric_is_listed_under_its_key_and_says_what_it_is(metric):
    assert METRICS[metric.key] is metric
    assert metric.key.isidentifier()
    assert metric.title
    assert metric.glossary.endswith(".")
    assert metric.resampled
    assert metric.point in {"", *(point.key for point in POINTS)}


def test_no_two_metrics_of_a_table_share_a_column():
    assert len({(metric.point, metric.heading) for metric in METRICS.values()}) == len(METRICS)


@several_scores
def test_metrics_without_a_threshold_are_what_another_way_to_compute_them_gives(shape):
    of, maps = evidence(shape)
    scores, lesion = pool(maps)
    p99 = [np.sort(s.ravel())[int(np.ceil(0.99 * s.size)) - 1] for _, s, _, _ in maps]
    expected = {
        "best_dice": brute_force(scores, lesion)[0],
        "auprc": average_precision_score(lesion, scores),
        "subject_auprc": np.mean([average_precision_score(m.ravel(), s.ravel()) for _, s, m, _ in maps if m.any()]),
        "auroc": roc_auc_score(lesion, scores),
        "image_auroc": roc_auc_score(of.anomalous, of.image_scores),
        "image_auprc": average_precision_score(of.anomalous, of.image_scores),
        "image_auroc_p99": roc_auc_score(of.anomalous, p99),
        "image_auprc_p99": average_precision_score(of.anomalous, p99),
    }
    found = {key: metric.estimate(of).value for key, metric in METRICS.items() if not metric.point}
    assert found == pytest.approx(expected, abs=5e-3)  # the coarse bins of one subject's AUPRC


@several_scores
def test_metrics_at_a_point_are_counted_one_slice_after_the_other(shape):
    of, maps = evidence(shape)
    threshold = of.thresholds[0.05].threshold
    rows, clean, false = [], [], []
    for _, scores, lesion, _ in maps:
        flagged = scores > threshold
        parts, n_parts = ndimage.label(flagged[0], np.ones((3, 3)))
        blobs, n_blobs = ndimage.label(lesion[0], np.ones((3, 3)))
        hit = sum((flagged[0] & (blobs == k)).sum() * 10 >= (blobs == k).sum() for k in range(1, n_blobs + 1))
        false.append(sum(not (lesion[0] & (parts == k)).any() for k in range(1, n_parts + 1)))
        rows.append(((flagged & lesion).sum(), flagged.sum(), lesion.sum(), n_blobs, hit, n_parts))
        if not lesion.any():
            clean.append(flagged.mean())
    hits, flagged_px, lesion_px, n_blobs, hit, n_parts = np.sum(rows, axis=0)
    recall, precision = hit / n_blobs, (n_parts - sum(false)) / n_parts if n_parts else 1
    expected = {
        "dice_5pct": 2 * hits / (flagged_px + lesion_px),
        "subject_dice_5pct": np.mean([2 * h / (f + size) for h, f, size, *_ in rows if size]),
        "sensitivity_5pct": hits / lesion_px,
        "lesion_recall_5pct": recall,
        "lesion_f1_5pct": 2 * recall * precision / (recall + precision) if recall + precision else 0,
        "false_components_5pct": np.mean(false),
        "rate_met_5pct": np.mean(clean),
    }
    found = {key: metric.estimate(of).value for key, metric in METRICS.items() if metric.point == "5pct"}
    assert found == pytest.approx(expected, abs=1e-12)


@METRIC
def test_the_value_lies_in_its_interval_and_is_not_negative(metric):
    estimate = metric.estimate(evidence()[0])
    if estimate.low is not None:
        assert 0 <= estimate.low <= estimate.value <= estimate.high


def test_a_point_that_healthy_images_do_not_support_has_no_number():
    of, _ = evidence("continuous")
    assert of.thresholds[0.001].pixels_above < 200
    assert METRICS["dice_01pct"].estimate(of) == Estimate(value=None)
    assert METRICS["dice_1pct"].estimate(of).value is not None
    assert set(strata(of)[0].lesion_recall) == {"5pct", "1pct"}


def test_without_a_lesion_pixel_every_metric_that_needs_one_is_undefined():
    of, _ = evidence(lesion=0.0)
    of = replace(of, anomalous=np.zeros(6, bool))
    defined = {key for key, metric in METRICS.items() if metric.estimate(of) != Estimate(value=None)}
    assert defined == {"false_components_5pct", "rate_met_5pct", "false_components_1pct", "rate_met_1pct"}
    assert [stratum.lesions for stratum in strata(of)] == [0, 0, 0, 0]


def test_images_beside_the_others_count_for_images_and_components_and_leave_the_pixels():
    of, maps = evidence("continuous")
    beside = replace(of, pixel_level=of.anomalous)
    alone = replace(of, images=lambda: iter(m for i, m in enumerate(maps) if i % 2 == 0))
    alone = replace(
        alone, **{name: getattr(of, name)[::2] for name in ("pixel_level", "image_scores", "anomalous", "subjects")}
    )
    for key in ("best_dice", "auprc", "dice_1pct", "sensitivity_1pct"):
        assert METRICS[key].estimate(beside) == METRICS[key].estimate(alone)
    for key in ("image_auroc", "image_auroc_p99", "false_components_1pct", "rate_met_1pct"):
        assert METRICS[key].estimate(beside) == METRICS[key].estimate(of)


def test_a_quantile_of_a_map_is_of_the_pixels_that_count():
    scores = np.arange(200, dtype=np.float32).reshape(1, 10, 20)
    inside = scores < 100
    assert map_quantile(scores, inside, None) == 197
    assert map_quantile(scores, inside, inside) == 98
    assert map_quantile(scores, inside, inside & False) < -1e38


def test_all_metrics_together_read_the_maps_a_few_times_only():
    of, maps = evidence("continuous")
    reads: list[object] = []
    counted = replace(of, images=lambda: reads.append(None) or iter(maps))
    for metric in METRICS.values():
        metric.estimate(counted)
    assert strata(counted)
    assert len(reads) <= 2 + 1 + 1, "to choose bins, to count, for the best Dice, and at the thresholds"
