"""The list of metrics: each object is complete, and its value is that of another way to compute it."""

from __future__ import annotations

import numpy as np
import pytest
from score_maps import brute_force, dice, make_maps, pool, several_scores
from sklearn.metrics import average_precision_score, roc_auc_score

from adbench.metrics.catalogue import METRICS
from adbench.metrics.estimate import Estimate
from adbench.metrics.evidence import Evidence

METRIC = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def evidence(kind: str = "few values", lesion: float = 0.2, threshold: float = 0.5) -> tuple[Evidence, list]:
    """Of six subjects with one image each, and the maps."""
    maps = [(name, s[None, None], m[None, None], v) for name, s, m, v in make_maps(kind, 0, subjects=6, lesion=lesion)]
    rng = np.random.default_rng(1)
    anomalous = np.arange(6) % 2 == 0
    images = rng.integers(0, 3, 6).astype(np.float32)
    return Evidence(lambda: iter(maps), threshold, images, anomalous, [name for name, *_ in maps], 50), maps


@METRIC
def test_a_metric_is_listed_under_its_key_and_says_what_it_is(metric):
    assert METRICS[metric.key] is metric
    assert metric.key.isidentifier()
    assert metric.title
    assert metric.glossary.endswith(".")
    assert metric.resampled


def test_no_two_metrics_share_a_column():
    assert len({metric.heading for metric in METRICS.values()}) == len(METRICS)


@several_scores
def test_every_metric_is_what_another_way_to_compute_it_gives(kind):
    of, maps = evidence(kind)
    scores, lesion = pool(maps)
    best, threshold = brute_force(scores, lesion)
    subjects = [dice(s, m, threshold) for _, s, m, _ in maps]
    expected = {
        "best_dice": best,
        "dice_transferred": dice(scores, lesion, 0.5),
        "subject_dice": np.mean(subjects),
        "auprc": average_precision_score(lesion, scores),
        "auroc": roc_auc_score(lesion, scores),
        "image_auroc": roc_auc_score(of.anomalous, of.image_scores),
        "image_auprc": average_precision_score(of.anomalous, of.image_scores),
    }
    found = {key: metric.estimate(of).value for key, metric in METRICS.items()}
    assert found == pytest.approx(expected, abs=5e-4)  # the bins of AUPRC and AUROC


@METRIC
def test_the_value_lies_in_its_interval_and_both_are_fractions(metric):
    estimate = metric.estimate(evidence()[0])
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_without_a_lesion_pixel_every_metric_of_pixels_is_undefined():
    of, _ = evidence(lesion=0.0)
    undefined = {key for key, metric in METRICS.items() if metric.estimate(of) == Estimate(value=None)}
    assert undefined == {key for key, metric in METRICS.items() if metric.counts != "images"}
    assert of.strata == []


def test_all_metrics_together_read_the_maps_a_few_times_only():
    of, maps = evidence("continuous")
    reads: list[object] = []
    counted = Evidence(
        lambda: reads.append(None) or iter(maps),
        of.transferred_threshold,
        of.image_scores,
        of.anomalous,
        of.image_subjects,
        of.resamples,
    )
    for metric in METRICS.values():
        metric.estimate(counted)
    assert counted.strata
    assert len(reads) <= 1 + 2 + 1, "to count, to split bins until Dice is exact, and at the thresholds"
