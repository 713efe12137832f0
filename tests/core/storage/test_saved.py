"""Parts and checkpoints that are damaged, misplaced, or fit nothing: named, and made again or refused."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from small_part import SPEC, TENSORS, equal, never

from adbench.errors import ArtifactError
from adbench.storage.saved import shapes_of

OTHER_SHAPES = {
    "another shape": ({"weight": (3, 2), "count": ()}, r"weight is \(2, 3\) in the file and \(3, 2\) here"),
    "one more": ({"weight": (2, 3), "count": (), "bias": (2,)}, r"bias is missing in the file and \(2,\) here"),
    "one less": ({"weight": (2, 3)}, r"count is \(\) in the file and missing here"),
}


@pytest.mark.parametrize("change", OTHER_SHAPES)
def test_a_part_that_does_not_fit_what_it_is_loaded_into_is_refused_by_name_and_stays(store, change):
    shapes, message = OTHER_SHAPES[change]
    store.get(SPEC, lambda checkpoint: TENSORS)
    with pytest.raises(ArtifactError, match=rf"The part of {SPEC.key} must fit .+ {message}.+ Remove .+{SPEC.key} to"):
        store.get(SPEC, never, shapes)
    assert equal(store.get(SPEC, never, shapes_of(TENSORS)))


def test_a_checkpoint_that_does_not_fit_is_refused_by_name_and_what_is_not_asked_for_does_not_matter(store):
    def cut(checkpoint):
        checkpoint.save({"module.weight": torch.ones(2, 3), "optimiser.0.step": torch.ones(1)}, {"step": 1})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get(SPEC, cut)
    right, wrong = (shapes_of({"weight": torch.ones(shape)}, "module.") for shape in ((2, 3), (3, 2)))
    with pytest.raises(ArtifactError, match=rf"The checkpoint of {SPEC.key} must fit .+ module\.weight is \(2, 3\)"):
        store.get(SPEC, lambda checkpoint: checkpoint.load(wrong))
    with pytest.raises(ArtifactError, match=r"module\.bias is missing in the file"):
        store.get(SPEC, lambda checkpoint: checkpoint.load({**right, "module.bias": (3,)}))
    assert store.get(SPEC, lambda checkpoint: checkpoint.load(right)[0])["optimiser.0.step"] == 1


DAMAGE = {
    "shorter": (lambda data: data[:-5], r"part-\w+\.safetensors has \d+ bytes and not \d+"),
    "flipped": (lambda data: data[:-1] + bytes([data[-1] ^ 1]), r"part-\w+\.safetensors does not match its hash"),
}


@pytest.mark.parametrize("change", DAMAGE)
def test_a_damaged_file_is_named_with_its_part_and_made_again(store, said, change):
    damage, message = DAMAGE[change]
    store.get(SPEC, lambda checkpoint: TENSORS)
    (file,) = store.folder(SPEC).glob("part-*.safetensors")
    file.write_bytes(damage(file.read_bytes()))
    assert equal(store.get(SPEC, lambda checkpoint: TENSORS, shapes_of(TENSORS)))
    assert len(said) == 1
    assert re.fullmatch(rf"part {SPEC.key} is damaged \({message}\): it is made again", said[0])


def test_a_file_with_the_right_hash_that_holds_no_tensors_is_damaged(store, said):
    store.get(SPEC, lambda checkpoint: TENSORS)
    index_file = store.folder(SPEC) / "part.json"
    index = json.loads(index_file.read_text("utf-8"))
    data = b"not safetensors"
    (store.folder(SPEC) / index["file"]).write_bytes(data)
    index |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    index_file.write_text(json.dumps(index))
    assert equal(store.get(SPEC, lambda checkpoint: TENSORS))
    assert "is damaged" in said[0]


def test_a_part_of_before_sizes_were_written_is_used(store):
    store.get(SPEC, lambda checkpoint: TENSORS)
    index_file = store.folder(SPEC) / "part.json"
    index = json.loads(index_file.read_text("utf-8"))
    del index["bytes"]
    index_file.write_text(json.dumps(index))
    assert equal(store.get(SPEC, never))


def test_a_part_in_the_folder_of_another_is_refused_by_name_and_stays(store):
    other = replace(SPEC, seed=SPEC.seed + 1)
    for spec in (SPEC, other):
        store.get(spec, lambda checkpoint: TENSORS)
    shutil.rmtree(store.folder(SPEC))
    shutil.copytree(store.folder(other), store.folder(SPEC))
    with pytest.raises(ArtifactError, match=rf"what lies in .+{SPEC.key} was made as another part"):
        store.get(SPEC, never)
    assert store.has(SPEC)


def test_a_checkpoint_in_the_folder_of_another_part_is_refused(store):
    other = replace(SPEC, seed=SPEC.seed + 1)
    with pytest.raises(KeyboardInterrupt):
        store.get(other, interrupted)
    shutil.copytree(store.folder(other), store.folder(SPEC))
    with pytest.raises(ArtifactError, match=rf"that in .+{SPEC.key} is of {other.key}"):
        store.get(SPEC, lambda checkpoint: checkpoint.load()[0])


def interrupted(checkpoint):
    checkpoint.save(TENSORS, {"step": 1})
    raise KeyboardInterrupt
