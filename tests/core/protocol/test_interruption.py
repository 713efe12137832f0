"""A run can be cut off anywhere and goes on from what it had; two runs never get in each other's way."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pandas as pd
import pytest
import toys
from processes import Moment, Process, run, until
from toy_runs import arguments, metrics, toy

from adbench.protocol import harness
from adbench.results.card import read_cards
from adbench.results.counts import read_counts
from adbench.results.pages import MARKER
from adbench.results.pictures import read_picture
from adbench.results.record import read_record
from adbench.results.timing import read_timing
from adbench.storage.saved import Saved

TINY = [
    *("vqvae.steps=4", "vqvae.batch_size=8", "vqvae.channels=8", "vqvae.codes=8"),
    *("unet.steps=5", "unet.batch_size=8", "unet.channels=[8,8]", "unet.head_channels=8", "unet.attention_from=2"),
    *("image_timesteps=2", "kl_timesteps=2", "healing_steps=2"),
    *("data.n_train=8", "data.n_validation=8", "data.n_test=8"),
    *("protocol.reference_images=4", "protocol.batch_size=4"),
]


@pytest.fixture(autouse=True, scope="module")
def _plugins(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        toys.install(tmp_path_factory.mktemp("plugins") / "site", patch)
        yield


READERS = {
    ".timing-": read_timing,
    ".counts.npz": read_counts,
    ".subjects.csv": pd.read_csv,
    ".png": read_picture,
    ".json": read_record,
}
"""What a name of a file beside or of a record holds -> its reader."""


def check_nothing_is_half_written(folder: Path) -> None:
    """Whatever is visible (hidden files are being written) is whole."""
    for path in (folder / "out").glob("records/*/*/[!.]*"):
        reader = next(read for ending, read in READERS.items() if ending in path.name)
        reader(path)
    read_cards(folder / "out")
    for path in (folder / "out").glob("records/*/manifest-*.json"):
        assert set(json.loads(path.read_text("utf-8"))) == {"train", "validation", "test"}
    for path in (folder / "out").glob("[!.]*.md"):
        assert path.read_text("utf-8").startswith(f"<!-- {MARKER}")
        assert path.read_text("utf-8").endswith("\n")
    for index in (folder / "cache/artifacts").glob("*/[!.]*.json"):
        Saved(index.parent, index.stem).read()


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run of `ddim` without interruption, and one that is killed at each of these moments until the last ends."""
    folder = tmp_path_factory.mktemp("killed")
    moments = {
        "VQ-VAE": Moment("VQ-VAE", 3),
        "UNet": Moment("UNet", 4),
        "between parts": Moment("validation KL maps", 1),
        "scoring": Moment("ddim: test maps", 1),
        "never": None,
    }
    whole = run(folder / "logs/whole", arguments(folder / "whole", "ddim", "phantom", TINY))
    cut = {}
    for name, moment in moments.items():
        cut[name] = run(folder / "logs" / name, arguments(folder / "cut", "ddim", "phantom", TINY), moment)
        assert cut[name].end() == (-signal.SIGKILL if moment else 0), cut[name].err
        check_nothing_is_half_written(folder / "cut")
    return whole, cut


@pytest.mark.slow
def test_a_run_that_was_killed_at_every_stage_ends_with_the_numbers_of_one_that_was_not(killed):
    whole, cut = killed
    assert metrics(cut["never"]) == metrics(whole)


@pytest.mark.slow
def test_training_goes_on_at_its_last_checkpoint(killed):
    _, cut = killed
    assert cut["VQ-VAE"].steps("VQ-VAE") == [1, 2, 3]
    assert cut["UNet"].steps("VQ-VAE") == [4], "killed in step 3, after its checkpoint"
    assert cut["UNet"].steps("UNet") == [1, 2, 3, 4]
    assert cut["between parts"].steps("UNet") == [5]


def files_of_records(folder: Path) -> list[Path]:
    return [path for path in (folder / "out" / "records").rglob("*") if path.is_file()]


@pytest.mark.slow
def test_finished_parts_and_batches_are_not_made_again(killed):
    whole, cut = killed
    assert whole.steps("ddim: test maps") == [0, 1, 2]
    assert cut["between parts"].steps("VQ-VAE") == []
    assert cut["scoring"].steps("UNet") == []
    assert cut["never"].steps("validation KL maps") == []
    assert cut["never"].err.count("is damaged") == 0


def test_nothing_is_left_of_checkpoints_when_a_run_has_ended(tmp_path):
    harness.run(["toy-trained"], "toy", toys.options(tmp_path, "part.steps=3"), toys.Diary())
    (part,) = (tmp_path / "cache/artifacts").glob("toy-*/")
    assert sorted(path.suffix for path in part.glob("[!.]*")) == [".json", ".safetensors"]


@pytest.mark.slow
def test_a_kill_at_any_renaming_of_a_file_leaves_nothing_half_written_and_is_made_up_for(tmp_path):
    reference = run(tmp_path / "logs/whole", toy(tmp_path / "whole"))
    # every run begins by writing a probe to both folders; then come a file and its index, at last what stands beside
    # a record and the record: files that are written again wherever there is no record
    moments = [Moment(rename=3), *(Moment(rename=n, after=True) for n in (3, 4, 6))]
    deaths = 0
    while True:
        process = run(tmp_path / "logs" / str(deaths), toy(tmp_path / "cut"), moments[deaths % len(moments)])
        check_nothing_is_half_written(tmp_path / "cut")
        if process.end() == 0:
            break
        assert process.end() == -signal.SIGKILL, process.err
        deaths += 1
        assert deaths < 60, "the runs do not get on"
    assert deaths >= 12
    assert metrics(process) == metrics(reference)
    assert "damaged" not in process.err


@pytest.mark.slow
def test_a_second_run_of_the_same_cell_waits_and_returns_the_first_ones_record(tmp_path):
    go = tmp_path / "go"
    first = Process(tmp_path / "logs/1", toy(tmp_path), Moment("toy training", 2, wait_for=go))
    until(lambda: first.says("progress: toy training 2"))
    second = Process(tmp_path / "logs/2", toy(tmp_path))
    until(lambda: second.says("another process runs this very cell: waiting for its record"))
    go.touch()
    assert metrics(first) == metrics(second)
    assert json.loads(first.out) == json.loads(second.out)
    assert second.steps("toy training") == []


@pytest.mark.slow
def test_a_run_that_was_held_up_for_longer_than_its_lease_leaves_the_record_of_the_first_that_is_done(tmp_path):
    go = tmp_path / "go"
    held_up = Process(tmp_path / "logs/1", toy(tmp_path), Moment("toy training", 2, wait_for=go))
    until(lambda: held_up.says("progress: toy training 2"))
    for lease in (tmp_path / "cache").rglob("*.lease"):
        lease.unlink()  # as whoever waits does, once they have run out
    assert metrics(run(tmp_path / "logs/2", toy(tmp_path)))
    before = {path: path.stat().st_mtime_ns for path in files_of_records(tmp_path)}
    go.touch()
    assert metrics(held_up)
    assert "--force runs it again" in held_up.err
    assert {path: path.stat().st_mtime_ns for path in files_of_records(tmp_path)} == before


@pytest.mark.slow
def test_a_run_that_was_held_up_while_it_wrote_its_record_is_waited_for_by_whoever_took_it_for_gone(tmp_path):
    go, counts = tmp_path / "go", "*.counts.npz"
    held_up = Process(tmp_path / "logs/1", toy(tmp_path), Moment(rename=1, of=counts[1:], after=True, wait_for=go))
    until(lambda: bool(list((tmp_path / "out").rglob(counts))))
    (writes,) = (tmp_path / "cache" / "cells").glob("*.record.lease")
    writes.with_name(writes.name.replace(".record", "")).unlink()  # as whoever waits does, once it has run out
    second = Process(tmp_path / "logs/2", toy(tmp_path))
    until(lambda: second.says("waiting for its record"))
    go.touch()
    assert metrics(held_up) == metrics(second)
    assert json.loads(held_up.out) == json.loads(second.out)
    assert "--force runs it again" in second.err


@pytest.mark.slow
def test_two_methods_with_the_same_part_train_it_once(tmp_path):
    go = tmp_path / "go"
    first = Process(tmp_path / "logs/1", toy(tmp_path), Moment("toy training", 2, wait_for=go))
    until(lambda: first.says("progress: toy training 2"))
    second = Process(tmp_path / "logs/2", toy(tmp_path, "toy-twin"))
    until(lambda: second.says("another run is making toy-"))
    go.touch()
    assert metrics(first)["best_dice"] == metrics(second)["best_dice"]
    assert second.steps("toy training") == []


@pytest.mark.slow
def test_a_waiting_run_takes_over_from_one_that_is_killed_and_goes_on_at_its_checkpoint(tmp_path):
    first = Process(tmp_path / "logs/1", toy(tmp_path), Moment("toy training", 2, wait_for=tmp_path / "never"))
    until(lambda: first.says("progress: toy training 2"))
    second = Process(tmp_path / "logs/2", toy(tmp_path))
    until(lambda: second.says("waiting for its record"))
    first.process.kill()
    metrics(second)
    assert second.steps("toy training") == [2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("waiting", [False, True], ids=["training", "waiting for another run"])
def test_control_c_ends_with_130_and_one_line(tmp_path, waiting):
    first = Process(tmp_path / "logs/1", toy(tmp_path), Moment("toy training", 2, wait_for=tmp_path / "never"))
    until(lambda: first.says("progress: toy training 2"))
    process = first
    if waiting:
        process = Process(tmp_path / "logs/2", toy(tmp_path))
        until(lambda: process.says("waiting for its record"))
    process.interrupt()
    assert process.end() == 130
    first.process.kill()
    assert process.err.splitlines()[-1].startswith("interrupted; finished parts and checkpoints are kept")
    assert "Traceback" not in process.err
    assert process.out == ""
    check_nothing_is_half_written(tmp_path)
