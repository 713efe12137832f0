"""The picture beside a record, and the figures of pages that are made from such pictures."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from record_factory import dataset, make

from adbench.errors import RecordError
from adbench.results.figures import MOST, Figure, figure_of, key_of
from adbench.results.pages import check_pages, write_pages
from adbench.results.pictures import MARKS, MOST_BYTES, Picture, picture_path, read_picture, write_picture
from adbench.results.record import write_record


def picture(seed: int = 0, n: int = 6, side: int = 16, slices: int = 1, marks: tuple[str, ...] = ()) -> Picture:
    """Scores are drawn with `seed`, what is shown with `slices`."""
    own, shared = np.random.default_rng(seed), np.random.default_rng(slices)
    lesions, counted = shared.random((n, side, side)) > 0.8, shared.random((n, side, side)) > 0.1
    inputs, scores = shared.random((n, side, side), np.float32), own.normal(3, 5, (n, side, side)).astype(np.float32)
    return Picture.of(inputs, lesions, counted, scores, [f"s{i}" for i in range(n)], marks)


def same(a: Picture, b: Picture) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


@given(seed=st.integers(0, 50), n=st.integers(1, 6), own=st.integers(0, 3))
def test_a_picture_survives_writing_and_reading(tmp_path_factory, seed, n, own):
    path = tmp_path_factory.mktemp("p") / "a.png"
    made = picture(seed, n + own, marks=MARKS[:own])
    write_picture(made, path)
    assert same(read_picture(path), made)
    assert list(made.shared.subjects) == list(made.subjects)[:n]
    assert not made.shared.marks


@given(seed=st.integers(0, 50), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_scores_are_read_back_to_a_255th_of_their_range(seed, scale):
    scores = (np.random.default_rng(seed).normal(size=(2, 8, 8)) * scale).astype(np.float32)
    mask = np.ones(scores.shape, bool)
    made = Picture.of(np.zeros_like(scores), mask, mask, scores, ["a", "b"])
    back = made.lowest + made.scores / 255 * (made.highest - made.lowest)
    np.testing.assert_allclose(back, scores, atol=0.5001 * (made.highest - made.lowest) / 255)


def test_scores_without_spread_are_black():
    mask = np.ones((1, 4, 4), bool)
    assert not Picture.of(
        np.zeros((1, 4, 4), np.float32), mask, mask, np.full((1, 4, 4), 7.0, np.float32), "a"
    ).scores.any()


def test_people_see_input_lesion_and_scores_below_each_other_a_column_a_slice(tmp_path):
    write_picture(made := picture(n=3, side=8), tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png"))
    assert pixels.shape == (3 * 8, 3 * 8)
    np.testing.assert_array_equal(pixels[:8, 8:16], made.inputs[1])
    np.testing.assert_array_equal(pixels[8:16, :8], made.lesions[0])
    np.testing.assert_array_equal(pixels[16:, 16:], made.scores[2])
    assert set(np.unique(made.lesions)) == {0, 128, 255}, "healthy, not counted, lesion"


def test_slices_are_left_out_until_the_file_is_small(tmp_path):
    write_picture(picture(side=160), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size <= MOST_BYTES
    assert 1 <= len(read_picture(tmp_path / "a.png").subjects) < 6


def test_the_slices_of_the_method_itself_are_left_out_before_those_of_all(tmp_path):
    write_picture(made := picture(n=9, side=110, marks=MARKS), tmp_path / "a.png")
    read = read_picture(tmp_path / "a.png")
    assert 0 < len(read.marks) + len(read.shared.subjects) == len(read.subjects) < 9
    assert list(read.marks) == list(made.marks)[: max(0, len(read.subjects) - 6)]
    assert list(read.shared.subjects) == list(made.shared.subjects)[: len(read.subjects)]


@pytest.mark.parametrize("damage", ["missing", "cut", "another picture", "text"])
def test_a_file_that_is_no_picture_of_a_run_is_named(tmp_path, damage):
    path = tmp_path / "a.png"
    if damage == "cut":
        write_picture(picture(), path)
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "another picture":
        Image.new("L", (4, 4)).save(path)
    elif damage == "text":
        path.write_text("no picture")
    with pytest.raises(RecordError, match=r"a\.png must be the picture"):
        read_picture(path)


def test_a_figure_shows_each_method_once_and_only_the_slices_of_the_best():
    methods = ["best", "best", "other slices", "none", "next", *"abc"]
    records = [str(i) for i in range(len(methods))]
    pictures = {
        r: picture(int(r), slices=2 if m == "other slices" else 1) for r, m in zip(records, methods, strict=True)
    }
    del pictures["3"]
    made = figure_of(methods, records, pictures.get)
    assert list(made.names) == ["best", "next", "a", "b"]
    assert len(made.names) == MOST
    assert same(made.pictures[0], pictures["0"])
    assert figure_of(methods, records, {}.get) is None


def test_a_figure_is_known_by_what_it_shows():
    pictures = [picture(0), picture(1)]
    made = Figure(["a", "b"], pictures)
    assert made.key == Figure(["a", "b"], [picture(0), picture(1)]).key
    assert made.png() == Figure(["a", "b"], pictures).png()
    changed = replace(pictures[1], scores=pictures[1].scores.copy())
    changed.scores[0, 0, 0] ^= 1
    others = [
        Figure(["a", "c"], pictures),
        Figure(["a", "b"], pictures[::-1]),
        Figure(["a", "b"], [pictures[0], changed]),
    ]
    assert made.key not in {other.key for other in others}


def test_a_figure_outlines_lesions_in_red_and_keeps_inputs_grey():
    image = np.asarray(Image.open(io.BytesIO(Figure(["m"], [picture(n=1, side=32)]).png())).convert("RGB")).astype(int)
    grey, lesion = image[:128, 160:270], image[132:256, 160:270]
    assert np.ptp(grey, axis=2).max() <= 16, "a palette is not exact"
    assert (lesion[..., 0] - lesion[..., 1]).max() > 100


@pytest.fixture
def leaderboards(tmp_path: Path) -> Path:
    for i, method in enumerate(("good", "bad")):
        record = make(method)
        write_picture(picture(i), picture_path(write_record(record, tmp_path)))
    write_pages(tmp_path)
    return tmp_path


def test_pages_show_their_figure(leaderboards):
    assert "](figures/toy.png)" in (leaderboards / "toy.md").read_text("utf-8")
    assert key_of(leaderboards / "figures/toy.png")
    assert check_pages(leaderboards) == []
    before = (leaderboards / "figures/toy.png").stat().st_mtime_ns
    write_pages(leaderboards)
    assert (leaderboards / "figures/toy.png").stat().st_mtime_ns == before, "what is right is not drawn again"


def test_stale_figures_are_found_and_drawn_again(leaderboards):
    (path,) = leaderboards.glob("records/toy/good/*.png")
    write_picture(picture(7), path)
    assert check_pages(leaderboards) == [leaderboards / "figures/toy.png"]
    write_pages(leaderboards)
    assert check_pages(leaderboards) == []


def test_a_figure_goes_with_its_pictures_but_not_those_of_others(leaderboards):
    Image.new("L", (4, 4)).save(leaderboards / "figures/own.png")
    for path in leaderboards.glob("records/toy/*/*.png"):
        path.unlink()
    assert set(check_pages(leaderboards)) == {leaderboards / "toy.md", leaderboards / "figures/toy.png"}
    write_pages(leaderboards)
    assert [path.name for path in (leaderboards / "figures").iterdir()] == ["own.png"]
    assert "figures/" not in (leaderboards / "toy.md").read_text("utf-8")


def test_only_what_shares_a_table_shares_a_figure(tmp_path):
    for i, name in enumerate(("a", "b", "c")):
        record = make(name, dataset=dataset(fingerprint=("f" if name == "c" else "d") * 16))
        write_picture(picture(i), picture_path(write_record(record, tmp_path)))
    write_pages(tmp_path)
    images = [read_picture(next(tmp_path.glob(f"records/toy/{name}/*.png"))) for name in "ab"]
    assert key_of(tmp_path / "figures/toy.png") == Figure(["a", "b"], images).key
