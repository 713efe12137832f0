"""Slices of scans are prepared once, and again where files, settings or code changed."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest
from adbench_datasets.imaging import file_hashes, preprocessing, slice_cache
from adbench_datasets.imaging.files import CaseError
from toy_scans import Toy, make, write


def test_slices_are_prepared_again_only_where_something_changed(tmp_path):
    data, cache = write(tmp_path / "data", 4), tmp_path / "cache"

    def made() -> set[str]:
        return {path.name for path in (cache / "slices").glob("toy-*")}

    make(data, cache=cache).load()
    make(data, cache=cache, max_skipped_fraction=0.5).load()
    before = made()
    assert len(before) == 1
    make(data, cache=cache, min_lesion_px=2).load()
    assert len(made()) == 2
    make(data, cache=cache, split_seed=5).load()
    assert len(made()) == 3
    os.utime(data / "s0_mask.nii", ns=(1, 1))
    make(data, cache=cache).load()
    assert len(made()) == 3  # the content is what it was


def test_other_content_under_the_same_names_sizes_and_times_is_prepared_anew(tmp_path):
    first, second, cache = write(tmp_path / "a", 4), write(tmp_path / "b", 4), tmp_path / "cache"
    swapped = (second / "s3.nii").read_bytes(), (second / "s2.nii").read_bytes()
    for name, content in zip(("s2.nii", "s3.nii"), swapped, strict=True):
        (second / name).write_bytes(content)
    for path in (*first.iterdir(), *second.iterdir()):
        os.utime(path, ns=(1, 1))
    before = make(first, cache=cache).load_test()
    shutil.rmtree(first)
    second.rename(first)
    assert make(first, cache=cache).load_test().fingerprint != before.fingerprint


def test_files_are_read_for_their_hash_once_and_again_where_the_user_says_so(tmp_path, monkeypatch):
    data, cache, read = write(tmp_path / "data", 4), tmp_path / "cache", []
    plain = file_hashes._digest
    monkeypatch.setattr(file_hashes, "_digest", lambda ref, root: read.append(ref) or plain(ref, root))
    make(data, cache=cache).load()
    first = len(read)
    make(data, cache=cache).load()
    assert len(read) == first > 0
    dataset = make(data, cache=cache)
    dataset.runtime = replace(dataset.runtime, verify=True)
    dataset.load()
    assert len(read) == 2 * first


@pytest.mark.parametrize("module", [preprocessing, slice_cache])
def test_a_new_version_of_the_code_prepares_again(tmp_path, monkeypatch, module):
    data, cache = write(tmp_path / "data", 3), tmp_path / "cache"
    for version in (module.VERSION, module.VERSION + 1):
        monkeypatch.setattr(module, "VERSION", version)
        make(data, cache=cache).load()
    assert len(list((cache / "slices").glob("toy-*"))) == 2


def test_a_new_version_of_the_adapter_prepares_again(tmp_path, monkeypatch):
    data, cache = write(tmp_path / "data", 3), tmp_path / "cache"
    for version in ("1", "2"):
        monkeypatch.setattr(Toy, "info", replace(Toy.info, version=version))
        make(data, cache=cache).load()
    assert len(list((cache / "slices").glob("toy-*"))) == 2


def test_a_case_that_was_skipped_is_used_once_it_can_be_read_whatever_its_file_looks_like(tmp_path, monkeypatch):
    data, cache = write(tmp_path / "data", 4), tmp_path / "cache"
    read = Toy.read

    def fails(self, case):
        if case.subject == "toy/s2":
            raise CaseError(data / "s2.nii", "may not be read")
        return read(self, case)

    monkeypatch.setattr(Toy, "read", fails)
    assert "toy/s2" not in make(data, cache=cache, max_skipped_fraction=0.5).load_test().subjects
    monkeypatch.setattr(Toy, "read", read)
    said: list[str] = []
    assert "toy/s2" in make(data, cache=cache, said=said).load_test().subjects
    assert said == ["A case that could not be used can be now: preparing all again."]
