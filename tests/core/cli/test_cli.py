"""The command line: what it passes on, what it prints where, and how it ends."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from cli_fakes import RunOptions
from record_factory import dataset, failed, make

import adbench
from adbench.cli import shown
from adbench.cli.app import app
from adbench.cli.arguments import repeat_flags
from adbench.config.options import default_cache
from adbench.contracts import registry
from adbench.contracts.registry import DETECTORS, PluginEntry
from adbench.errors import DataError
from adbench.results.frame import frame
from adbench.results.pictures import picture_path
from adbench.results.record import record_path, write_record


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--method a b", "--method a --method b"),
        ("--method a --method b", "--method a --method b"),
        ("--method=a b --seed 3", "--method=a --method b --seed 3"),
        ("--method a,b", "--method a,b"),
        ("--method a --out x y", "--method a --out x y"),
        ("--set a=1 b=2 --json", "--set a=1 --set b=2 --json"),
        ("--dataset a b --method c", "--dataset a --dataset b --method c"),
        ("check toy --set a=1 b=2", "check toy --set a=1 --set b=2"),
    ],
)
def test_several_values_may_follow_one_flag(given, meant):
    assert repeat_flags(given.split()) == meant.split()


@pytest.mark.parametrize("args", ["--method ddpm ddim", "--method ddpm --method ddim", "--method ddpm,ddim,ddpm"])
def test_methods_may_be_given_in_three_ways(harness, command, args):
    code, _, _ = command("run", *args.split())
    assert code == 0
    assert harness.calls == [(["ddpm", "ddim"], ["phantom"], RunOptions())]


def test_all_options_reach_the_harness(harness, command, tmp_path):
    out = tmp_path / "o"
    line = "--dataset toy --train-on toy --data-root d --preset smoke --seed 3 --device cpu --set f=8 --set data.n=1"
    code, _, _ = command("run", "--method", "ddpm", *line.split(), "--out", str(out), "--cache", "c", "--force")
    assert code == 0
    options = RunOptions("smoke", 3, "cpu", ("f=8", "data.n=1"), out, Path("c"), Path("d"), True, "toy")
    assert harness.calls == [(["ddpm"], ["toy"], options)]


def test_the_precision_reaches_the_harness(harness, command):
    code, _, _ = command("run", "--method", "ddpm", "--precision", "bf16")
    assert code == 0
    assert harness.calls == [(["ddpm"], ["phantom"], RunOptions(precision="bf16"))]


def test_several_devices_reach_the_harness(harness, command):
    code, _, _ = command("run", "--method", "ddpm", "--device", "cuda:0, cuda:1")
    assert code == 0
    assert harness.calls == [(["ddpm"], ["phantom"], RunOptions(device="cuda:0,cuda:1"))]


@pytest.mark.parametrize("args", ["--dataset toy other", "--dataset toy --dataset other", "--dataset toy,other,toy"])
def test_datasets_may_be_given_in_three_ways(harness, command, args):
    code, _, _ = command("run", "--method", "ddpm", *args.split())
    assert code == 0
    assert harness.calls == [(["ddpm"], ["toy", "other"], RunOptions())]


def test_results_of_several_datasets_have_a_table_each_and_say_what_was_trained_on(harness, command):
    _, out, _ = command("run", "--method", "ddpm", "ddim", "--dataset", "other", "toy", "--train-on", "phantom")
    assert out.count("⌈DICE⌉") == 2
    assert out.index("other, trained on phantom") < out.index("toy, trained on phantom")
    assert "ddim on toy: leaderboards/records/toy/ddim/abcdef012345-seed0.json" in out


def test_results_of_one_dataset_trained_on_itself_have_one_table_without_a_title(harness, command):
    _, out, _ = command("run", "--method", "ddpm", "ddim")
    assert out.count("⌈DICE⌉") == 1
    assert "trained on its" not in out
    assert "ddim: leaderboards/records" in out


def test_results_of_two_regions_have_a_table_each_and_say_which(capsys):
    records = [
        make("ddpm", dataset=dataset(region=region), config_hash=letter * 12)
        for region, letter in (("image", "a"), ("brain", "b"))
    ]
    shown.show_results(frame(records), Path("out"))
    out = capsys.readouterr().out
    assert out.count("⌈DICE⌉") == 2
    assert [line.strip() for line in out.splitlines() if line.startswith("toy")] == ["toy", "toy, region image"]
    assert "ddpm: out/records" in out


def test_folders_may_come_from_the_environment(harness, command, monkeypatch):
    monkeypatch.setenv("ADBENCH_DATA", "/data")
    monkeypatch.setenv("ADBENCH_CACHE", "/cache")
    command("run", "--method", "ddpm")
    options = harness.calls[0][2]
    assert (options.data_root, options.cache) == (Path("/data"), Path("/cache"))


def test_results_go_to_stdout_and_everything_else_to_stderr(harness, command):
    code, out, err = command("run", "--method", "ddpm")
    assert code == 0
    assert "0.900 [0.890, 0.910]" in out
    assert "leaderboards/records/toy/ddpm/abcdef012345-seed0.json" in out
    assert "working" in err
    assert "a plugin prints" in err
    assert "prints" not in out


def test_json_is_all_that_is_on_stdout(harness, command):
    code, out, _ = command("run", "--method", "ddpm", "broken", "--json")
    assert code == 1
    assert [record["status"] for record in json.loads(out)] == ["ok", "failed"]


def test_a_failed_run_ends_with_one_and_one_line_while_the_others_are_shown(harness, command):
    code, out, err = command("run", "--method", "broken", "ddpm")
    assert code == 1
    assert "failed: broken on toy: it broke\n" in err
    assert "0.900" in out


def test_the_pages_are_made_anew_after_a_run(harness, command, tmp_path):
    command("run", "--method", "ddpm", "--out", str(tmp_path / "o"))
    assert (tmp_path / "o/README.md").is_file()


def test_a_run_ends_by_naming_the_pictures_beside_its_records(harness, command, tmp_path):
    kept = picture_path(tmp_path / record_path("toy", "ddpm", "abcdef012345", 0))
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"")
    _, out, _ = command("run", "--method", "ddpm", "ddim", "--out", str(tmp_path))
    assert " ".join(out.split()).endswith(f"Slices, lesions and score maps of ddpm on toy: {kept}")
    assert "maps of ddim" not in out, "it has no picture"


def test_a_dry_run_prints_the_plan_and_runs_nothing(harness, command, tmp_path):
    code, out, _ = command("run", "--method", "ddpm", "ddim", "--dry-run")
    assert code == 0
    assert out.count("unet-1") == 1, "a shared part is trained once"
    assert "estimated time on this device: 1 min 40 s" in out
    assert "ddim on toy: records/x.json" in out
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_as_json_is_an_array_of_plans(harness, command):
    _, out, _ = command("run", "--method", "ddpm", "--dry-run", "--json")
    assert json.loads(out)[0]["parts"][0]["steps"] == 100


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("run --method ddpn", "no detector 'ddpn'; did you mean 'ddpm'?"),
        ("run --method ddpm --dataset phantm", "no dataset 'phantm'; did you mean 'phantom'?"),
        ("run --method ddpm --preset smal", "no preset 'smal'; did you mean 'small'?"),
        ("run --method ,", "--method is empty"),
        ("run --method ddpm --dataset ,", "--dataset is empty. Run 'adbench list datasets'."),
        ("run --method ddpm --dataset toy phantm", "no dataset 'phantm'; did you mean 'phantom'?"),
        ("run --method ddpm --train-on phantm", "no dataset 'phantm'; did you mean 'phantom'?"),
        ("run", "--method"),
        ("run --method ddpm --out x y", "y"),
        ("run --method ddpm --device tpu", "'tpu' is not one of auto, cuda, cpu"),
        ("run --method ddpm --device cuda:0,tpu:1", "'tpu:1' is not one of auto, cuda, cpu"),
        ("run --method ddpm --device cpu,", "'' is not one of auto, cuda, cpu"),
        ("time --device cuda:0,cuda:1", "'cuda:0,cuda:1' is not one of auto, cuda, cpu"),
        ("run --method ddpm --precision f16", "f16"),
        ("run --method ddpm --seed -1", "--seed"),
        ("info phantm", "no method or dataset 'phantm'; did you mean 'phantom'?"),
        ("list nonsense", "nonsense"),
    ],
)
def test_bad_usage_ends_with_two_and_says_what_is_wrong(harness, command, args, message):
    code, out, err = command(*args.split())
    assert code == 2
    assert message in err
    assert out == ""
    assert harness.calls == []
    assert "Traceback" not in err


def test_bad_data_end_with_two_and_the_message_alone(harness, command):
    harness.raises = DataError("Looked for MedNIST.tar.gz in /data, and found [nothing].")
    code, out, err = command("run", "--method", "ddpm")
    assert (code, out) == (2, "")
    assert err.endswith("error: Looked for MedNIST.tar.gz in /data, and found [nothing].\n")


def test_an_interrupt_ends_with_130_and_one_line(harness, command):
    harness.raises = KeyboardInterrupt()
    code, out, err = command("run", "--method", "ddpm")
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].startswith("interrupted; ")


def test_a_bug_keeps_its_traceback(harness):
    harness.raises = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        app(["run", "--method", "ddpm"], prog_name="adbench")


def test_listing_shows_both_kinds_or_one(harness, command):
    _, both, _ = command("list")
    _, datasets, _ = command("list", "datasets")
    assert "ddpm" in both
    assert "phantom" in both
    assert "ddpm" not in datasets


def test_listing_as_json_marks_broken_plugins(harness, command, monkeypatch):
    entries = [PluginEntry("gone", "toys", "1.0", "gone_module:A")]
    monkeypatch.setattr(registry, "names", lambda group: entries if group == DETECTORS else [])
    _, out, _ = command("list", "methods", "--json")
    assert [(row["kind"], row["name"], row["problem"]) for row in json.loads(out)] == [
        ("method", "gone", "module 'gone_module' is not found")
    ]
    code, out, _ = command("list")
    assert code == 0
    assert "broken: module 'gone_module' is not found" in out


def test_a_stale_page_fails_the_check_and_is_named(command, tmp_path):
    write_record(failed(), tmp_path)
    code, out, err = command("leaderboard", "--check", "--out", str(tmp_path))
    assert code == 1
    assert f"{tmp_path / 'README.md'}\n" in out
    assert "run 'adbench leaderboard --out" in err
    assert command("leaderboard", "--out", str(tmp_path))[0] == 0
    code, out, _ = command("leaderboard", "--check", "--out", str(tmp_path))
    assert (code, out) == (0, "1 record, pages as they should be\n")


def test_the_format_of_a_table_follows_from_the_ending_of_its_file(command, tmp_path):
    for method in ("ddpm", "ddim"):
        write_record(make(method), tmp_path)
    _, shown, _ = command("table", "--out", str(tmp_path))
    assert "| method |" in shown
    for name, begins in (("a.csv", "record,"), ("a.json", "["), ("a.md", "`toy`"), ("a.tex", "% `toy`")):
        code, out, _ = command("table", "--out", str(tmp_path), "-o", str(tmp_path / name))
        assert (code, out) == (0, "")
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins)
    code, _, err = command("table", "--out", str(tmp_path), "-o", str(tmp_path / "a.xls"))
    assert code == 2
    assert "--format" in err


def test_a_table_as_csv_has_a_row_a_record(command, tmp_path):
    for method in ("ddpm", "ddim"):
        write_record(make(method), tmp_path)
    code, out, _ = command("table", "--out", str(tmp_path), "--format", "csv")
    assert code == 0
    assert [row["method"] for row in csv.DictReader(io.StringIO(out))] == ["ddim", "ddpm"]


def test_the_times_shown_after_a_run_are_those_of_its_device(harness, command):
    _, out, _ = command("run", "--method", "ddpm")
    assert next(line for line in out.splitlines() if line.startswith(" ddpm ")).split()[-1] == "2.00"


def test_the_version_is_printed(command):
    code, out, _ = command("--version")
    assert code == 0
    assert out == f"adbench {adbench.__version__}\n"


def test_a_run_from_python_returns_the_record_and_takes_settings_as_values(harness, tmp_path):
    settings = {"f": 8, "data.kind": "tumour", "ema": True, "widths": [1, 2], "n": None}
    record = adbench.run("ddpm", preset="smoke", settings=settings, out=tmp_path, data_root="d", precision="bf16")
    assert record == make("ddpm")
    methods, dataset, options = harness.calls[0]
    assert (methods, dataset) == (["ddpm"], "phantom")
    assert options.settings == ("f=8", "data.kind=tumour", "ema=true", "widths=[1, 2]", "n=null")
    assert (options.out, options.data_root, options.cache) == (tmp_path, Path("d"), default_cache())
    assert options.precision == "bf16"


@pytest.mark.parametrize("words", [("table", "--out"), ("leaderboard", "--out"), ("verify",)])
def test_a_folder_without_records_is_an_error_and_nothing_is_written(command, tmp_path, words):
    code, out, err = command(*words, str(tmp_path / "nothere"))
    assert (code, out) == (2, "")
    assert "nothere/records, which is no folder. Name the folder of a run, its --out." in err
    assert not (tmp_path / "nothere").exists()
