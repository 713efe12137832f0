"""Tampered results are found: each kind of change to real files of a run, and the unchanged ones pass."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adbench.cli.app import app
from adbench.config.options import RunOptions, Silent
from adbench.contracts.dataset import Reported
from adbench.contracts.registry import load_dataset
from adbench.protocol import harness
from adbench.protocol.identity import hash_of
from adbench.protocol.verifying import UNPROVED, verify
from adbench.results.pages import write_pages
from adbench.results.record import read_record

METHODS = ["intensity", "random"]
SETTINGS = ("protocol.resamples=50", "protocol.timing_slices=1", "protocol.timing_budget_s=0.01")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    options = RunOptions(preset="smoke", settings=SETTINGS, out=folder / "out", cache=folder / "cache", device="cpu")
    harness.run(METHODS, "phantom", options, Silent())
    write_pages(folder / "out")
    return folder / "out"


@pytest.fixture
def out(results, tmp_path) -> Path:
    """A copy to tamper with."""
    shutil.copytree(results, tmp_path / "out")
    return tmp_path / "out"


def record(out: Path, method: str = METHODS[0]) -> Path:
    (path,) = out.glob(f"records/phantom/{method}/*-seed0.json")
    return path


def beside(ending: str, out: Path, method: str = METHODS[0]) -> Path:
    return record(out, method).with_suffix(ending)


def edit(change: Callable[[dict], object], path: Path) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(json.dumps(content))


def set_metric(key: str, field: str = "value", by: float = 0.01) -> Callable[[Path], None]:
    def change(content: dict) -> None:
        content["metrics"][key][field] += by

    return lambda out: edit(change, record(out))


def edit_record(change: Callable[[dict], object]) -> Callable[[Path], None]:
    return lambda out: edit(change, record(out))


def publish(values: dict[str, float] | None, source: str) -> Callable[[Path], None]:
    return edit_record(lambda content: content.update(reported=values, reported_source=source))


def move_config_hash(out: Path) -> None:
    """Another hash in the record and in all names."""
    old = record(out).name.split("-")[0]
    for path in record(out).parent.glob(f"{old}*"):
        path.rename(path.with_name(path.name.replace(old, "0123456789ab")))
    edit(lambda r: r.update(config_hash="0123456789ab"), record(out))


def copy_under_another_seed(out: Path) -> None:
    for path in list(record(out).parent.glob("*seed0*")):
        shutil.copy(path, path.with_name(path.name.replace("seed0", "seed1")))


def claim_another_seed(out: Path) -> None:
    copy_under_another_seed(out)
    for path in record(out).parent.glob("*seed1*.timing-*"):
        path.unlink()
    (path,) = record(out).parent.glob("*seed1.json")
    edit(lambda r: r.update(seed=1), path)


def exchange_counts(out: Path) -> None:
    shutil.copy(beside(".counts.npz", out, METHODS[1]), beside(".counts.npz", out))


def leak(out: Path) -> None:
    (path,) = out.glob("records/phantom/manifest-*.json")
    edit(lambda m: m["test"].update(dict(list(m["train"].items())[:1])), path)


def drop_image(out: Path) -> None:
    (path,) = out.glob("records/phantom/manifest-*.json")
    edit(lambda m: m["test"].popitem(), path)


def exchange_times(out: Path) -> None:
    (mine,) = record(out).parent.glob("*.timing-*")
    (theirs,) = record(out, METHODS[1]).parent.glob("*.timing-*")
    shutil.copy(theirs, mine)


def edit_subjects(out: Path) -> None:
    path = beside(".subjects.csv", out)
    lines = path.read_text("utf-8").splitlines()
    lines.pop()
    path.write_text("\n".join(lines) + "\n")


def append(ending: str) -> Callable[[Path], object]:
    return lambda out: beside(ending, out).write_bytes(b"x" + beside(ending, out).read_bytes())


TAMPERING: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pooled metric": (set_metric("auprc"), "auprc is .*but the counts"),
    "its interval": (set_metric("auprc", "low", -0.05), "interval of auprc"),
    "a mean over subjects": (set_metric("subject_auprc", by=-0.01), "has subject_auprc"),
    "Dice at an operating point": (set_metric("dice_5pct", by=0.1), "dice_5pct is .*but the counts"),
    "a metric less": (edit_record(lambda r: r["metrics"].pop("auroc")), "has no auroc"),
    "a metric at an operating point": (set_metric("lesion_recall_5pct", by=-0.1), "lesions by size give"),
    "the prevalence": (edit_record(lambda r: r["dataset"].update(prevalence=0.5)), "prevalence of 0.5"),
    "a setting": (edit_record(lambda r: r["protocol"].update(reference_images=77)), "config hash"),
    "a setting that there is not": (edit_record(lambda r: r["detector"]["config"].update(none=1)), "does not take"),
    "a value that cannot be": (edit_record(lambda r: r["dataset"]["config"].update(size="x")), "does not take"),
    "a study without a name": (edit_record(lambda r: r.update(tuning={"trial": 1})), "does not take"),
    "the version of the method": (edit_record(lambda r: r["detector"].update(code_version="99")), "config hash"),
    "the fingerprint": (edit_record(lambda r: r["dataset"].update(fingerprint="f" * 16)), "config hash"),
    "the config hash": (move_config_hash, "config hash"),
    "the number of subjects": (edit_record(lambda r: r["dataset"]["subjects"].update(test=99)), "99"),
    "a record under another name": (copy_under_another_seed, "copied or renamed"),
    "a record as another seed": (claim_another_seed, "has the same counts as"),
    "the method": (edit_record(lambda r: r["detector"].update(name="random")), "copied or renamed"),
    "counts of another record": (exchange_counts, "counts"),
    "no counts": (lambda out: beside(".counts.npz", out).unlink(), "counts"),
    "an image in two splits": (leak, "the same image in test and in training"),
    "an image less": (drop_image, "images, but manifest"),
    "the time of another method": (exchange_times, "time of another record"),
    "a subject less": (edit_subjects, "test subjects, but"),
    "a damaged picture": (append(".png"), "must be the picture"),
    "a threshold": (edit_record(lambda r: r["measurement"]["froc"][0].update(threshold=-1e9)), "thresholds of FROC"),
    "what a method knows": (
        lambda out: edit(lambda card: card.update(knowledge="all"), out / "methods/random.json"),
        "not a card of a method",
    ),
    "a number of images left out": (
        edit_record(lambda r: r["metrics"]["image_auprc"].update(value=None, low=None, high=None)),
        "but no image_auprc",
    ),
    "a page": (lambda out: (out / "phantom.md").unlink(), "adbench leaderboard"),
    "a strange file": (lambda out: beside(".bak", out).write_text(""), "no file that a run writes"),
    "an invented published value": (publish({"best_dice": 0.1}, "Nobody 2020"), "published best_dice of 0.1"),
    "an invented source": (publish(None, "Nobody 2020"), "source that the dataset phantom does not know"),
    "a field too much": (edit_record(lambda r: r.update(extra=1)), "not a record"),
}  # fmt: skip


def test_untouched_results_pass(out):
    assert verify(out) == (2, [])


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_is_found(out, what):
    change, said = TAMPERING[what]
    change(out)
    _, findings = verify(out)
    assert findings
    assert any(re.search(said, finding.what) for finding in findings), findings


def test_the_hash_of_a_record_is_that_of_its_cell(out):
    for method in METHODS:
        assert hash_of(read_record(record(out, method))) == read_record(record(out, method)).config_hash


def test_a_record_of_a_method_that_is_not_installed_is_checked_but_for_its_hash(out, monkeypatch):
    monkeypatch.setattr("adbench.protocol.verifying.hash_of", lambda record: None)
    assert verify(out) == (2, [])


def test_settings_that_another_version_took_are_no_fault(out):
    changed = lambda r: r["detector"].update(code_version="99", config={"none": 1})  # noqa: E731
    edit_record(changed)(out)
    assert hash_of(read_record(record(out))) is None


def test_published_values_that_the_dataset_knows_of_the_method_pass(out, monkeypatch):
    value = Reported("theirs", "best_dice", 0.1, "Somebody 2020", "Table 1", registered=METHODS[0])
    info = replace(load_dataset("phantom").cls.info, reported=(value,))
    monkeypatch.setattr(load_dataset("phantom").cls, "info", info)
    publish({"best_dice": 0.1}, "Somebody 2020, Table 1")(out)
    write_pages(out)
    assert verify(out) == (2, [])
    publish({"best_dice": 0.1}, "Nobody 2020")(out)
    assert "source" in verify(out)[1][0].what


def test_the_preset_cannot_be_proved_and_that_is_said(out):
    edit_record(lambda content: content["detector"].update(preset="paper"))(out)
    write_pages(out)
    assert verify(out)[1] == []
    assert any("preset" in each for each in UNPROVED)


def test_times_cannot_be_proved_and_that_is_said(out):
    (path,) = record(out).parent.glob("*.timing-*")
    edit(lambda t: t["timing"].update(median_s=t["timing"]["median_s"] / 2), path)
    write_pages(out)
    assert verify(out)[1] == []
    assert UNPROVED[0].startswith("times")


def test_forged_values_reach_no_page_and_are_said_of_tables_and_reports(out, tmp_path):
    set_metric("auprc")(out)
    (out / "phantom.md").unlink()
    refused = CliRunner().invoke(app, ["leaderboard", "--out", str(out)])
    assert refused.exit_code == 2
    assert "auprc is" in refused.stderr
    assert not (out / "phantom.md").exists()
    for words in (["table", "--out", str(out)], ["report", "--out", str(out), "-o", str(tmp_path / "report")]):
        said = CliRunner().invoke(app, words)
        assert said.exit_code == 0
        assert "Not to be believed: 1 record" in said.stderr


def test_findings_name_their_file_once(out):
    set_metric("auprc")(out)
    found = CliRunner().invoke(app, ["verify", str(out)])
    assert found.exit_code == 1
    assert found.stdout.splitlines()[0].count(record(out).name) == 1
    assert "2 records checked, 1 finding." in found.stdout
