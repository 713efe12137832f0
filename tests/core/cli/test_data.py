"""`adbench data`: what it prints where, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import toys
from PIL import Image

from adbench.cli.app import app
from adbench.contracts.dataset import Findings, Problem


@pytest.fixture
def data(tmp_path, capsys, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)
    monkeypatch.setenv("ADBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ADBENCH_DATA", raising=False)

    def call(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            app(["data", *map(str, args)], prog_name="adbench")
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return call


MANY = ["--set", "data.n_test=2"]
"""With which `toy-sick` finds a file that cannot be read and 25 that are skipped."""


def test_check_prints_the_facts_in_their_order_and_ends_well(data):
    code, out, err = data("check", "toy-sick")
    assert code == 0
    assert [line.split()[0] for line in out.split("\n") if line.strip()] == ["dataset", "subjects", "a"]
    assert "looking" in err, "the progress of the dataset"


def test_check_of_a_dataset_that_says_nothing_of_its_own_shows_the_sizes_of_its_splits(data):
    code, out, _ = data("check", "toy", "--set", "data.n_train=7")
    assert code == 0
    assert "7 of 7 subjects" in out
    assert "16 x 16" in out


def test_check_fails_where_a_problem_must_be_mended_and_shows_that_first(data):
    code, out, err = data("check", "toy-sick", *MANY)
    assert code == 1
    assert "1 of 26 problems must be mended before toy-sick can be used" in err
    files = [line.split()[0] for line in out.splitlines() if ".nii" in line]
    assert files == ["a.nii", *(f"b{i:02}.nii" for i in range(19))]
    assert "and 6 more: --all shows them" in out


def test_check_ends_with_the_facts_and_the_problems_by_kind(data):
    _, out, _ = data("check", "toy-sick", *MANY)
    last = [line.split() for line in out.splitlines() if line.strip()][-5:]
    assert [words[0] for words in last] == ["dataset", "subjects", "a", "1", "25"]
    assert last[3] == ["1", "file", "to", "mend", "cannot", "be", "read"]
    assert last[4] == ["25", "files", "skipped", "no", "mask"]
    found = json.loads(data("check", "toy-sick", "--json", *MANY)[1])
    assert found["kinds"] == [
        {"what": "cannot be read", "files": 1, "first": "a.nii", "skipped": False},
        {"what": "no mask", "files": 25, "first": "b00.nii", "skipped": True},
    ]


def test_problems_that_differ_in_numbers_and_names_are_of_one_kind():
    problems = [
        Problem("a.nii", "3 of 9 values are NaN: mend it", skipped=True),
        Problem("b.nii", "14 of 20 values are NaN: mend it", skipped=True),
        Problem("c.nii", "3 of 9 values are NaN: mend it", skipped=False),
    ]
    alike = Findings({}, problems).alike()
    assert [(one.files, one.first, one.skipped) for one in alike] == [(1, "c.nii", False), (2, "a.nii", True)]


def test_check_shows_all_problems_on_request(data):
    code, out, _ = data("check", "toy-sick", "--all", *MANY)
    assert code == 1
    assert "b24.nii" in out
    assert "more" not in out


def test_check_ends_well_where_all_problems_are_skipped_cases(data, monkeypatch):
    inspect = toys.ToySick.inspect

    def skipping(self):
        found = inspect(self)
        return toys.Findings(found.facts, [problem for problem in found.problems if problem.skipped])

    monkeypatch.setattr(toys.ToySick, "inspect", skipping)
    assert data("check", "toy-sick", *MANY)[0] == 0


def test_check_as_json_holds_everything(data, monkeypatch):
    inspect = toys.ToySick.inspect

    def telling(self):
        self.runtime.notify("read as LAS")
        return inspect(self)

    monkeypatch.setattr(toys.ToySick, "inspect", telling)
    code, out, err = data("check", "toy-sick", "--json", *MANY)
    found = json.loads(out)
    assert found["notes"] == ["read as LAS"]
    assert "read as LAS" in err
    assert code == 1
    assert found["dataset"] == "toy-sick"
    assert found["facts"] == {"subjects": "2", "a fact": "second"}
    assert len(found["problems"]) == 26
    assert found["problems"][0] == {"file": "a.nii", "what": "cannot be read", "skipped": False}


def test_check_of_data_that_cannot_be_read_ends_with_two(data, tmp_path):
    code, out, err = data("check", "headct-sprites", "--data-root", tmp_path / "nowhere")
    assert (code, out) == (2, "")
    assert "looks for MedNIST.tar.gz" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("check toi", "no dataset 'toi'; did you mean 'toy'?"),
        (
            "check toy --set n_train=3",
            "no setting 'n_train' for toy; did you mean 'data.n_train'? Settings of a dataset",
        ),
        ("check toy --set protocol.region=brain", "no setting 'protocol.region' for toy"),
        ("check toy --set data.n_trian=3", "no setting 'data.n_trian' for toy; did you mean 'data.n_train'?"),
        ("check toy --set data.n_train=0", "toy: data.n_train: Input should be greater than or equal to 1, got 0."),
        ("check toy --preset smal", "no preset 'smal'; did you mean 'small'?"),
        ("prepare toy-large --train-on toy", "must have one size"),
        ("prepare toy-sick", "toy-sick has no healthy images"),
        ("prepare toy --train-on toi", "no dataset 'toi'; did you mean 'toy'?"),
        ("preview toy -o sheet.gif", "A sheet is written as .png, .jpg, .jpeg, got 'sheet.gif'"),
        ("preview toy -o /proc/sheet.png", "/proc/sheet.png cannot be written (No such file or directory)"),
    ],
)
def test_bad_usage_ends_with_two_and_one_message(data, args, message):
    code, out, err = data(*args.split())
    assert (code, out) == (2, "")
    assert message in err
    assert err.splitlines()[-1].startswith("error: ")


def test_prepare_says_what_a_run_would_use_and_where_it_is(data, tmp_path):
    code, out, _ = data("prepare", "toy-sick", "toy", "--train-on", "toy", "--set", "data.n_test=8")
    assert code == 0
    first, second = out.split("fingerprint")[:2]
    assert "train of toy" in first
    assert "train of toy" not in second, "a set trained on itself"
    assert str(tmp_path / "cache/data") in out


def test_prepare_names_the_file_that_images_are_mapped_from(data, tmp_path, monkeypatch):
    def load(self):
        splits = whole(self)
        np.save(tmp_path / "train.npy", splits.train.images)
        images = np.load(tmp_path / "train.npy", mmap_mode="r")
        return toys.replace(splits, train=toys.replace(splits.train, images=images[:]))

    whole = toys.ToyData.load
    monkeypatch.setattr(toys.ToyData, "load", load)
    _, out, _ = data("prepare", "toy")
    assert f"\ntrain: {tmp_path / 'train.npy'}\n" in out
    assert out.count("memory") == 2


def test_preview_writes_a_sheet_and_says_how_many_slices(data, tmp_path):
    code, out, _ = data("preview", "toy-sick", "-o", tmp_path / "sheet.png", "--count", 3)
    assert code == 0
    assert out == f"{tmp_path / 'sheet.png'}: 3 of 4 slices\n"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"


@pytest.mark.parametrize(("split", "n"), [("train", 6), ("validation", 8), ("test", 6)])
def test_preview_shows_any_split(data, tmp_path, split, n):
    assert f"{n} of {n} slices" in data("preview", "toy", "-o", tmp_path / "a.jpg", "--split", split)[1]
    with Image.open(tmp_path / "a.jpg") as sheet:
        assert sheet.format == "JPEG"


def test_preview_of_an_empty_split_is_an_error(data, tmp_path, monkeypatch):
    empty = toys.healthy(np.zeros((0, 1, 8, 8), np.float32), "none")
    monkeypatch.setattr(toys.ToySick, "load_test", lambda self: empty)
    code, _, err = data("preview", "toy-sick", "-o", tmp_path / "a.png")
    assert code == 2
    assert "the test split of toy-sick is empty" in err
    assert not Path(tmp_path / "a.png").exists()
