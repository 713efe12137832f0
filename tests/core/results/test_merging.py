"""Records of several machines: one quality, the times of all, and a word for whatever does not agree."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from record_factory import card, dataset, environment, estimate, make, metrics, timed
from typer.testing import CliRunner

from adbench.cli.app import app
from adbench.errors import RecordError
from adbench.results import merging
from adbench.results.counts import FIELDS, counts_path
from adbench.results.merging import merge
from adbench.results.method_card import method_card_path, read_method_cards, write_method_card
from adbench.results.record import Record, read_records, write_record
from adbench.results.subjects import subjects_path
from adbench.results.timing import read_timings, write_timing

GPU = environment(device="cuda", device_name="Some GPU")


def write(folder: Path, record: Record, on: dict | None = None, seconds: float = 1.0) -> Path:
    """A record with all that stands beside it, timed on a device."""
    path = write_record(record, folder)
    counts = (np.arange(2.0, dtype=np.float32), np.array(["s"]), np.ones((1, 3)), np.ones((1, 3)))
    np.savez_compressed(counts_path(path), **dict(zip(FIELDS, counts, strict=True)))
    subjects_path(path).write_text("subject,auprc\ns,0.5\n")
    (folder / record.dataset.manifest).write_text('{"test": {"s": "hash"}}\n')
    write_timing(timed(record, seconds, on or environment()), folder)
    write_method_card(card("control"), folder / method_card_path(record.detector.name))
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_records_of_two_machines_stand_together_with_all_that_belongs_to_them(tmp_path):
    for name, method in (("a", "ddpm"), ("b", "ae")):
        write(tmp_path / name, make(method))
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    assert files(tmp_path / "all") == files(tmp_path / "a") | files(tmp_path / "b")


def test_a_cell_of_two_machines_has_one_record_and_both_times(tmp_path):
    write(tmp_path / "a", make())
    write(tmp_path / "b", make(environment=GPU, created="2025-02-02T00:00:00+00:00", core_minutes=3.0), on=GPU)
    found = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    assert read_records(tmp_path / "all") == read_records(tmp_path / "a")
    assert {time.environment.device for time in read_timings(tmp_path / "all")} == {"cpu", "cuda"}
    (said,) = found.kept
    assert str(tmp_path / "a/records") in said
    assert str(tmp_path / "b/records") in said


def test_of_two_cards_of_a_method_the_first_stays_and_that_is_said(tmp_path):
    write(tmp_path / "a", make())
    write(tmp_path / "b", make("ae"))
    write_method_card(card("feature"), tmp_path / "b" / method_card_path("ae"))
    write(tmp_path / "c", make("ae"))
    (said,) = [text for text in merge([tmp_path / name for name in "abc"], tmp_path / "all").kept if "methods" in text]
    assert said.endswith("the plugins say different things")
    assert {name: card.family for name, card in read_method_cards(tmp_path / "all").items()} == {
        "ddpm": "control",
        "ae": "feature",
    }


def test_what_is_there_stays_and_a_merge_can_be_repeated(tmp_path):
    write(tmp_path / "a", make(), seconds=1.0)
    write(tmp_path / "b", make(created="2025-02-02T00:00:00+00:00"), seconds=2.0)
    write(tmp_path / "b", make("ae"))
    before = files(tmp_path / "a")
    for _ in range(2):
        found = merge([tmp_path / "b"], tmp_path / "a")
        assert any("times on devices of one name" in text for text in found.kept)
        assert before.items() <= files(tmp_path / "a").items()
    whole = files(tmp_path / "a")
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "a")
    assert files(tmp_path / "a") == whole


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"metrics": {**metrics(), "auprc": estimate(0.75)}}, r"metrics\.auprc\.value \(0\.8, 0\.75\)"),
        ({"status": "failed", "reason": "no memory", "metrics": {}, "measurement": None}, r"status \(ok, failed\)"),
        ({"dataset": dataset(fingerprint="f" * 16)}, "dataset.fingerprint"),
    ],
    ids=["quality", "failure", "images"],
)
def test_records_of_a_cell_that_do_not_agree_are_named_and_nothing_is_written(tmp_path, changes, named):
    a, b = write(tmp_path / "a", make()), write(tmp_path / "b", make(**changes))
    write(tmp_path / "b", make("ae"))
    with pytest.raises(RecordError, match=named) as error:
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    assert str(a) in str(error.value)
    assert str(b) in str(error.value)
    assert not (tmp_path / "all").exists()


def test_manifests_counts_and_subjects_are_compared(tmp_path):
    a, b = (write(tmp_path / name, make()) for name in "ab")
    manifest = tmp_path / "b" / make().dataset.manifest
    for path, wrong in ((manifest, '{"test": {"s": "other"}}\n'), (subjects_path(b), "subject,auprc\ns,0.6\n")):
        right = path.read_text(encoding="utf-8")
        path.write_text(wrong)
        with pytest.raises(RecordError, match=path.name):
            merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
        path.write_text(right)
    with np.load(counts_path(a)) as held:
        arrays = dict(held)
    np.savez(counts_path(b), **arrays)
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "plain")  # the same, compressed in another way
    np.savez(counts_path(b), **{**arrays, "positives": arrays["positives"] + 1})
    with pytest.raises(RecordError, match=r"counts\.npz"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all")
    assert not (tmp_path / "all").exists()


def test_a_merge_that_is_cut_off_leaves_no_record_without_its_counts_and_is_gone_on_with(tmp_path, monkeypatch):
    write(tmp_path / "a", make())
    write(tmp_path / "a", make("ae"))
    n = len(files(tmp_path / "a"))
    for cut in range(n):
        out, left = tmp_path / f"out{cut}", iter(range(cut))

        def some(path, data, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

        with monkeypatch.context() as patch:
            patch.setattr(merging, "write_bytes", some)
            with pytest.raises(KeyboardInterrupt):
                merge([tmp_path / "a"], out)
        assert all(counts_path(out / record.path).is_file() for record in read_records(out))
        merge([tmp_path / "a"], out)
        assert files(out) == files(tmp_path / "a")


def test_nothing_is_written_outside_the_folder_whatever_a_record_says(tmp_path):
    record = make(dataset=dataset(manifest="../../../stolen.json"))
    write_record(record, tmp_path / "a")
    (tmp_path / "stolen.json").write_text("{}")
    merge([tmp_path / "a"], tmp_path / "x" / "all")
    assert {os.path.relpath(p, tmp_path) for p in tmp_path.rglob("stolen.json")} == {"stolen.json"}


def test_the_command_says_what_it_merged_writes_the_pages_and_refuses_with_2(tmp_path):
    def adbench(*words: object, code: int = 0) -> str:
        result = CliRunner().invoke(app, ["merge", *map(str, words)])
        assert result.exit_code == code, result.output
        return result.output

    write(tmp_path / "a", make())
    write(tmp_path / "b", make("ae"))
    text = adbench(tmp_path / "a", tmp_path / "b", "-o", tmp_path / "all")
    assert "2 records, 2 of them new; 2 files of times" in " ".join(text.split())
    assert "ae" in (tmp_path / "all" / "toy.md").read_text(encoding="utf-8")
    assert "must hold records" in adbench(tmp_path / "nowhere", "-o", tmp_path / "all", code=2)
    write(tmp_path / "c", make(metrics=metrics(0.1)))
    assert "best_dice" in adbench(tmp_path / "c", "-o", tmp_path / "all", code=2)
