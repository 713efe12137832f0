"""`adbench compare`: paired differences of records, and what cannot be compared."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from record_factory import dataset, make
from report_folder import write_folder
from scipy import stats
from typer.testing import CliRunner

from adbench.cli.app import app
from adbench.metrics.bins import Bins
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.maps import ordered
from adbench.results.counts import counts_path, write_counts
from adbench.results.figures import GAP_PX, LABEL_PX, LINE_PX
from adbench.results.pictures import Picture
from adbench.results.record import write_record
from adbench.results.side_by_side import Kept, side_by_side
from adbench.results.subjects import subjects_path, write_subjects


def counts(base: np.ndarray) -> ScoreHistogram:
    """Ten lesion pixels a subject, which score higher than its ten others as often as `base` says."""
    hist = ScoreHistogram(Bins(ordered(np.array([0.0, 1.0, 2.0], np.float32)), np.ones(3, bool)))
    for i, share in enumerate(base):
        high = int(np.clip(round(10 * share), 0, 10))
        scores = np.array([2.0] * high + [0.0] * (10 - high) + [1.0] * 10, np.float32)
        hist.add(f"s{i}", scores, np.arange(20) < 10)
    return hist


def write(out: Path, method: str, shift: float = 0.0, n: int = 30, **changes) -> Path:
    """A record whose subjects are better by a shift, and flag false components fewer by a hundred times that."""
    record = make(method, **changes)
    rng, own = np.random.default_rng(0), np.random.default_rng([len(method), record.seed])
    base = rng.random(n) / 2 + shift + own.normal(0, 0.01, n)
    rows = pd.DataFrame({"subject": pd.array([f"s{i}" for i in range(n)], dtype="string"), "images": 1, "auprc": base})
    rows["1pct:false_components"] = 50 - 100 * base
    path = write_record(record, out)
    write_subjects(rows, subjects_path(path))
    return path


def adbench(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in ("compare", *words)])
    assert result.exit_code == code, result.output
    return result.output


def test_differences_are_paired_means_with_the_interval_and_p_of_scipy(tmp_path):
    write(tmp_path, "good", 0.2)
    write(tmp_path, "bad")
    (found,) = json.loads(adbench("good", "bad", "--out", tmp_path, "--json"))
    auprc, false = found["differences"]
    rows = [
        pd.read_csv(path)["auprc"] for name in ("good", "bad") for path in tmp_path.glob(f"records/toy/{name}/*.csv")
    ]
    interval = stats.ttest_rel(*rows).confidence_interval()
    assert (auprc["metric"], auprc["subjects"]) == ("auprc", 30)
    assert auprc["difference_value"] == pytest.approx((rows[0] - rows[1]).mean())
    assert (auprc["difference_low"], auprc["difference_high"]) == pytest.approx((interval.low, interval.high))
    assert auprc["p"] == pytest.approx(2 / 100_001, rel=0.01), "Holm over two metrics, none of 100,000 flips as large"
    assert false["difference_value"] == pytest.approx(-100 * auprc["difference_value"])
    assert found["settings"] == {"method": ["good", "bad"]}


def test_pooled_metrics_are_compared_where_the_counts_of_both_are_kept(tmp_path):
    good, bad = (write(tmp_path, name) for name in ("good", "bad"))
    base = np.random.default_rng(0).random(30) / 2
    write_counts(counts(base + 0.4), counts_path(good))
    (found,) = json.loads(adbench("good", "bad", "--out", tmp_path, "--json"))
    assert not any(each["metric"].startswith("pooled:") for each in found["differences"])
    write_counts(counts(base), counts_path(bad))
    (found,) = json.loads(adbench("good", "bad", "--out", tmp_path, "--json"))
    pooled = {each["metric"]: each for each in found["differences"] if each["metric"].startswith("pooled:")}
    assert list(pooled) == ["pooled:best_dice", "pooled:auprc", "pooled:auroc"]
    for each in pooled.values():
        assert each["difference_value"] == pytest.approx(each["a"] - each["b"])
        assert 0 < each["difference_low"] < each["difference_value"] < each["difference_high"]
        assert each["p"] < 0.01


def test_the_terminal_shows_differences_subjects_and_settings(tmp_path):
    write(tmp_path, "good", 0.2)
    write(tmp_path, "bad")
    shown = adbench("good", "bad", "--out", tmp_path)
    assert re.search(r"metric +subjects +good +bad +difference", shown)
    assert "subject AUPRC differs most in" in shown
    assert "scan false components a scan at 1 %" in shown
    assert "< 0.001" in shown
    assert "method: good | bad" in shown
    assert "no pictures are kept of these images" in shown


def test_few_settings_are_shown_unless_all_are_asked_for(tmp_path):
    for name, first in (("good", 0), ("bad", 1)):
        write(tmp_path, name, config={f"setting{i:02d}": first + i for i in range(20)})
    shown = adbench("good", "bad", "--out", tmp_path)
    assert "setting06: 6 | 7" in shown
    assert "setting07" not in shown
    assert "and 13 settings more: --settings shows all" in shown
    shown = adbench("good", "bad", "--out", tmp_path, "--settings")
    assert "setting19: 19 | 20" in shown
    assert "more:" not in shown


def test_of_two_runs_of_a_method_the_settings_and_the_folders_are_shown(tmp_path):
    write(tmp_path / "new", "mine", config={"steps": 20})
    write(tmp_path / "old", "mine")
    shown = adbench("mine", "--out", tmp_path / "new", "--against", tmp_path / "old")
    assert "steps: 20 | 10" in shown
    assert f"a: mine in {tmp_path / 'new'}; b: mine in {tmp_path / 'old'}" in " ".join(shown.split())


def test_seeds_are_averaged(tmp_path):
    for seed in (0, 1):
        write(tmp_path, "good", 0.1 + 0.2 * seed, seed=seed)
    write(tmp_path, "bad")
    (found,) = json.loads(adbench("good", "bad", "--out", tmp_path, "--json"))
    assert found["differences"][0]["difference_value"] == pytest.approx(0.2, abs=0.02)


def test_of_two_folders_each_method_is_compared_with_itself(tmp_path):
    for name, shift in (("same", 0.0), ("worse", -0.2), ("better", 0.2)):
        write(tmp_path / "new", name, shift)
        write(tmp_path / "old", name)
    write(tmp_path / "old", "gone")
    shown = adbench(tmp_path / "new", tmp_path / "old")
    rows = {
        line.split()[0]: line.split()[-2:] for line in shown.splitlines() if re.match(r" (same|worse|better) ", line)
    }
    assert rows == {"same": ["0", "0"], "worse": ["2", "0"], "better": ["0", "2"]}
    assert "worse on toy is worse in subject AUPRC, scan false components a scan at 1 %" in shown
    assert "old has gone on toy." in " ".join(shown.split())
    assert adbench(tmp_path / "new", "--against", tmp_path / "old") == shown
    adbench(tmp_path / "new", "--against", tmp_path / "old", "--fail-if", "worse", code=1)
    adbench(tmp_path / "new", "better", "--against", tmp_path / "old", "--fail-if", "worse")


def test_folders_with_several_settings_of_a_method_are_paired_by_them(tmp_path):
    for folder, shift in (("new", 0.2), ("old", 0.0)):
        for config_hash in ("1" * 12, "2" * 12):
            write(tmp_path / folder, "mine", shift, config_hash=config_hash)
    found = json.loads(adbench(tmp_path / "new", tmp_path / "old", "--json"))
    assert [each["differences"][0]["difference_value"] for each in found] == [pytest.approx(0.2)] * 2
    write(tmp_path / "one", "mine", config_hash="3" * 12)
    assert "several settings on toy" in adbench(tmp_path / "new", tmp_path / "one", code=2)


def test_p_is_corrected_over_all_that_is_compared(tmp_path):
    for name, shift in (("good", 0.2), ("bad", 0.0)):
        write(tmp_path, name, shift)
        write(tmp_path, name, shift, dataset=dataset(name="other"))
    found = json.loads(adbench("good", "bad", "--out", tmp_path, "--json"))
    assert {len(each["differences"]) for each in found} == {2}
    assert found[0]["differences"][0]["p"] == pytest.approx(4 / 100_001, rel=0.01)


def test_slices_that_both_keep_are_drawn_side_by_side(tmp_path):
    results = write_folder(tmp_path / "results")
    shown = adbench("good", "fair", "--dataset", "toy", "--out", results, "--pictures", tmp_path / "drawn")
    picture = tmp_path / "drawn" / "toy-good-fair.png"
    assert str(picture) in "".join(shown.split())
    assert re.search(r"subject-0\d +0\.\d{3} +0\.\d{3} +good: \d, fair: \d", shown)
    with Image.open(picture) as image:
        assert image.height == 2 * LINE_PX + 4 * (128 + GAP_PX)
        assert image.width == LABEL_PX + 6 * (128 + GAP_PX)
    (found,) = json.loads(adbench("good", "fair", "--dataset", "toy", "--out", results, "--json"))
    assert [Path(path).suffix for path in found["pictures"]] == [".png", ".png"]


def test_slices_side_by_side_are_those_of_both_the_most_different_first():
    rng = np.random.default_rng(0)
    inputs, scores = rng.random((2, 4, 8, 8)).astype(np.float32)
    lesions, counted = rng.random((4, 8, 8)) > 0.5, np.ones((4, 8, 8), bool)

    def of(which: list[int], factor: float) -> Kept:
        names = [f"s{i}" for i in which]
        return Kept(
            Path("x.png"), Picture.of(inputs[which], lesions[which], counted[which], factor * scores[which], names)
        )

    values = {"s0": (0.5, 0.5), "s1": (0.2, 0.9), "s2": (0.4, 0.6), "s3": (0.0, 1.0)}
    figure = side_by_side(of([0, 1, 2], 1.0), of([3, 2, 1], 2.0), ("a", "b"), values)
    assert figure is not None
    assert [list(picture.subjects) for picture in figure.pictures] == [["s1", "s2"]] * 2
    assert [list(lines) for lines in figure.captions] == [["s1", "0.200 | 0.900"], ["s2", "0.400 | 0.600"]]
    for picture in figure.pictures:
        assert np.array_equal(picture.inputs, np.rint(inputs[[1, 2]] * 255))
    assert side_by_side(of([0], 1.0), of([1], 1.0), ("a", "b"), values) is None
    assert side_by_side(of([0], 1.0), None, ("a", "b"), values) is None


@pytest.mark.parametrize(("shift", "code"), [(-0.2, 1), (0.2, 0), (0.0, 0)])
def test_a_run_that_is_worse_than_another_by_more_than_chance_fails_if_asked_to(tmp_path, shift, code):
    write(tmp_path / "new", "mine", shift)
    write(tmp_path / "old", "mine")
    words = ("mine", "--out", tmp_path / "new", "--against", tmp_path / "old")
    adbench(*words)
    adbench(*words, "--fail-if", "worse", code=code)


def test_files_of_records_can_be_compared(tmp_path):
    first = write(tmp_path, "mine", 0.2)
    second = write(tmp_path, "mine", config_hash="999999012345")
    assert "several settings on toy" in adbench("mine", first, "--out", tmp_path, code=2)
    (found,) = json.loads(adbench(first, second, "--json"))
    assert found["differences"][0]["difference_value"] == pytest.approx(0.2, abs=0.01)


def test_several_rules_on_a_dataset_are_told_apart(tmp_path):
    rules = {"version": 2, "region": "image"}
    for name in ("a", "b"):
        for k, postprocess in enumerate(("none", "median")):
            write(tmp_path, name, config_hash=f"{k}" * 12, protocol={**rules, "postprocess": postprocess})
    found = json.loads(adbench("a", "b", "--out", tmp_path, "--json"))
    assert [each["dataset"] for each in found] == ["toy, postprocess=none", "toy, postprocess=median"]


def test_what_cannot_be_compared_is_refused(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b", dataset=dataset(fingerprint="f" * 16))
    assert "have none in" in adbench("a", "b", "--out", tmp_path, code=2)
    assert "needs two sides" in adbench("a", "--out", tmp_path, code=2)
    assert "have none in" in adbench("a", "nobody", "--out", tmp_path, code=2)


def test_only_the_named_datasets_are_compared(tmp_path):
    for name in ("a", "b"):
        write(tmp_path, name)
        write(tmp_path, name, dataset=dataset(name="other"))
    assert len(json.loads(adbench("a", "b", "--out", tmp_path, "--json"))) == 2
    (found,) = json.loads(adbench("a", "b", "--dataset", "other", "--out", tmp_path, "--json"))
    assert found["dataset"] == "other"
