"""`adbench tune` as a user types it, and the page on a study."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tuning_toys
import typer
from PIL import Image
from tuning_toys import options
from typer.testing import CliRunner

from adbench.cli.arguments import SeveralCommand
from adbench.cli.tune import tune
from adbench.config.options import Silent
from adbench.errors import AdbenchError, RecordError, TuningError
from adbench.tuning import workers
from adbench.tuning.report import write_report


@pytest.fixture(autouse=True)
def _toys(tmp_path, monkeypatch):
    tuning_toys.install(tmp_path / "site", monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADBENCH_DATA", raising=False)  # the commands that are printed would name it


def adbench_tune(*words: str) -> str:
    """Standard output of the command. Raises what the command line would show as an error."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command(cls=SeveralCommand)(tune)
    result = CliRunner().invoke(app, list(words))
    if result.exception:
        raise result.exception
    return result.stdout


USUAL = ("--method", "toy-tuned", "--dataset", "toy-heads", "--preset", "smoke", "--cache", "cache", "--images", "10")


def test_a_study_is_made_and_its_best_trial_is_printed_with_what_to_do_next():
    out = adbench_tune(*USUAL, "--trials", "3")
    assert re.search(r"trial \d: dice 0\.\d{4} with level=", out)
    assert "3 trials of study toy-tuned-toy-heads-smoke-inference in sqlite:///" in " ".join(out.split())
    run = (
        "adbench run --method toy-tuned --dataset toy-heads --preset smoke --tuned toy-tuned-toy-heads-smoke-inference"
    )
    said = " ".join(out.replace("\\\n", "").split())
    assert f"use them: {run} --out results --cache cache " in said
    assert "look at them: adbench tune --report toy-tuned-toy-heads-smoke-inference --cache cache" in said
    assert "4 trials" in adbench_tune(*USUAL, "--trials", "4", "--set", "data.subjects=12")


def test_several_objectives_print_the_pareto_front():
    out = adbench_tune(*USUAL, "--trials", "3", "--objective", "dice, seconds", "--study", "front")
    assert re.search(r"trial \d: dice 0\.\d{4}, seconds 0\.\d{4} with", out)


def test_a_page_is_written_with_its_figures():
    adbench_tune(*USUAL, "--trials", "6", "--study", "s")
    out = adbench_tune("--report", "s", "-o", "pages", "--cache", "cache")
    paths = out.split()
    assert [path.removeprefix("pages/s") for path in paths] == [
        ".md", "-history-dice.png", "-importance-dice.png", "-slices-dice.png",
    ]  # fmt: skip
    for path in paths[1:]:
        assert Image.open(path).size > (200, 200)
    text = Path("pages/s.md").read_text("utf-8")
    assert "# Study s" in text
    assert "No test image and no test label was seen" in text
    assert "| `level` |" in text
    for domain in ("| 0.0 to 1.0 |", "| 1 to 3 |", "| 'both', 'above' |"):
        assert domain in text
    for kind in ("shape", "blob", "texture", "patch", "deformation"):
        assert f"| {kind} |" in text
    for path in paths[1:]:
        assert f"]({path.removeprefix('pages/')})" in text


def test_the_page_of_two_objectives_shows_the_pareto_front(tmp_path):
    given = options(tmp_path, objectives=("dice", "seconds"))
    workers.tune(given, Silent())
    paths = write_report("s", None, given.cache, tmp_path / "pages")
    names = {path.name for path in paths}
    assert {"s-pareto.png", "s-history-dice.png", "s-history-seconds.png"} <= names


def test_the_page_of_a_short_study_has_no_importance(tmp_path):
    given = options(tmp_path, trials=1)
    workers.tune(given, Silent())
    assert "importance" not in write_report("s", None, given.cache, tmp_path / "pages")[0].read_text("utf-8")


def test_a_page_that_cannot_be_written_is_an_error(tmp_path):
    given = options(tmp_path, trials=1)
    workers.tune(given, Silent())
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="Results must be written"):
        write_report("s", None, given.cache, tmp_path / "file" / "pages")


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--dataset", "toy-heads"), "Tuning needs a method"),
        (("--method", "toy-tunde"), "did you mean 'toy-tuned'"),
        (("--method", "toy-tuned", "--dataset", "toy-head"), "did you mean 'toy-heads'"),
        (("--method", "toy-tuned", "--preset", "tiny"), "no preset 'tiny'"),
        (("--report", "nothing", "--cache", "cache"), "no study 'nothing'"),
    ],
)
def test_wrong_words_are_errors(words, match):
    adbench_tune(*USUAL, "--trials", "1", "--study", "s")
    with pytest.raises(AdbenchError, match=match):
        adbench_tune(*words)


def test_a_report_on_a_study_that_failed_says_why(tmp_path):
    with pytest.raises(TuningError):
        workers.tune(options(tmp_path, settings=("trouble=raise",)), Silent())
    with pytest.raises(TuningError, match="the toy broke"):
        adbench_tune("--report", "s", "--cache", "cache")


def test_importing_the_command_brings_neither_torch_nor_numpy_nor_optuna():
    code = "import adbench.cli.tune, sys; print(sorted({'torch', 'numpy', 'optuna'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"
