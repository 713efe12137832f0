"""What trials share: a key stands for one thing, and what is kept is what would be computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tuning_toys import counting

from adbench.errors import ArtifactError
from adbench.storage import kept as kept_module
from adbench.storage.kept import Kept


def planes_of(indices: list[int]) -> np.ndarray:
    return np.array([np.full((2, 3), i + 0.5) for i in indices], np.float32)


def test_a_result_is_made_once_for_a_key_and_tensors_count_by_their_content(tmp_path):
    kept, made = Kept(tmp_path), []

    def make() -> torch.Tensor:
        made.append(1)
        return torch.ones(3)

    for key in (["a", torch.zeros(2)], ["a", torch.zeros(2)], ["a", torch.zeros(1, 2)], ["b", torch.zeros(2)]):
        kept.once(key, make)
    assert len(made) == 3


def test_tensors_in_memory_are_bounded_and_the_ones_used_last_stay(tmp_path):
    kept, made = Kept(tmp_path, memory_bytes=100), []

    def asked(name: str) -> None:
        kept.once([name], lambda: made.append(name) or torch.zeros(10))

    for name in ("a", "b", "a", "c", "a", "b"):  # 40 bytes each: two fit
        asked(name)
    assert made == ["a", "b", "c", "b"]


def test_only_planes_that_nobody_has_filled_are_computed(tmp_path):
    make, asked = counting(planes_of)
    first = Kept(tmp_path).planes(["k"], [4, 2], (6, 2, 3), make)
    np.testing.assert_array_equal(first[[4, 2]], planes_of([4, 2]))
    again = Kept(tmp_path).planes(["k"], [2, 3, 3, 4], (6, 2, 3), make)  # as another process does
    np.testing.assert_array_equal(again[[2, 3, 4]], planes_of([2, 3, 4]))
    assert asked == [4, 2, 3]


def test_two_objects_that_fill_in_turn_see_each_others_planes(tmp_path):
    make, asked = counting(planes_of)
    one, two = Kept(tmp_path), Kept(tmp_path)
    for kept, wanted in ((one, [0]), (two, [1]), (one, [0, 1]), (two, [0, 1])):
        np.testing.assert_array_equal(kept.planes(["k"], wanted, (2, 2, 3), make)[wanted], planes_of(wanted))
    assert asked == [0, 1]


def test_planes_that_another_was_first_to_fill_while_this_one_was_held_up_stay(tmp_path):
    def held_up(indices: list[int]) -> np.ndarray:
        (lease,) = tmp_path.glob("*.lease")
        lease.unlink()  # as whoever waits does, once it has run out
        Kept(tmp_path).planes(["k"], [0, 2], (3, 2, 3), planes_of)
        return planes_of(indices) + 1

    stack = Kept(tmp_path).planes(["k"], [0, 1], (3, 2, 3), held_up)
    np.testing.assert_array_equal(stack[[0, 2]], planes_of([0, 2]))
    np.testing.assert_array_equal(stack[1], planes_of([1])[0] + 1)
    make, asked = counting(planes_of)
    Kept(tmp_path).planes(["k"], [0, 1, 2], (3, 2, 3), make)
    assert asked == []


def test_long_fillings_say_how_far_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_module, "AT_ONCE", 2)
    said: list[tuple[str, int, int]] = []
    kept = Kept(tmp_path, progress=lambda *step: said.append(step))
    kept.planes(["k"], [0, 1], (9, 2, 3), planes_of)
    assert said == []
    kept.planes(["k"], range(7), (9, 2, 3), planes_of)
    assert [step[1:] for step in said] == [(2, 5), (4, 5), (5, 5)]


def test_planes_are_computed_again_where_a_kill_came_before_they_were_said_to_be_there(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_module, "AT_ONCE", 1)

    def dying(indices: list[int]) -> np.ndarray:
        if indices == [2]:
            raise KeyboardInterrupt
        return planes_of(indices)

    with pytest.raises(KeyboardInterrupt):
        Kept(tmp_path).planes(["k"], [0, 1, 2], (3, 2, 3), dying)
    make, asked = counting(planes_of)
    Kept(tmp_path).planes(["k"], [0, 1, 2], (3, 2, 3), make)
    assert asked == [2]


def test_a_file_without_its_list_of_planes_is_made_again(tmp_path):
    Kept(tmp_path).planes(["k"], [0], (3, 2, 3), planes_of)
    for have in tmp_path.glob("*.have"):
        have.write_bytes(b"\x01")  # cut short
    make, asked = counting(planes_of)
    Kept(tmp_path).planes(["k"], [0], (3, 2, 3), make)
    assert asked == [0]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"cannot be written .* --cache"):
        Kept(tmp_path / "file" / "kept").planes(["k"], [0], (3, 2, 3), planes_of)


@pytest.mark.parametrize("damage", ["cut short", "junk", "another shape"])
def test_a_damaged_file_of_planes_is_named(tmp_path, damage):
    Kept(tmp_path).planes(["k"], [0], (3, 2, 3), planes_of)
    (file,) = tmp_path.glob("*.npy")
    if damage == "another shape":
        np.save(file, np.zeros((3, 3, 3), np.float32))
    else:
        file.write_bytes(file.read_bytes()[:-4] if damage == "cut short" else b"junk")
    with pytest.raises(ArtifactError, match=rf"but .*{file.name} is not. Remove it"):
        Kept(tmp_path).planes(["k"], [0], (3, 2, 3), planes_of)
