"""`adbench time`: what it asks for, what it prints, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from record_factory import make, timed

from adbench.config.options import RunOptions
from adbench.errors import RecordError
from adbench.protocol import retiming
from adbench.results.record import write_record

TIME = timed(make())


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What was asked for; one method can be timed and one cannot."""
    calls = []

    def time_records(methods, datasets, options, reporter, slices):
        calls.append((methods, datasets, options, slices))
        print("a plugin prints")
        return [TIME], ["broken on toy: it broke"] if "broken" in methods else []

    monkeypatch.setattr(retiming, "time_records", time_records)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADBENCH_DATA", raising=False)
    monkeypatch.delenv("ADBENCH_CACHE", raising=False)
    return calls


def test_all_records_are_timed_unless_names_are_given(asked, command):
    assert command("time")[0] == 0
    line = "--method ddpm ddim --dataset toy --data-root d --device cpu --precision bf16 --slices 10 --out o --cache c"
    assert command("time", *line.split())[0] == 0
    named = RunOptions(device="cpu", precision="bf16", out=Path("o"), cache=Path("c"), data_root=Path("d"))
    assert asked == [([], [], RunOptions(), None), (["ddpm", "ddim"], ["toy"], named, 10)]


def test_each_time_is_told_on_stdout_and_the_pages_are_made_anew(asked, command, tmp_path):
    write_record(make(), tmp_path / "o")
    code, out, err = command("time", "--out", "o")
    assert code == 0
    assert " ".join(out.split()) == (
        "records/toy/ddpm/abcdef012345-seed0.json: 2.00 s / 100 slices (1.80 to 3.00, 10 repeats), 3.50 s of processor "
        "time, on cpu (Some CPU, 2 threads), float32, 100 slices"
    )
    assert "a plugin prints" in err
    assert (tmp_path / "o/toy.md").is_file()


def test_a_composed_time_and_one_of_a_busy_machine_say_so():
    composed = timed(make(), whole_s={"score": 2.1}, others={"score": 0.3})
    assert "(1.80 to 3.00, composed, 10 repeats)" in str(composed)
    assert str(composed).endswith("100 slices; others used the machine: not compared")


def test_what_could_not_be_timed_is_said_and_the_command_fails(asked, command):
    code, out, err = command("time", "--method", "ddpm", "broken")
    assert code == 1
    assert "failed: broken on toy: it broke" in err
    assert "2.00 s / 100 slices" in out


def test_a_missing_record_is_bad_input(asked, command, monkeypatch):
    def time_records(*given):
        raise RecordError("none of them")

    monkeypatch.setattr(retiming, "time_records", time_records)
    code, out, err = command("time", "--method", "ddpm")
    assert (code, out, err) == (2, "", "error: none of them\n")
