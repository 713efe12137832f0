"""Predictions of a BIDS dataset are a dataset derived from it, and nothing is written into it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from heads import head, image

from adbench.config.options import Silent
from adbench.errors import ConfigError
from adbench.prediction.many import predict_all
from adbench.prediction.outputs import check_apart

ENTITIES = re.compile(r"sub-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9]+)*_[A-Za-z]+\.(nii\.gz|json|png)")
"""Names as BIDS has them: entities, then a suffix."""
NAMES = ("sub-01/ses-1/anat/sub-01_ses-1_acq-3d", "sub-02/anat/sub-02")


@pytest.fixture
def raw(tmp_path) -> Path:
    """Two subjects, one with a session and a brain mask."""
    root = tmp_path / "raw"
    for seed, name in enumerate(NAMES, start=100):
        write(root / f"{name}_FLAIR.nii.gz", head(seed, lesion=True))
    write(root / "derivatives" / "brains" / f"{NAMES[0]}_desc-brain_mask.nii.gz", brain().astype(np.uint8))
    (root / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.10.0"}')
    return root


def brain() -> np.ndarray:
    inside = head(100) > 0
    inside[:, :24] = False
    return inside


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image(values), path)


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_predictions_are_named_as_their_scans_are_and_describe_themselves(model, raw, tmp_path):
    out = tmp_path / "derived"
    before = tree(raw)
    assert predict_all(model, model.find([raw]), out, (0.05, 0.01), False, Silent()) == []
    assert tree(raw) == before
    described = json.loads((out / "dataset_description.json").read_text("utf-8"))
    assert described["DatasetType"] == "derivative"
    assert described["GeneratedBy"][0]["Name"] == "brain-adbench"
    assert {"Name", "BIDSVersion"} <= described.keys()
    written = set(tree(out)) - {"dataset_description.json", "predictions.csv"}
    assert written == {
        f"{place}_desc-{rest}"
        for name in NAMES
        for place, rest in (
            (name, "anomaly_statmap.nii.gz"),
            (name, "anomaly_statmap.json"),
            (name, "anomaly5pct_mask.nii.gz"),
            (name, "anomaly1pct_mask.nii.gz"),
            (name.replace("/anat/", "/figures/"), "anomaly_statmap.png"),
        )
    }
    assert all(ENTITIES.fullmatch(path.rpartition("/")[2]) for path in written)


def test_what_was_predicted_is_not_predicted_again(model, raw, tmp_path):
    def written() -> dict[Path, int]:
        predict_all(model, model.find([raw]), tmp_path / "derived", (0.01,), False, Silent())
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "derived").rglob("*anomaly*")}

    assert written() == written()


def test_derivatives_of_the_dataset_are_apart_from_it_and_no_scan_or_truth_of_the_next_run(model, raw):
    out = raw / "derivatives" / "adbench"
    scans = model.find([raw])
    check_apart(out, [raw], scans)
    predict_all(model, scans, out, (0.01,), False, Silent())
    check_apart(out, [raw], scans)
    again = model.find([raw])
    assert [(scan.name, scan.files) for scan in again] == [(scan.name, scan.files) for scan in scans]


def test_nothing_is_written_among_raw_scans_or_into_what_others_derived(model, raw, tmp_path):
    scans = model.find([raw])
    for out in (raw, raw / "out", raw / "derivatives", raw / "sub-01", raw / "derivatives" / "brains"):
        with pytest.raises(ConfigError, match="lies among the scans"):
            check_apart(out, [raw], scans)
    for text in ('{"GeneratedBy": [{"Name": "fMRIPrep"}]}', "{}", "no JSON"):
        other = tmp_path / "other"
        other.mkdir(exist_ok=True)
        (other / "dataset_description.json").write_text(text)
        with pytest.raises(ConfigError, match="a dataset that something else made"):
            check_apart(other, [raw], scans)


def test_of_one_file_or_subject_nothing_is_written_into_its_dataset_either(model, raw):
    file = raw / f"{NAMES[1]}_FLAIR.nii.gz"
    for paths in ([file], [raw / "sub-02"]):
        scans = model.find(paths)
        for out in (file.parent / "out", raw / "sub-01" / "out", raw / "out", raw / "derivatives"):
            with pytest.raises(ConfigError, match="lies among the scans"):
                check_apart(out, paths, scans)
        with pytest.raises(ConfigError, match=r"lies among the scans|something else made"):
            check_apart(raw, paths, scans)
        check_apart(raw / "derivatives" / "adbench", paths, scans)
        check_apart(raw.parent / "out", paths, scans)


def test_two_datasets_with_the_same_names_are_refused(model, raw, tmp_path):
    write(tmp_path / "raw2" / f"{NAMES[1]}_FLAIR.nii.gz", head(7))
    paths = [raw, tmp_path / "raw2"]
    with pytest.raises(ConfigError, match="predict them one by one"):
        check_apart(tmp_path / "derived", paths, model.find(paths))


def test_the_brain_mask_of_the_dataset_is_the_region_that_is_prepared(model, raw):
    with_mask, without = model.find([raw])
    assert [len(scan.files) for scan in (with_mask, without)] == [2, 1]
    prepared = model.dataset.prepare_scan(with_mask)
    np.testing.assert_array_equal(prepared.view.truth(with_brain=True).brain, brain())
    outside = prepared.images[~prepared.brains]
    assert np.mean(outside > 0) < 0.05, "but for a rim that is interpolated"
    assert not np.array_equal(prepared.brains, model.dataset.prepare_scan(without).brains)
