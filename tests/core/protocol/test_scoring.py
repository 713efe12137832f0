"""Score maps by batches: kept, found again, checked, and made from copies of the images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import toys
from measuring import scorer

from adbench.contracts.splits import Split
from adbench.errors import ArtifactError, ConfigError, ScoreError
from adbench.protocol.cell import Cell
from adbench.protocol.scoring import Scorer
from adbench.storage.saved import Saved


@pytest.fixture(autouse=True)
def _plugins(tmp_path, monkeypatch):
    toys.install(tmp_path / "site", monkeypatch)


def maps(work: Scorer, split: Split) -> np.ndarray:
    """All score maps of a split, (N, 1, H, W)."""
    return np.stack(list(work.maps(split, "test")))


def test_a_median_is_of_the_same_scores_with_edges_replicated(tmp_path):
    plain = scorer(tmp_path)
    test = plain.cell.data.splits.test
    raw = maps(plain, test)
    work = scorer(tmp_path, "toy-brightness", "protocol.postprocess=median", "protocol.median_px=3")
    work.detector.score = None
    padded = np.pad(raw, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    expected = np.median(np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3)), axis=(4, 5))
    np.testing.assert_array_equal(maps(work, test), expected)
    with pytest.raises(ConfigError, match="odd edge, got 4: try 5"):
        toys.cell(tmp_path, "toy-brightness", "protocol.median_px=4")


def test_kept_medians_that_are_not_of_the_images_are_named_and_cut_off_ones_are_made_anew(tmp_path):
    work = scorer(tmp_path, "toy-brightness", "protocol.postprocess=median", "protocol.median_px=3")
    test = work.cell.data.splits.test
    right, batch = maps(work, test), work.maps(test, "test").batches[0]
    saved = Saved(work.store.folder(batch.spec), "part")
    tensors, meta = saved.read()
    (file,) = saved.folder.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-8])
    np.testing.assert_array_equal(maps(work, test), right)
    saved.save({"scores": tensors["scores"][:, :, :-1]}, meta)  # whole, but of smaller images
    with pytest.raises(ArtifactError, match=f"of {batch.spec.key} must fit what it is loaded into, but scores is"):
        maps(work, test)


def test_no_batch_is_scored_twice_and_batches_do_not_change_the_scores(tmp_path):
    whole = scorer(tmp_path / "a")
    halves = scorer(tmp_path / "b", "toy-brightness", "protocol.batch_size=4")
    test = whole.cell.data.splits.test
    assert (maps(whole, test) == maps(halves, test)).all()
    assert [step[1:] for step in halves.reporter.steps] == [(0, 2), (1, 2), (2, 2)]
    halves.detector.score = None
    assert (maps(whole, test) == maps(halves, test)).all(), "from the store"


def test_interrupted_scoring_resumes_at_the_next_batch(tmp_path):
    work = scorer(tmp_path, "toy-brightness", "protocol.batch_size=2")
    test, calls = work.cell.data.splits.test, []

    def score(images):
        calls.append(images)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return images

    work.detector.score = score
    with pytest.raises(KeyboardInterrupt):
        work.maps(test, "test")
    assert (maps(work, test) == test.images).all()
    assert len(calls) == 3 + 1
    assert torch.equal(calls[2], calls[3])


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"seed": 1}, False),
        ({"settings": "protocol.batch_size=50"}, False),
        ({"settings": "protocol.reference_images=3"}, True),
        ({"settings": "data.n_validation=7"}, False),
        ({}, True),
    ],
)
def test_kept_batches_belong_to_one_seed_config_batch_size_and_images(tmp_path, change, kept):
    first = scorer(tmp_path)
    first.maps(first.cell.data.splits.test, "test")
    cell: Cell = toys.cell(
        tmp_path, "toy-brightness", *filter(None, [change.get("settings")]), seed=change.get("seed", 0)
    )
    second = Scorer(cell, first.detector, first.store, toys.Diary())
    calls: list[int] = []
    second.detector.score = lambda images: calls.append(len(images)) or images
    second.maps(cell.data.splits.test, "test")
    assert calls == ([] if kept else [6])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("toy-nan", r"Scores must be finite; 1536 of 1536 are not, the first is (nan|inf)"),
        ("toy-infinite", r"Scores must be finite; 1536 of 1536 are not, the first is inf"),
        ("toy-misshapen", r"must have the shape \(6, 1, 16, 16\); received \(6, 1, 8, 16\)"),
        ("toy-list", "must be a torch tensor, but toy-list returned list"),
    ],
)
def test_bad_score_maps_are_refused_and_not_kept(tmp_path, method, message):
    work = scorer(tmp_path, method)
    with pytest.raises(ScoreError, match=message):
        work.maps(work.cell.data.splits.test, "test")
    assert list((tmp_path / "store").glob("scores-*/*.safetensors")) == []


def test_image_scores_of_the_wrong_shape_are_refused_by_their_own_name(tmp_path):
    work = scorer(tmp_path, "toy-short")
    with pytest.raises(ScoreError, match=r"Image scores must have the shape \(6,\), one an image, got \(6, 1\)"):
        work.images(work.cell.data.splits.test, "test")


def test_a_detector_gets_a_copy_of_the_images(tmp_path):
    work = scorer(tmp_path)
    test = work.cell.data.splits.test
    before = test.images.copy()
    work.detector.score = lambda images: images.fill_(0.5)
    work.maps(test, "test")
    assert (test.images == before).all()
