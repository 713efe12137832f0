"""Predictions are those of a run, on the scan's own grid, and hold nothing of the person."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import PERSON, PERSON_ID, write_series
from heads import affine, head, image, write_set
from PIL import Image
from prediction_options import options
from scipy import ndimage

import adbench
from adbench.config.options import Silent
from adbench.errors import ConfigError, DataError
from adbench.prediction import report as reports
from adbench.prediction.export import export
from adbench.prediction.many import predict_all
from adbench.prediction.model import load_model
from adbench.prediction.outputs import check_apart
from adbench.protocol.cell import build_cells
from adbench.protocol.fitting import fit
from adbench.protocol.measure import measure
from adbench.protocol.recording import measured_record
from adbench.protocol.scoring import Scorer
from adbench.results.record import write_record
from adbench.storage.leases import Lease
from adbench.storage.store import LEASE


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A set with test scans, its cell, its record, and the model of it."""
    root = tmp_path_factory.mktemp("ran")
    write_set(root / "set")
    for seed in (50, 51):
        for folder, values in (("images", head(seed, lesion=True)), ("lesions", head(seed, lesion=True) > 1000)):
            (root / "set" / "test" / folder).mkdir(parents=True, exist_ok=True)
            nib.save(image(values.astype(np.int16)), root / "set" / "test" / folder / f"p{seed}.nii.gz")
    chosen = options(root, settings=("protocol.resamples=20",))
    (cell,) = build_cells(["healthy-zscore"], "folder", chosen)
    detector = fit(cell, Silent()).detector
    scorer = Scorer(cell, detector, cell.store(), Silent())
    measured = measure(scorer, cell.data.reference, cell.data.splits.test, cell.protocol)
    record = measured_record(cell, detector, measured)  # as a run writes it, which would be timed as well
    write_record(record, chosen.out)
    card = export("healthy-zscore", "folder", chosen, Silent(), root / "model.adbench")
    return root, record, card, cell


def test_maps_are_those_of_a_run_to_the_bit_in_the_slices_and_on_the_grid_of_the_scan(ran):
    root, _, _, cell = ran
    model = load_model(root / "model.adbench", "cpu", "float32")
    scorer = Scorer(cell, fit(cell, Silent()).detector, cell.store(), Silent())
    for view in cell.data.dataset.scans(cell.data.splits.test):
        places = [int(cell.data.splits.test.sources[i].rpartition("[")[2][:-1]) for i in view.images]
        upwards = np.argsort(places)  # a split has its slices with a lesion last
        split = cell.data.splits.test.take(view.images[upwards])
        maps = np.stack(list(scorer.maps(split, "test")))
        scan = model.find([root / "set" / view.source])[0]
        prepared = model.dataset.prepare_scan(scan)
        assert np.array_equal(prepared.images, split.images)
        assert np.array_equal(model.maps(prepared.images), maps)
        expected, found = (
            view.back(maps[np.argsort(upwards)]),
            model.predict_scan(scan).scores.get_fdata(dtype=np.float32),
        )
        seen = np.isfinite(expected)
        assert np.array_equal(found[seen], expected[seen])
        assert (found[~seen] == min(0, expected[seen].min())).all()


def test_thresholds_and_metrics_are_those_of_the_record(ran):
    _, record, card, _ = ran
    at_size = {point.key: point.threshold for point in record.measurement.points}
    on_grid = {volumes.point: volumes.threshold for volumes in record.measurement.scans.volumes}
    assert {point.key: point.threshold_at_network_size for point in card.points} == at_size
    assert {point.key: point.threshold for point in card.points} == on_grid
    assert card.metrics == {key: estimate.value for key, estimate in record.metrics.items()}
    assert (card.config_hash, card.created) == (record.config_hash, record.created)


def test_the_lesion_is_found_where_it_is_in_ml_and_mm(model, trained):
    found = model.predict(trained.patient, at=(0.05, 0.01))
    original = nib.load(trained.patient)
    mask = found.lesions["1pct"]
    assert mask.shape == original.shape
    assert np.array_equal(mask.affine, original.affine)
    point = found.report.points[1]
    assert point.key == "1pct"
    assert point.voxels == int(np.asanyarray(mask.dataobj).sum())
    assert point.ml == pytest.approx(point.voxels * np.prod(original.header.get_zooms()) / 1000)
    labels, n = ndimage.label(np.asanyarray(mask.dataobj), np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    centre = ndimage.center_of_mass(labels == 1 + sizes.argmax())
    assert point.n_components == n
    assert np.allclose(point.components[0].centre_mm_ras, nib.affines.apply_affine(original.affine, centre), atol=0.01)
    drawn = head(100, lesion=True) > 1000
    assert np.asanyarray(mask.dataobj)[drawn].mean() > 0.5 > 10 * np.asanyarray(mask.dataobj)[~drawn].mean()


def turned(scan: nib.Nifti1Image, axes: tuple[str, ...]) -> nib.Nifti1Image:
    """The same scan, stored along other axes."""
    codes = nib.orientations.axcodes2ornt(axes)
    return scan.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(scan.affine), codes))


@pytest.mark.parametrize("axes", [("L", "P", "S"), ("A", "S", "R"), ("P", "I", "R")])
def test_the_way_that_a_file_stores_its_axes_changes_no_score(axes, model, trained, tmp_path):
    other = turned(nib.load(trained.patient), axes)
    nib.save(other, tmp_path / "turned.nii.gz")
    found = model.predict(tmp_path / "turned.nii.gz").scores
    assert np.array_equal(found.affine, other.affine)
    straight = nib.as_closest_canonical(found).get_fdata()
    assert np.array_equal(straight, model.predict(trained.patient).scores.get_fdata())


def test_a_path_and_an_image_give_the_same(trained):
    model = adbench.load_model(trained.path, device="cpu", precision="float32")
    of_path, of_image = (model.predict(given).scores for given in (trained.patient, nib.load(trained.patient)))
    assert np.array_equal(of_path.get_fdata(), of_image.get_fdata())


def tree(folder: Path) -> bytes:
    """All names and contents below a folder, unpacked."""
    text = b""
    for path in sorted(folder.rglob("*")):
        text += str(path.relative_to(folder)).encode()
        if path.is_file():
            data = path.read_bytes()
            text += gzip.decompress(data) if path.suffix == ".gz" else data
    return text


def test_no_name_no_number_and_no_path_of_a_person_reaches_an_output(model, tmp_path):
    folder = write_series(tmp_path / "Jane_Doe_1960" / "s", head(100, lesion=True), affine())
    failures = predict_all(model, model.find([folder]), tmp_path / "out", (0.01,), False, Silent())
    assert not failures
    written = tree(tmp_path / "out")
    for secret in (PERSON, "Jane", PERSON_ID, str(tmp_path)):
        assert secret.encode() not in written


def test_a_broken_scan_stops_no_other_and_what_is_done_is_not_done_again(model, trained, tmp_path):
    broken = tmp_path / "in" / "broken.nii.gz"
    broken.parent.mkdir()
    broken.write_bytes(b"no scan")
    scans = model.find([broken, trained.patient])
    out = tmp_path / "out"
    failures = predict_all(model, scans, out, (0.01,), False, Silent())
    assert [failure.name for failure in failures] == ["broken"]
    rows = (out / "predictions.csv").read_text("utf-8").splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [["broken", "failed"], ["patient", "ok"]]
    before = {path: path.stat().st_mtime_ns for path in (out / "patient").iterdir()}
    assert {path.name for path in before} == {"scores.nii.gz", "lesions-1pct.nii.gz", "prediction.json", "sheet.png"}
    predict_all(model, scans, out, (0.01,), False, Silent())
    assert {path: path.stat().st_mtime_ns for path in (out / "patient").iterdir()} == before
    (out / "patient" / "sheet.png").unlink()
    predict_all(model, scans, out, (0.01,), False, Silent())
    assert (out / "patient" / "sheet.png").is_file()
    written = json.loads((out / "patient" / "prediction.json").read_text("utf-8"))
    assert "medical device" in written["report"]["notice"]
    assert written["report"]["model"]["sha256"] == model.sha256


def test_of_another_scan_of_the_name_nothing_is_left_where_this_one_fails(model, trained, tmp_path):
    path, out = tmp_path / "p.nii.gz", tmp_path / "out"
    path.write_bytes(trained.patient.read_bytes())
    predict_all(model, model.find([path]), out, (0.01,), False, Silent())
    path.write_bytes(b"no scan")
    assert predict_all(model, model.find([path]), out, (0.01,), False, Silent())
    assert not list((out / "p").iterdir())


@pytest.mark.parametrize("axes", [("R", "A", "S"), ("P", "I", "L")])
def test_other_points_are_those_of_the_same_scores_which_are_not_computed_again(
    axes, model, trained, tmp_path, monkeypatch
):
    nib.save(turned(nib.load(trained.patient), axes), tmp_path / "p.nii")
    scans = model.find([tmp_path / "p.nii"])
    predict_all(model, scans, tmp_path / "anew", (0.05,), False, Silent())
    predict_all(model, scans, tmp_path / "out", (0.01,), False, Silent())
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "_scored", None)
        predict_all(model, scans, tmp_path / "out", (0.05,), False, Silent())
    assert tree(tmp_path / "out") == tree(tmp_path / "anew")
    scores = tmp_path / "out" / "p" / "scores.nii.gz"
    scores.write_bytes((tmp_path / "anew" / "p" / "lesions-5pct.nii.gz").read_bytes())
    predict_all(model, scans, tmp_path / "out", (0.01, 0.05), False, Silent())
    assert scores.read_bytes() == (tmp_path / "anew" / "p" / "scores.nii.gz").read_bytes()
    assert {path.name for path in scores.parent.glob("lesions*")} == {"lesions-1pct.nii.gz", "lesions-5pct.nii.gz"}


def test_two_do_not_predict_into_one_folder_at_once(model, trained, tmp_path):
    scans = model.find([trained.patient])
    with Lease(tmp_path / LEASE), pytest.raises(ConfigError, match="Another 'adbench predict' writes into"):
        predict_all(model, scans, tmp_path, (0.01,), False, Silent())
    assert not predict_all(model, scans, tmp_path, (0.01,), False, Silent())
    assert not (tmp_path / LEASE).exists()


def test_a_scan_unlike_those_trained_on_is_named_so_in_words(model, trained, tmp_path):
    alike = model.predict(image(head(200))).report
    assert not [text for text in alike.warnings if "intensities" in text or "in mm" in text]
    nib.save(nib.Nifti1Image(head(200), np.diag([2.0, 2, 4, 1])), tmp_path / "child_T1w.nii.gz")
    child = " ".join(model.predict(tmp_path / "child_T1w.nii.gz").report.warnings)
    assert "pixel in mm: 2" in child
    strange = head(200).astype(np.float32)
    strange[strange > 0] = np.where(np.random.default_rng(0).random((strange > 0).sum()) < 0.5, 100, 900)
    report = model.predict(image(strange)).report
    assert report.likeness.histogram_distance > report.likeness.healthy_furthest > 0
    assert any("intensities are unlike" in text for text in report.warnings)


def test_a_healthy_person_is_as_near_as_held_out_ones_and_few_pixels_are_flagged(model):
    reports = [model.predict(image(head(seed))).report for seed in range(300, 304)]
    assert np.median([report.likeness.histogram_distance for report in reports]) < 0.1
    assert max(report.points[0].voxels for report in reports) < 0.1 * np.prod(head(0).shape)


def test_results_are_not_written_among_the_scans(model, trained, tmp_path):
    scans = model.find([trained.patient])
    for out in (trained.patient.parent, trained.patient.parents[1]):
        with pytest.raises(ConfigError, match="lies among the scans"):
            check_apart(out, [trained.patient.parent], scans)
    with pytest.raises(ConfigError, match="lies among the scans"):
        check_apart(trained.patient.parent / "out", [trained.patient.parent], scans)
    check_apart(tmp_path, [trained.patient.parent], scans)


def test_unknown_and_unsupported_points_are_refused(model, trained):
    with pytest.raises(ConfigError, match=r"are 0\.05, 0\.01, not 0\.02"):
        model.predict(trained.patient, at=(0.02,))
    with pytest.raises(ConfigError, match="needs 20 healthy subjects"):
        model.predict(trained.patient, at=(0.001,))
    with pytest.raises(ConfigError, match="needs an operating point"):
        model.predict(trained.patient, at=())


def test_one_scan_at_a_time_and_only_what_is_one(model, trained, tmp_path):
    for seed in (1, 2):
        nib.save(image(head(seed)), tmp_path / f"{seed}.nii.gz")
    with pytest.raises(DataError, match="holds 2"):
        model.predict(tmp_path)
    with pytest.raises(DataError, match="a path or a NIfTI image of nibabel, not ndarray"):
        model.predict(head(1))
    with pytest.raises(DataError, match="not MGHImage: convert it"):
        model.predict(nib.MGHImage(head(1).astype(np.float32), affine()))


def test_an_image_of_two_files_is_scored_as_that_of_one(model):
    one, two = (model.predict(kind(head(1), affine())) for kind in (nib.Nifti1Image, nib.Nifti1Pair))
    assert np.array_equal(one.scores.get_fdata(), two.scores.get_fdata())


def test_a_model_of_ct_takes_dicom_in_hu_and_refuses_mri(tmp_path):
    """Bone is bright, air is -1000, and the window decides what is seen."""

    def hounsfield(seed: int) -> np.ndarray:
        values = head(seed, lesion=seed == 9)
        inner = ndimage.binary_erosion(values > 0, np.ones((3, 3, 1)))
        return np.where(inner, values // 10, np.where(values > 0, 900, -1000)).astype(np.int16)

    (tmp_path / "set" / "train").mkdir(parents=True)
    for seed in range(4):
        nib.save(image(hounsfield(seed)), tmp_path / "set" / "train" / f"p{seed}.nii.gz")
    chosen = options(tmp_path, settings=("data.modality=CT",))
    export("healthy-zscore", "folder", chosen, Silent(), tmp_path / "ct.adbench")
    model = load_model(tmp_path / "ct.adbench", "cpu", "float32")
    nib.save(image(hounsfield(9)), tmp_path / "ct.nii.gz")

    def is_ct(k: int, made) -> None:
        made.Modality = "CT"

    series = write_series(tmp_path / "series", hounsfield(9), affine(), is_ct)
    found, expected = (model.predict(path).scores for path in (series, tmp_path / "ct.nii.gz"))
    assert np.array_equal(nib.as_closest_canonical(found).get_fdata(), expected.get_fdata())
    with pytest.raises(DataError, match="of CT, but this series is MRI"):
        model.predict(write_series(tmp_path / "mr", head(1), affine()))
    nib.save(image(head(1)), tmp_path / "mr.nii.gz")
    with pytest.raises(DataError, match="CT must be in HU"):
        model.predict(tmp_path / "mr.nii.gz")


def test_with_region_brain_nothing_outside_of_it_is_scored_or_flagged(trained, tmp_path):
    chosen = options(trained.root, settings=("protocol.region=brain",))
    export("healthy-zscore", "folder", chosen, Silent(), tmp_path / "brain.adbench")
    found = load_model(tmp_path / "brain.adbench", "cpu", "float32").predict(trained.patient, at=(0.05,))
    air = ~ndimage.binary_fill_holes(head(100, lesion=True) > 0)
    assert not found.lesions["5pct"].get_fdata()[air].any()
    assert not found.scores.get_fdata()[air].any()
    assert found.scores.get_fdata()[~air].any()


def test_pictures_of_a_folder_are_the_slices_of_one_scan_of_unknown_size(model, tmp_path):
    values = head(100)
    for k in range(values.shape[2]):
        shown = values[::-1, ::-1, k].T * (255 / values.max())
        Image.fromarray(shown.astype(np.uint8)).save(tmp_path / f"slice{k}.png")
    report = model.predict(tmp_path).report
    assert (report.name, report.shape) == ("pictures-1", values.shape)
    assert report.points[0].ml is None
    assert any("the size of a pixel is unknown" in text for text in report.warnings)
    assert any("modality of pictures" in text for text in report.warnings)


def test_much_that_is_flagged_in_air_is_a_warning_and_a_model_of_the_brain_flags_none(
    model, trained, tmp_path, monkeypatch
):
    found = model.predict(trained.patient)
    flagged = np.asanyarray(found.lesions["1pct"].dataobj).astype(bool)
    in_air = flagged[head(100, lesion=True) == 0].sum() / flagged.sum()
    assert in_air > 0.5  # at the border, which healthy heads have at nearly one place
    assert f"lies {100 * in_air:.0f} % of what is flagged at 0.01" in outside(found)
    chosen = options(trained.root, settings=("protocol.region=brain",))
    export("healthy-zscore", "folder", chosen, Silent(), tmp_path / "brain.adbench")
    assert not outside(load_model(tmp_path / "brain.adbench", "cpu", "float32").predict(trained.patient))
    monkeypatch.setattr(reports, "OUTSIDE", in_air + 0.01)
    assert not outside(model.predict(trained.patient))


def outside(found) -> str:
    """The warning of what is flagged outside the head, or nothing."""
    return "".join(text for text in found.report.warnings if text.startswith("outside the head"))
