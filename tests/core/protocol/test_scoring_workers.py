"""Several devices score as one does, to the bit, and however that ends nothing is lost or left running."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest
import torch
import toys
from processes import CONTEXT, _command, until

from adbench.protocol import forecast, harness
from adbench.protocol.cell import build_cells
from adbench.protocol.forecast import Known
from adbench.results.counts import counts_path
from adbench.results.record import Record
from adbench.results.subjects import subjects_path

PAIRS = ("protocol.batch_size=2", "protocol.timing_slices=3")
"""Scored two by two, but timed three by three: a test can tell them apart."""
DDIM = (
    *("vqvae.steps=4", "vqvae.batch_size=8", "vqvae.channels=8", "vqvae.codes=8"),
    *("unet.steps=5", "unet.batch_size=8", "unet.channels=[8,8]", "unet.head_channels=8", "unet.attention_from=2"),
    *("image_timesteps=2", "kl_timesteps=2", "healing_steps=2", "start=noised"),
)
SMALL = ("data.n_train=8", "data.n_validation=16", "data.n_test=16", "protocol.batch_size=2")


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


@pytest.fixture(autouse=True)
def _one_thread():
    """Sums over several threads may be taken in another order than over one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def scored_here(monkeypatch):
    """Sizes of the batches that this process scores, from now on."""
    sizes: list[int] = []
    for cls in (toys.Trained, toys.Dying):

        def counted(self, images, score=cls.score):
            sizes.append(len(images))
            return score(self, images)

        monkeypatch.setattr(cls, "score", counted)
    return sizes


def run(folder: Path, method: str, device: str, *settings: str, diary: toys.Diary | None = None, **given) -> Record:
    chosen = toys.options(folder, *PAIRS, *settings, device=device, **given)
    (record,) = harness.run([method], "toy", chosen, diary or toys.Diary())
    return record


def numbers(record: Record) -> dict:
    return record.model_dump(include={"config_hash", "metrics", "measurement", "detector", "dataset", "protocol"})


def scores(folder: Path) -> dict[str, bytes]:
    """Key -> bytes of all scores that are kept."""
    return {path.parent.name: path.read_bytes() for path in score_files(folder)}


def score_files(folder: Path) -> list[Path]:
    return sorted((folder / "cache/artifacts").glob("scores-*/*.safetensors"))


def same(one: Path, other: Path, record: Record, again: Record) -> bool:
    """Whether two runs kept the same scores, counts and subjects, and wrote the same numbers."""
    assert scores(one)
    files = [
        [path(folder / "out" / record.path).read_bytes() for path in (counts_path, subjects_path)]
        for folder in (one, other)
    ]
    return numbers(record) == numbers(again) and scores(one) == scores(other) and files[0] == files[1]


def test_times_are_taken_when_the_other_processes_have_ended(tmp_path, monkeypatch):
    beside: list[int] = []
    timed = harness.time_scoring

    def watched(*given):
        beside.append(len(multiprocessing.active_children()))
        return timed(*given)

    monkeypatch.setattr(harness, "time_scoring", watched)
    before = len(multiprocessing.active_children())
    assert run(tmp_path, "toy-trained", "cpu,cpu").scored_by
    assert beside == [before]


def test_two_processes_score_as_one_does_and_leave_nothing_to_score(tmp_path, scored_here):
    alone = run(tmp_path / "one", "toy-trained", "cpu")
    assert 2 in scored_here
    scored_here.clear()
    diary = toys.Diary()
    record = run(tmp_path / "two", "toy-trained", "cpu,cpu", diary=diary)
    assert same(tmp_path / "one", tmp_path / "two", alone, record)
    assert [done for what, done, _ in diary.steps if what == "toy-trained: test maps"] == [0, 1, 2, 3]
    assert (tmp_path / "two/out" / record.path).name == (tmp_path / "one/out" / alone.path).name
    again = run(tmp_path / "two", "toy-trained", "cpu", force=True)
    assert numbers(again) == numbers(alone)
    assert 2 not in scored_here, "the first process scored to be timed alone, in threes"
    assert 3 in scored_here


def test_the_record_says_what_scored(tmp_path):
    record = run(tmp_path, "toy-trained", "cpu,cpu", "protocol.region=brain")
    assert [name.split(" (")[0] for name in record.scored_by] == ["cpu, 1 of 2", "cpu, 2 of 2"]
    assert record.environment.device == "cpu"
    again = run(tmp_path, "toy-trained", "cpu,cpu", "protocol.region=brain", force=True)
    assert again.scored_by == [], "all was scored"
    assert run(tmp_path, "toy-trained", "cpu").scored_by == []


def test_regions_are_measured_on_what_was_scored_side_by_side(tmp_path, scored_here):
    chosen = toys.options(tmp_path, *PAIRS, "protocol.region=image,brain", device="cpu,cpu")
    records = harness.run(["toy-trained"], "toy", chosen, toys.Diary())
    assert [len(record.scored_by) for record in records] == [2, 2]
    assert 2 not in scored_here


@pytest.mark.slow
@pytest.mark.parametrize(("method", "settings"), [("ae", ("steps=4",)), ("ddim", DDIM)])
def test_methods_score_the_same_to_the_bit_on_two_processes(tmp_path, method, settings):
    records = []
    for device in ("cpu", "cpu,cpu"):
        chosen = toys.options(tmp_path / device, *SMALL, *settings, device=device)
        records += harness.run([method], "phantom", chosen, toys.Diary())
    assert [record.status for record in records] == ["ok", "ok"]
    assert [len(record.scored_by) for record in records] == [0, 2]
    assert same(tmp_path / "cpu", tmp_path / "cpu,cpu", *records)


def test_a_process_that_is_killed_is_named_and_what_was_scored_is_kept(tmp_path, scored_here):
    record = run(tmp_path, "toy-dying", "cpu,cpu")
    assert record.status == "failed"
    assert "cpu, " in record.reason
    assert "the process that scored there was killed by SIGKILL" in record.reason
    assert multiprocessing.active_children() == []
    assert (len(scores(tmp_path)), scored_here) == (2, []), "those of healthy images"
    again = run(tmp_path, "toy-dying", "cpu")
    assert again.status == "ok"
    assert scored_here.count(2) == 3 + 3, "maps and image-level scores of test images"


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("toy-nan", "Scores must be finite"),
        ("toy-leaving", "SystemExit: the toy left"),
        ("toy-greedy", "out of memory on cpu (tried to allocate 99 GiB): lower protocol.batch_size=2"),
    ],
)
def test_what_a_detector_raises_beside_is_the_reason_with_its_device(tmp_path, method, said):
    diary = toys.Diary()
    record = run(tmp_path, method, "cpu,cpu", diary=diary)
    assert record.status == "failed"
    assert record.reason.startswith("cpu, ")
    assert said in record.reason
    assert ("Traceback" in diary.text) == (method == "toy-leaving")


class Cut(toys.Diary):
    """Interrupts, as Ctrl-C does, when the first batch of test images is scored."""

    def progress(self, what: str, done: int, total: int) -> None:
        if what.endswith("test maps") and done:
            raise KeyboardInterrupt


def test_a_single_batch_that_is_left_needs_no_process(tmp_path, scored_here):
    run(tmp_path, "toy-trained", "cpu")
    shutil.rmtree(score_files(tmp_path)[0].parent)
    scored_here.clear()
    assert run(tmp_path, "toy-trained", "cpu,cpu", force=True).scored_by == []
    assert scored_here.count(2) == 1


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_scoring_that_was_interrupted_goes_on_with_what_is_left(tmp_path, device):
    alone = run(tmp_path / "one", "toy-trained", "cpu", "data.n_test=20")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", "toy-trained", "cpu,cpu", "data.n_test=20", diary=Cut())
    assert multiprocessing.active_children() == []
    whole = [path for path in score_files(tmp_path / "cut") if (path.parent / "part.json").is_file()]  # not cut between
    kept = {path: path.stat().st_ino for path in whole}
    assert len(kept) >= 3
    record = run(tmp_path / "cut", "toy-trained", device, "data.n_test=20")
    assert same(tmp_path / "one", tmp_path / "cut", alone, record)
    assert kept == {path: path.stat().st_ino for path in kept}, "each is written once"


def _in_group(arguments: list[str], err: str) -> None:
    os.setsid()
    _command(arguments, None, os.devnull, err)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kill", "sent", "code"),
    [
        (os.killpg, signal.SIGINT, 130),
        (os.kill, signal.SIGINT, 130),
        (os.kill, signal.SIGTERM, -15),
        (os.kill, signal.SIGKILL, -9),
    ],
    ids=["Ctrl-C in a terminal", "SIGINT", "SIGTERM", "SIGKILL"],
)
def test_no_process_outlives_the_first(tmp_path, kill, sent, code):
    began, err = tmp_path / "began", tmp_path / "stderr"
    began.mkdir()
    err.write_text("")
    folders = ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    line = ["run", "--method", "toy-sleeping", "--dataset", "toy", "--device", "cpu,cpu", *folders]
    settings = ["--set", *PAIRS, f"folder={began}"]
    process = CONTEXT.Process(target=_in_group, args=([*line, *settings], str(err)))
    process.start()
    until(lambda: len(list(began.iterdir())) == 2)
    workers = [psutil.Process(int(path.name)) for path in began.iterdir()]
    kill(process.pid, sent)
    process.join(60)
    assert process.exitcode == code, err.read_text("utf-8")
    until(lambda: not any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in workers))
    assert "Traceback" not in err.read_text("utf-8")


@pytest.mark.parametrize(("threads", "gain"), [(1, 2.0), (2, 1.0), (4, 1.0), (5, 0.8)])
def test_a_dry_run_shares_the_scoring_and_the_threads_of_a_processor(tmp_path, monkeypatch, threads, gain):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    known = Known()  # one pass is measured for both
    found = []
    for device in ("cpu", "cpu,cpu"):
        known.scored.clear()
        chosen = toys.options(tmp_path, *SMALL, *DDIM, device=device)
        [cell] = build_cells(["ddim"], "phantom", chosen, toys.Diary())
        found.append(forecast.of_cell(cell, known))
    one, two = found
    assert one.estimated_score_s == pytest.approx(gain * two.estimated_score_s)
    assert one.parts == two.parts
    assert (one.devices, two.devices) == (["cpu"], ["cpu", "cpu"])
