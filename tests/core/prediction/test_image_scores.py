"""Image-level scores of a prediction are those that a run measures, slice by slice."""

from __future__ import annotations

import numpy as np
import torch

from adbench.contracts.detector import Detector
from adbench.metrics.evidence import IMAGE_QUANTILE


def test_each_slice_has_the_score_of_the_common_rule_and_of_the_method_itself(model, trained):
    (scan,) = model.find([trained.patient])
    prepared = model.dataset.prepare_scan(scan)
    maps = model.maps(prepared.images)
    slices = model.predict(trained.patient).report.slices
    assert [each.slice for each in slices] == list(prepared.slices)
    whole = [np.quantile(scores, IMAGE_QUANTILE, method="inverted_cdf") for scores in maps]
    np.testing.assert_array_equal([each.percentile_99 for each in slices], whole)
    own = model.detector.image_scores(torch.from_numpy(prepared.images))
    np.testing.assert_array_equal([each.own for each in slices], own.numpy())


def test_a_method_with_a_rule_of_its_own_is_asked_for_it_and_another_scores_no_image_twice(model, trained, monkeypatch):
    calls = []
    score = type(model.detector).score

    def counted(self, images):
        calls.append(len(images))
        return score(self, images)

    monkeypatch.setattr(type(model.detector), "score", counted)
    slices = model.predict(trained.patient).report.slices
    assert sum(calls) == len(slices)
    assert type(model.detector).image_scores is Detector.image_scores

    def brightest(self, images):
        return images.amax(dim=(1, 2, 3))

    monkeypatch.setattr(type(model.detector), "image_scores", brightest)
    (scan,) = model.find([trained.patient])
    images = model.dataset.prepare_scan(scan).images
    found = [each.own for each in model.predict(trained.patient).report.slices]
    np.testing.assert_array_equal(found, images.max(axis=(1, 2, 3)))
