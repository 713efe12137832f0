"""A run can be cut off anywhere and goes on from what it had; two runs never get in each other's way."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import toys
from processes import Moment, Process, run, until

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
QUICK = ["protocol.timing_slices=1", "protocol.timing_budget_s=0.01", "protocol.resamples=20"]
TOY = ["part.steps=3", "data.n_test=4"]


@pytest.fixture(autouse=True, scope="module")
def _plugins(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        toys.install(tmp_path_factory.mktemp("plugins") / "site", patch)
        yield


def arguments(folder: Path, method: str, dataset: str, settings: list[str]) -> list[str]:
    folders = ["--out", str(folder / "out"), "--cache", str(folder / "cache")]
    run_it = ["run", "--method", method, "--dataset", dataset, "--preset", "smoke", "--json", *folders]
    return [*run_it, "--set", *QUICK, *settings]


def toy(folder: Path, method: str = "toy-trained") -> list[str]:
    return arguments(folder, method, "toy", TOY)


def metrics(process: Process) -> dict:
    assert process.end() == 0, process.err
    (record,) = json.loads(process.out)
    assert record["status"] == "ok"
    return record["metrics"]


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


class Cut(toys.Diary):
    """Interrupts, as Ctrl-C does, at a moment."""

    def __init__(self, what: str, done: int) -> None:
        super().__init__()
        self._moment = (what, done)

    def progress(self, what: str, done: int, total: int) -> None:
        super().progress(what, done, total)
        if (what, done) == self._moment:
            raise KeyboardInterrupt


IN_PAIRS = ["part.steps=3", "protocol.batch_size=2", "protocol.timing_slices=3"]
"""Scored two by two, but timed three by three: a test can tell them apart."""


def finish(tmp_path: Path, diary: toys.Diary) -> dict:
    options = toys.options(tmp_path, *IN_PAIRS)
    (record,) = harness.run(["toy-trained"], "toy", options, diary)
    assert record.metrics
    return {**record.model_dump(include={"metrics", "measurement"})}


def sizes_scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images in each call of `score`, from now on."""
    sizes: list[int] = []
    score = toys.Trained.score

    def counted(self, images):
        sizes.append(len(images))
        return score(self, images)

    monkeypatch.setattr(toys.Trained, "score", counted)
    return sizes


def cut_off(tmp_path: Path, what: str, done: int) -> Path:
    """Interrupt a run at a moment; return the folder of what it kept."""
    with pytest.raises(KeyboardInterrupt):
        finish(tmp_path, Cut(what, done))
    return tmp_path / "cache/artifacts"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def replace_text(old: str, new: str):
    def change(path: Path) -> None:
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new))

    return change


DAMAGE = {
    "tensors flipped": ("*.safetensors", flip),
    "tensors truncated": ("*.safetensors", truncate),
    "tensors emptied": ("*.safetensors", lambda path: path.write_bytes(b"")),
    "tensors deleted": ("*.safetensors", Path.unlink),
    "index truncated": ("*.json", truncate),
    "index empty": ("*.json", lambda path: path.write_bytes(b"")),
    "index no text": ("*.json", lambda path: path.write_bytes(b"\xff\x00")),
    "index another JSON": ("*.json", lambda path: path.write_text("[1]")),
    "index of another file": ("*.json", replace_text("sha256", "sha257")),
}


@pytest.fixture(params=DAMAGE)
def damage(request):
    """Damages the one part or checkpoint of a folder."""
    pattern, change = DAMAGE[request.param]

    def do(folder: Path) -> None:
        (path,) = folder.glob(pattern)
        change(path)

    return do


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The metrics of a run that nothing disturbed."""
    return finish(tmp_path_factory.mktemp("whole"), toys.Diary())


def test_a_damaged_part_is_found_said_and_made_again(tmp_path, damage, expected):
    kept = cut_off(tmp_path, "toy-trained: healthy reference maps", 1)
    damage(next(kept.glob("toy-*")))
    diary = toys.Diary()
    assert finish(tmp_path, diary) == expected
    assert [m for m in diary.messages if m.startswith("part toy-") and m.endswith("it is made again")]
    assert ("toy training", 1, 3) in diary.steps


def test_a_damaged_checkpoint_is_found_and_training_starts_again(tmp_path, damage, expected):
    kept = cut_off(tmp_path, "toy training", 3)
    damage(next(kept.glob("toy-*")))
    diary = toys.Diary()
    assert finish(tmp_path, diary) == expected
    assert [m for m in diary.messages if m.startswith("checkpoint toy-") and m.endswith("training starts again")]
    assert ("toy training", 1, 3) in diary.steps


def test_a_checkpoint_with_another_step_than_was_written_is_found(tmp_path, expected):
    kept = cut_off(tmp_path, "toy training", 3)
    replace_text('"step": 2', '"step": 1')(next(kept.glob("toy-*/checkpoint.json")))
    diary = toys.Diary()
    assert finish(tmp_path, diary) == expected
    assert "does not match its hash" in diary.text


def test_a_checkpoint_that_is_whole_is_used(tmp_path, expected):
    cut_off(tmp_path, "toy training", 3)
    diary = toys.Diary()
    assert finish(tmp_path, diary) == expected
    assert [done for what, done, _ in diary.steps if what == "toy training"] == [3]


def test_scoring_goes_on_at_the_next_batch(tmp_path, monkeypatch, expected):
    cut_off(tmp_path, "toy-trained: test maps", 2)
    scored = sizes_scored(monkeypatch)
    assert finish(tmp_path, toys.Diary()) == expected
    assert scored.count(2) == 1 + 3, "the last of the maps, and all image-level scores, which come after them"


def test_a_damaged_batch_is_found_said_and_scored_again(tmp_path, damage, expected):
    kept = cut_off(tmp_path, "toy-trained: test maps", 2)
    damage(min(kept.glob("scores-*")))
    diary = toys.Diary()
    assert finish(tmp_path, diary) == expected
    assert [m for m in diary.messages if m.startswith("part scores-") and m.endswith("it is made again")]


@pytest.mark.parametrize(
    "change",
    [
        truncate,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("{}"),
        lambda path: path.write_text("null"),
        replace_text('"auprc"', '"auprd"'),
        replace_text('"status": "ok"', '"status": "fine"'),
    ],
)
def test_a_damaged_record_is_found_said_and_made_again(tmp_path, change, expected):
    finish(tmp_path, toys.Diary())
    (path,) = (tmp_path / "out").glob("records/*/*/*-seed0.json")
    change(path)
    diary = toys.Diary()
    assert finish(tmp_path, diary) == expected
    assert "the record cannot be read and is made again" in diary.text
    assert str(path) in diary.text
    assert read_record(path).status == "ok"


def test_the_record_of_another_run_is_not_taken_for_this_ones(tmp_path):
    finish(tmp_path, toys.Diary())
    (path,) = (tmp_path / "out").glob("records/*/*/*-seed0.json")
    path.write_text(path.read_text("utf-8").replace('"seed": 0', '"seed": 1'))
    diary = toys.Diary()
    finish(tmp_path, diary)
    assert "is the record of another run" in diary.text
    assert read_record(path).seed == 0


def test_a_damaged_manifest_is_written_again(tmp_path):
    finish(tmp_path, toys.Diary())
    (path,) = (tmp_path / "out").glob("records/*/manifest-*.json")
    text = path.read_text("utf-8")
    truncate(path)
    options = toys.options(tmp_path, *IN_PAIRS, force=True)
    harness.run(["toy-trained"], "toy", options, toys.Diary())
    assert path.read_text("utf-8") == text


def test_a_run_that_is_cut_off_before_its_record_scores_nothing_again(tmp_path, monkeypatch, expected):
    def cut(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(harness, "write_record", cut)
        with pytest.raises(KeyboardInterrupt):
            finish(tmp_path, toys.Diary())
    scored = sizes_scored(monkeypatch)
    assert finish(tmp_path, toys.Diary()) == expected
    assert 2 not in scored


def pruned(folder: Path, age: str) -> Process:
    """Prune all that was last used longer ago."""
    return run(folder / "prune", ["cache", "prune", "--cache", str(folder / "cache"), "--older-than", age])


def parts_of(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "artifacts").glob("toy-*/[!.]*.json"))


@pytest.mark.slow
def test_a_prune_while_another_process_trains_loses_nothing(tmp_path):
    alone = metrics(run(tmp_path / "alone", toy(tmp_path / "alone")))
    go_on, folder = tmp_path / "go on", tmp_path / "pruned"
    trains = Process(folder / "run", toy(folder), Moment("toy training", 2, wait_for=go_on))
    until(lambda: trains.says("progress: toy training 2"))
    checkpoint = parts_of(folder)
    assert [path.name for path in checkpoint] == ["checkpoint.json"]
    assert "1 in use by another process: left" in pruned(folder, "0h").out
    assert parts_of(folder) == checkpoint
    go_on.touch()
    assert metrics(trains) == alone
    assert trains.steps("toy training") == [1, 2, 3]


@pytest.mark.slow
def test_a_prune_takes_nothing_that_a_run_of_another_process_will_reuse(tmp_path):
    assert run(tmp_path / "first", toy(tmp_path)).end() == 0
    for path in (tmp_path / "cache" / "artifacts").glob("*/part.json"):
        os.utime(path, (0, 0))
    parts, go_on = parts_of(tmp_path), tmp_path / "go on"
    _, *both = toy(tmp_path, "toy-brightness,toy-trained")
    pausing = Moment("toy-brightness: test maps", 0, wait_for=go_on)
    again = Process(tmp_path / "again", ["run", "--force", *both], pausing)
    until(lambda: again.says("progress: toy-brightness: test maps 0"))
    assert "1 in use by another process: left" in pruned(tmp_path, "30d").out
    assert parts_of(tmp_path) == parts
    go_on.touch()
    assert again.end() == 0, again.err
    assert again.steps("toy training") == []
    assert "part: 1 removed" in pruned(tmp_path, "0h").out, "nobody uses it any more"
