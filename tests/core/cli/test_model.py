"""`adbench model` and `adbench predict` from the command line: exit codes, lists and words."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import nibabel as nib
import pytest
from dicom_files import write_series
from heads import affine, head, image, write_patient, write_set
from part_files import KEY, SPEC, TENSORS
from record_factory import dataset, failed, make, trained_on

from adbench.prediction.model_file import read_model, write_model
from adbench.results.record import write_record
from adbench.storage.store import ArtifactStore

MODEL = ("--method", "healthy-zscore", "--dataset", "folder", "--preset", "smoke")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("place")
    write_set(root / "set", people=4)
    write_patient(root)
    return root


@pytest.fixture
def exported(place, command, monkeypatch):
    """The path of a model; every command runs on the same cache."""
    monkeypatch.setenv("ADBENCH_CACHE", str(place / "cache"))
    monkeypatch.chdir(place)
    path = place / "m.adbench"
    if not path.is_file():
        code, out, err = command("model", "export", *MODEL, "--data-root", str(place / "set"), "-o", str(path))
        assert code == 0, err
        assert "healthy-zscore trained on folder" in out
    return path


def test_a_card_is_shown_for_people_and_as_json(exported, command):
    code, out, _ = command("model", "show", str(exported))
    assert code == 0
    assert all(word in out for word in ("licence of the data", "--at 0.01", "medical device", "SHA-256"))
    code, out, _ = command("model", "show", str(exported), "--json")
    assert json.loads(out)["method"] == "healthy-zscore"


def test_what_a_card_says_commands_no_terminal(exported, command, tmp_path):
    file = read_model(exported)
    evil = file.card.trained_on.model_copy(update={"licence": "\x1b[2Jnone"})
    write_model(tmp_path / "evil.adbench", file.card.model_copy(update={"trained_on": evil}), file.tensors)
    code, out, _ = command("model", "show", str(tmp_path / "evil.adbench"))
    assert code == 0
    assert r"\x1b[2Jnone" in out
    assert "\x1b" not in out


def test_a_file_that_is_no_model_ends_with_2(exported, command, place):
    (place / "bad.adbench").write_bytes(b"no model at all")
    for words in (("model", "show", "bad.adbench"), ("predict", "bad.adbench", "patient.nii.gz", "-o", "out")):
        code, _, err = command(*words)
        assert code == 2
        assert "is no such file" in err


def test_one_broken_scan_ends_with_1_and_a_list_and_the_others_are_there(exported, command, place, tmp_path):
    (tmp_path / "broken.nii.gz").write_bytes(b"x")
    out = tmp_path / "out"
    words = ("predict", str(exported), str(place / "patient.nii.gz"), str(tmp_path / "broken.nii.gz"), "-o", str(out))
    code, said, err = command(*words)
    assert code == 1
    assert "1 of 2 scans predicted" in said
    assert "medical device" in said
    assert err.count("failed: broken: ") == 1
    assert (out / "patient" / "scores.nii.gz").is_file()


def test_links_that_lead_back_to_themselves_stop_no_other_scan(exported, command, place, tmp_path):
    scans, out = tmp_path / "in", tmp_path / "out"
    scans.mkdir()
    (scans / "folder").symlink_to(scans)
    (scans / "loop.nii.gz").symlink_to(scans / "loop.nii.gz")
    nib.save(image(head(3)), scans / "scan.nii.gz")
    code, said, err = command("predict", str(exported), str(scans), "-o", str(out), "--names", str(tmp_path / "n.csv"))
    assert code == 1
    assert "1 of 2 scans predicted" in said
    assert "failed: loop: " in err
    assert "mend the link" in err
    report = json.loads((out / "scan" / "prediction.json").read_text("utf-8"))["report"]
    assert report["likeness"]["healthy_subjects"] == len(read_model(exported).card.healthy.distances)


def test_files_of_one_name_are_told_apart_on_the_terminal_and_in_a_private_file(exported, command, tmp_path):
    for person in ("Jane", "John"):
        (tmp_path / "in" / person).mkdir(parents=True)
        nib.save(image(head(3)), tmp_path / "in" / person / "FLAIR.nii.gz")
    out, names = tmp_path / "out", tmp_path / "private" / "names.csv"
    words = ("predict", str(exported), str(tmp_path / "in"), "-o", str(out))
    code, _, err = command(*words, "--names", str(names))
    assert code == 0, err
    with names.open(encoding="utf-8", newline="") as file:
        rows = {row["scan"]: Path(row["file"]) for row in csv.DictReader(file)}
    assert rows == {
        name: tmp_path / "in" / who / "FLAIR.nii.gz" for name, who in (("FLAIR", "Jane"), ("FLAIR-2", "John"))
    }
    assert all(f"{path} -> {name}" in err for name, path in rows.items())
    assert all((out / name / "scores.nii.gz").is_file() for name in rows)
    assert names.stat().st_mode & 0o077 == 0
    assert not [path for path in out.rglob("*") if path.is_file() and b"Jane" in path.read_bytes()]


def test_names_are_written_neither_among_results_nor_over_a_scan(exported, command, place, tmp_path):
    scan = place / "patient.nii.gz"
    for names, said in ((tmp_path / "out" / "names.csv", "stay out of the results"), (scan, "is a scan")):
        code, _, err = command("predict", str(exported), str(scan), "-o", str(tmp_path / "out"), "--names", str(names))
        assert (code, said in err) == (2, True)
    assert not (tmp_path / "out").exists()
    assert command("predict", str(exported), str(scan), "-o", str(tmp_path / "out"), "--names", str(tmp_path))[0] == 2


def test_a_point_that_is_none_and_a_folder_among_the_scans_end_with_2(exported, command, place):
    code, _, err = command("predict", str(exported), "patient.nii.gz", "-o", "out", "--at", "0.3")
    assert (code, "not 0.3" in err) == (2, True)
    code, _, err = command("predict", str(exported), "patient.nii.gz", "-o", str(place))
    assert (code, "lies among the scans" in err) == (2, True)


def test_of_several_series_one_is_named(exported, command, tmp_path):
    for uid, folder in (("1.1", "a"), ("1.2", "b")):
        write_series(tmp_path / "in" / folder, head(1), affine(), uid=uid)
    words = ("predict", str(exported), str(tmp_path / "in"), "-o", str(tmp_path / "out"))
    code, _, err = command(*words)
    assert code == 2
    assert "1: MR" in err
    assert "2: MR" in err
    assert command(*words, "--series", "7")[0] == 2
    assert command(*words, "--series", "2")[0] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["predictions.csv", "series-2"]


def test_a_damaged_dicom_series_ends_with_1_and_a_list_and_the_others_are_there(exported, command, place, tmp_path):
    for uid, folder in (("1.1", "whole"), ("1.2", "broken")):
        write_series(tmp_path / "in" / folder, head(1), affine(), uid=uid)
    cut = tmp_path / "in" / "broken" / "004"
    cut.write_bytes(cut.read_bytes()[:200])
    (tmp_path / "in" / "alone").mkdir()
    (tmp_path / "in" / "alone" / "x.dcm").write_bytes(b"")
    out = tmp_path / "out"
    words = ("predict", str(exported), str(tmp_path / "in"), str(place / "patient.nii.gz"), "-o", str(out))
    code, _, err = command(*words)
    assert code == 2  # one of two series is to be named
    assert "with a damaged file" in err
    code, said, err = command(*words, "--series", "all")
    assert (code, "2 of 4 scans predicted" in said) == (1, True)
    assert f"failed: series-1: {cut}: " in err
    assert f"failed: damaged-1: {tmp_path / 'in' / 'alone' / 'x.dcm'}: " in err
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["scan"]: row["status"] for row in csv.DictReader(file)}
    assert rows == {"series-1": "failed", "series-2": "ok", "damaged-1": "failed", "patient": "ok"}
    assert not (out / "series-1").exists()
    assert str(tmp_path) not in (out / "predictions.csv").read_text(encoding="utf-8")


def test_files_of_a_series_named_one_by_one_are_one_scan_and_one_that_is_damaged_is_its_fault(
    exported, command, tmp_path
):
    files = sorted(str(path) for path in write_series(tmp_path / "s", head(1), affine()).iterdir())
    Path(files[-1]).write_bytes(b"")
    code, said, err = command("predict", str(exported), *files, "-o", str(tmp_path / "out"))
    assert (code, "0 of 1 scan predicted" in said) == (1, True)
    assert f"failed: series-1: {files[-1]}: " in err


def test_help_says_that_it_is_no_medical_device_and_that_sheets_show_faces(command):
    _, out, _ = command("predict", "--help")
    assert "Not a medical device" in re.sub(r"[\s│]+", " ", out)
    assert "faces" in out


def test_cells_of_records_are_listed(exported, command, place, tmp_path):
    code, out, _ = command("model", "list", "--out", str(tmp_path))
    assert code == 0
    assert f"No records of trained cells below {tmp_path}, and no parts in the cache" in " ".join(out.split())
    assert "--out" in out


def test_cells_are_listed_with_their_preset_seed_and_which_parts_are_here(command, tmp_path):
    def recorded(method, artifacts, **changes):
        of = make(method, **changes)
        detector = of.detector.model_copy(update={"artifacts": artifacts})
        write_record(of.model_copy(update={"detector": detector}), tmp_path / "results")

    recorded("control", {})
    recorded("whole", {"vqvae": "vqvae-1", "unet": "unet-1"}, seed=3, preset="standard", config_hash="a" * 12)
    recorded("half", {"vqvae": "vqvae-1", "unet": "unet-2"}, config_hash="b" * 12)
    recorded("elsewhere", {}, config_hash="c" * 12, dataset=dataset(train_on=trained_on("healthy")))
    write_record(failed(config_hash="d" * 12), tmp_path / "results")
    for key in ("vqvae-1", "unet-1"):
        (tmp_path / "cache" / "artifacts" / key).mkdir(parents=True)
        (tmp_path / "cache" / "artifacts" / key / "part.json").write_text("{}", encoding="utf-8")
    code, out, err = command("model", "list", "--out", str(tmp_path / "results"), "--cache", str(tmp_path / "cache"))
    assert code == 0, err
    rows = [" ".join(line.split()) for line in out.splitlines()]
    for row in (
        *("control toy small 0 none needed", "whole toy standard 3 in the cache", "half toy small 0 1 of 2 here"),
        "elsewhere healthy small 0 none needed",
    ):
        assert row in rows
    assert "broken" not in out


def test_bids_images_are_found_by_suffix_with_their_brain_masks(exported, command, tmp_path):
    anat = tmp_path / "raw" / "sub-01" / "anat"
    anat.mkdir(parents=True)
    for suffix in ("FLAIR", "T1w"):
        nib.save(image(head(3)), anat / f"sub-01_{suffix}.nii.gz")
    code, out, err = command("predict", str(exported), str(tmp_path / "raw"), "-o", str(tmp_path / "out"))
    assert code == 0, err
    assert (tmp_path / "out" / "sub-01" / "anat" / "sub-01_desc-anomaly_statmap.nii.gz").is_file()
    assert "1 of 1 scan predicted" in out


def test_an_export_takes_trained_parts_from_a_depot_and_is_the_same_file(place, command, tmp_path):
    def export(name, *more):
        of = ("--method", "ae", "--dataset", "folder", "--preset", "smoke", "--data-root", str(place / "set"))
        path = str(tmp_path / f"{name}.adbench")
        code, _, err = command(
            "model", "export", *of, "--cache", str(tmp_path / name), *more, "-o", path, "--set", "steps=2"
        )
        return code, " ".join(err.split())

    depot = str(tmp_path / "depot")
    code, err = export("first", "--parts", depot)
    assert code == 2
    assert "Parts must lie at file://" in err
    assert export("first")[0] == 0
    assert command("parts", "push", depot, "--cache", str(tmp_path / "first"))[0] == 0
    code, err = export("second", "--parts", depot)
    assert code == 0, err
    assert "comes from file://" in err
    assert (tmp_path / "first.adbench").read_bytes() == (tmp_path / "second.adbench").read_bytes()


def test_parts_of_no_record_are_listed(command, tmp_path):
    store = ArtifactStore.below(tmp_path / "cache").made_for("ddim on my-flair")
    store.get(SPEC, lambda checkpoint: TENSORS)
    code, out, err = command("model", "list", "--out", str(tmp_path / "none"), "--cache", str(tmp_path / "cache"))
    assert code == 0, err
    assert f"ddim my-flair {KEY}, of no record" in " ".join(out.split())
