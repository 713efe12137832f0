"""Points set on a site's own healthy scans hold there, and all else of the model stays."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from heads import head, image

from adbench.config.options import Silent
from adbench.errors import ConfigError
from adbench.metrics.estimate import Estimate
from adbench.prediction.calibrate import calibrate, scans_needed
from adbench.prediction.model import Model, load_model
from adbench.prediction.model_file import read_model


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Healthy scans of a noisier scanner."""
    folder = tmp_path_factory.mktemp("site")
    for seed in range(400, 406):
        values = head(seed).astype(np.float32)
        noise = 40 * np.random.default_rng(seed).standard_normal(values.shape)
        nib.save(image(np.where(values > 0, values + noise, 0).astype(np.float32)), folder / f"h{seed}.nii.gz")
    return folder


def test_the_rate_that_was_asked_for_is_met_on_the_sites_scans(trained, site, tmp_path):
    file = read_model(trained.path)
    model = Model(file, "cpu", "float32")
    scans = model.find([site])
    card = calibrate(file, model, scans, tmp_path / "site.adbench", Silent())
    scores = [model.measured(scan)[0] for scan in scans]
    for before, point in zip(file.card.points, card.points, strict=True):
        met = np.mean([np.mean(each > point.threshold) for each in scores])
        assert met <= point.rate
        below = np.nextafter(np.float32(point.threshold), np.float32(-np.inf))
        assert np.mean([np.mean(each > below) for each in scores]) > point.rate
        assert point.threshold > before.threshold  # noise scores higher
    held_out = card.calibration.held_out["5pct"]
    assert held_out.low < 0.05 < held_out.high
    again = load_model(tmp_path / "site.adbench", "cpu", "float32")
    assert again.card == card
    assert {**card.model_dump(), "points": 0, "calibration": 0} == {
        **file.card.model_dump(),
        "points": 0,
        "calibration": 0,
    }
    assert again.predict(trained.patient).report.points[0].threshold == card.points[1].threshold


def test_two_scans_are_too_few(trained, site, tmp_path):
    file = read_model(trained.path)
    model = Model(file, "cpu", "float32")
    with pytest.raises(ConfigError, match="3 people or more, got 2"):
        calibrate(file, model, model.find([site])[:2], tmp_path / "m", Silent())


def test_one_scan_twice_is_not_two_people(trained, site, tmp_path):
    file = read_model(trained.path)
    model = Model(file, "cpu", "float32")
    (tmp_path / "again.nii.gz").write_bytes((site / "h400.nii.gz").read_bytes())
    with pytest.raises(ConfigError, match="are the same scan: name it once"):
        calibrate(file, model, model.find([site, tmp_path / "again.nii.gz"]), tmp_path / "m", Silent())


def test_an_interval_four_times_too_wide_needs_sixteen_times_as_many_scans():
    assert scans_needed(0.01, Estimate(value=0.01, low=0.0, high=0.04), 5) == 80
    assert scans_needed(0.01, Estimate(value=0.01, low=0.009, high=0.011), 5) == 5
    assert scans_needed(0.01, Estimate(value=0.01), 5) is None
