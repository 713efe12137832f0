"""Slices are prepared once, whatever happens on the way, and are never loaded as a whole."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from adbench_datasets.imaging import shards
from adbench_datasets.imaging.files import CaseError
from adbench_datasets.imaging.placement import Placement
from adbench_datasets.imaging.preprocessing import Content, Prepared
from adbench_datasets.imaging.slice_cache import SliceCache
from adbench_datasets.imaging.slice_jobs import GROUPS, Job

from adbench.contracts.dataset import DataRuntime
from adbench.contracts.splits import Split, content_hash
from adbench.errors import DataError
from adbench.storage import holds
from adbench.storage.leases import Lease

SIZE = 8
ROLES = ("train", "train", "validation", "test", "test")
UNIT = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))
EVERYTHING = (GROUPS[0], GROUPS[-1])


def prepared(case: int, ignores: bool = True) -> Prepared:
    """Slices of all four contents in random order, with random pixels."""
    rng = np.random.default_rng(case)
    contents = rng.permutation(np.repeat(np.arange(4), [3, 1, 2, 1])).astype(np.uint8)
    n, shape = len(contents), (len(contents), 1, SIZE, SIZE)
    images = rng.random(shape, np.float32)
    lesions = (rng.random(shape) < 0.3) & (contents == Content.LESION)[:, None, None, None]
    placement = Placement(
        source=f"{case}.nii", shape=(SIZE, SIZE, n + 2), affine=UNIT, source_shape=(SIZE, SIZE, n + 2),
        source_affine=UNIT, size=SIZE, step=(1, 1), centre=(3.5, 3.5), z=tuple(range(2, n + 2)),
    )  # fmt: skip
    ignored = (rng.random(shape) < 0.1) & ~lesions & ignores
    brains = rng.random(shape) < 0.9
    return Prepared(
        placement,
        images,
        lesions,
        brains,
        ignored,
        contents,
        [content_hash(image[0]) for image in images],
        content_hash(images),
        {"case": case},
    )


def marked(folder: Path, ignores: bool, case: int) -> Prepared:
    """Leave a file for each call."""
    (folder / f"{case}-{len(list(folder.glob(f'{case}-*')))}").touch()
    return prepared(case, ignores)


def failing(case: int) -> Prepared:
    if case == 1:
        raise CaseError("one.nii", "is torn")
    if case == 2:
        raise DataError("two is no brain")
    return prepared(case)


def dying(folder: Path, case: int) -> Prepared:
    """Kill the process at the third case, once."""
    if case == 2 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return marked(folder, True, case)


def interrupted(folder: Path, case: int) -> Prepared:
    if case == 3 and not (folder / "stopped").exists():
        (folder / "stopped").touch()
        raise KeyboardInterrupt
    return marked(folder, True, case)


def jobs() -> list[Job]:
    return [Job(f"s/{i}", f"{i}.nii", role, i, f"key{i}") for i, role in enumerate(ROLES)]


@pytest.fixture
def calls(tmp_path) -> Path:
    (tmp_path / "calls").mkdir()
    return tmp_path / "calls"


@pytest.fixture
def eager(monkeypatch) -> None:
    """Start processes for few cases too."""
    monkeypatch.setattr(shards, "CASES_PER_WORKER", 1)


class Told(list):
    """What was notified and how far progress came."""

    def runtime(self, workers: int = 1) -> DataRuntime:
        return DataRuntime(workers=workers, notify=self.append, progress=self.progress)

    def progress(self, what: str, done: int, total: int) -> None:
        self.steps = {**getattr(self, "steps", {}), what: (done, total)}


def get(tmp_path: Path, make=prepared, workers: int = 1, told: Told | None = None) -> SliceCache:
    return SliceCache.get(
        tmp_path / "set-0", jobs(), SIZE, make, (told if told is not None else Told()).runtime(workers)
    )


def expected(wanted) -> list[tuple[int, int]]:
    """(case, index of the slice) of all wanted slices."""
    return [
        (job.case, i)
        for job in jobs()
        for i, content in enumerate(prepared(job.case).contents)
        if wanted(job.role, content)
    ]


def check(split: Split, which: list[tuple[int, int]], truth: bool) -> None:
    """The split holds these slices, with all that belongs to them, in any order."""
    assert isinstance(split.images, np.memmap)
    assert len(split) == len(which)
    found = {digest: i for i, digest in enumerate(split.hashes)}
    for case, at in which:
        made = prepared(case)
        i = found[made.hashes[at]]
        assert (split.images[i] == made.images[at]).all()
        assert (split.brains[i] == made.brains[at]).all()
        assert split.subjects[i] == f"s/{case}"
        assert split.sources[i] == f"{case}.nii[{made.placement.z[at]}]"
        if truth:
            assert (split.lesions[i] == made.lesions[at]).all()
            assert (split.ignores[i] == made.ignores[at]).all()


def test_a_split_is_a_view_of_the_slices_of_its_kinds_with_their_truth(tmp_path):
    cache = get(tmp_path)
    for role in ("train", "validation"):
        group = (role, Content.HEALTHY)
        check(
            cache.split(group, group, False),
            expected(lambda r, k, role=role: r == role and k == Content.HEALTHY),
            False,
        )
    test = cache.split(("test", Content.HEALTHY), ("test", Content.LESION), True)
    check(test, expected(lambda r, k: r == "test" and k != Content.UNCLEAR), True)
    lesion = cache.split(("test", Content.LESION), ("rest", Content.LESION), True)
    check(lesion, expected(lambda r, k: k == Content.LESION), True)
    healthy = cache.split(("validation", Content.HEALTHY), ("test", Content.HEALTHY), False)
    check(healthy, expected(lambda r, k: k == Content.HEALTHY), False)
    check(cache.split(*EVERYTHING, True), expected(lambda r, k: k != Content.UNCLEAR), True)
    assert healthy.lesions is None


def test_slices_left_without_a_use_are_in_no_split_but_counted(tmp_path):
    cache = get(tmp_path)
    assert [case["kinds"] for case in cache.cases] == [[3, 1, 2, 1]] * len(ROLES)
    assert len(cache.split(*EVERYTHING, True)) == 6 * len(ROLES)


def test_nothing_ignored_is_no_stack(tmp_path, calls):
    cache = get(tmp_path, partial(marked, calls, False))
    assert cache.split(*EVERYTHING, True).ignores is None


@pytest.mark.slow
def test_several_processes_make_the_same_files_as_one(tmp_path, eager):
    one, two = get(tmp_path / "one"), get(tmp_path / "two", workers=2)
    for path in one.folder.iterdir():
        assert path.read_bytes() == (two.folder / path.name).read_bytes()
    assert not (one.folder / "cases").exists()


def test_slices_are_prepared_once(tmp_path, calls):
    for _ in range(3):
        get(tmp_path, partial(marked, calls, True))
    assert len(list(calls.iterdir())) == len(ROLES)


def test_progress_reaches_the_end(tmp_path):
    told = Told()
    get(tmp_path, told=told)
    assert told.steps == {"prepare scans": (5, 5), "write slices": (5, 5)}
    assert told == []


def test_an_interrupted_preparation_goes_on_where_it_stopped(tmp_path, calls):
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, partial(interrupted, calls))
    cache = get(tmp_path, partial(interrupted, calls))
    assert {path.name for path in calls.iterdir()} == {"stopped", *(f"{i}-0" for i in range(len(ROLES)))}
    check(cache.split(*EVERYTHING, True), expected(lambda r, k: k != Content.UNCLEAR), True)


@pytest.mark.slow
def test_a_killed_worker_is_an_error_and_its_work_is_done_the_next_time(tmp_path, calls, eager):
    with pytest.raises(DataError, match=r"one was ended, most likely for lack of memory.*fewer workers"):
        get(tmp_path, partial(dying, calls), workers=2)
    cache = get(tmp_path, partial(dying, calls), workers=2)
    check(cache.split(*EVERYTHING, True), expected(lambda r, k: k != Content.UNCLEAR), True)


def test_a_damaged_file_of_a_case_is_made_again(tmp_path, calls):
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, partial(interrupted, calls))
    first = tmp_path / "set-0" / "cases" / "key0.npz"
    first.write_bytes(first.read_bytes()[:-40])
    cache = get(tmp_path, partial(interrupted, calls))
    assert (calls / "0-1").exists()
    check(cache.split(*EVERYTHING, True), expected(lambda r, k: k != Content.UNCLEAR), True)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def edited(path: Path) -> None:
    index = json.loads(path.read_bytes())
    index["hashes"][0] = "0" * 64
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("images.npy", cut, r"images.npy has \d+ bytes, not \d+"),
        ("lesions.npy", Path.unlink, "lesions.npy has no bytes"),
        ("index.json", cut, "index.json cannot be read"),
        ("index.json", edited, "index.json does not match its hash"),
        ("index.json", lambda path: path.write_text("[]"), "index.json cannot be read"),
    ],
)
def test_a_damaged_cache_is_reported_and_made_again(tmp_path, calls, name, damage, said):
    get(tmp_path)
    damage(tmp_path / "set-0" / name)
    told = Told()
    cache = get(tmp_path, partial(marked, calls, True), told=told)
    assert len(told) == 1
    assert re.search(said, told[0])
    assert len(list(calls.iterdir())) == len(ROLES)
    check(cache.split(*EVERYTHING, True), expected(lambda r, k: k != Content.UNCLEAR), True)


def test_a_cache_without_an_index_is_finished(tmp_path):
    whole = get(tmp_path).split(*EVERYTHING, True).fingerprint
    (tmp_path / "set-0" / "index.json").unlink()
    assert get(tmp_path).split(*EVERYTHING, True).fingerprint == whole


def test_the_second_of_two_waits_for_the_first(tmp_path, calls):
    told = Told()
    with Lease(tmp_path / "set-0.lease"):
        second = threading.Thread(target=get, args=(tmp_path, partial(marked, calls, True), 1, told))
        second.start()
        second.join(0.5)
        assert second.is_alive()
        assert not list(calls.iterdir())
        assert "Another process is preparing" in told[0]
    second.join(20)
    assert len(list(calls.iterdir())) == len(ROLES)


@pytest.mark.parametrize("workers", [1, 2])
def test_cases_that_cannot_be_used_are_left_out_and_listed_each_time(tmp_path, workers, eager):
    for _ in range(2):
        cache = get(tmp_path, failing, workers)
        assert cache.skipped == [("one.nii", "is torn"), ("2.nii", "two is no brain")]
        assert [case["subject"] for case in cache.cases] == ["s/0", "s/3", "s/4"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written \(.*Free space there, or name another folder with --cache"):
        get(tmp_path / "file")


def test_plans_are_kept_by_source(tmp_path):
    assert get(tmp_path).placements() == {f"{i}.nii": prepared(i).placement for i in range(len(ROLES))}


def test_slices_that_a_process_uses_are_marked_so_with_the_time_and_free_to_nobody_else(tmp_path):
    folder = get(tmp_path).folder
    os.utime(folder / "index.json", (0, 0))
    get(tmp_path)
    assert (folder / "index.json").stat().st_mtime > 1e9
    code = (
        "import pathlib, sys\nfrom adbench.storage.holds import alone\n"
        "with alone(pathlib.Path(sys.argv[1])) as free: print(free)"
    )
    asked = [sys.executable, "-c", code, str(folder)]
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout == "False\n"
    holds.release()
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout == "True\n"
