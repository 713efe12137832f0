"""What lies damaged in the cache or among the records is found, said and made again; what is whole is used."""

from __future__ import annotations

from pathlib import Path

import pytest
import toys

from adbench.protocol import harness
from adbench.results.record import read_record


@pytest.fixture(autouse=True, scope="module")
def _plugins(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        toys.install(tmp_path_factory.mktemp("plugins") / "site", patch)
        yield


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
