"""A model file holds all that it says, two of the same parts are equal, and any other file is refused in words."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import tracemalloc
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prediction_options import options
from safetensors.torch import load_file, save

from adbench.config.options import Silent
from adbench.contracts.registry import load_detector
from adbench.errors import ModelError
from adbench.metrics.points import POINTS
from adbench.prediction.export import export
from adbench.prediction.model import load_model
from adbench.prediction.model_file import read_card, read_model
from adbench.storage.spec import canonical_hash


def parts(data: bytes) -> tuple[dict, bytes]:
    """Header and body of safetensors."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: object, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def with_card(data: bytes, seal: bool = True, **changes) -> bytes:
    """The file with fields of its card changed, sealed anew or not."""
    header, body = parts(data)
    card = json.loads(header["__metadata__"]["adbench"])
    card.update(changes)
    if seal:
        card.pop("sha256")
        card["sha256"] = canonical_hash(card)
    header["__metadata__"]["adbench"] = json.dumps(card)
    return joined(header, body)


def with_entry(data: bytes, **changes) -> bytes:
    header, body = parts(data)
    header["mean"] |= changes
    return joined(header, body)


def renamed(data: bytes) -> bytes:
    header, body = parts(data)
    header["other"] = header.pop("mean")
    return joined(header, body)


def with_setting(data: bytes, **changes) -> bytes:
    """The file with settings of its dataset changed, sealed anew."""
    trained_on = json.loads(parts(data)[0]["__metadata__"]["adbench"])["trained_on"]
    return with_card(data, trained_on=trained_on | {"config": trained_on["config"] | changes})


def with_point(data: bytes, **changes) -> bytes:
    """The file with fields of its first operating point changed, sealed anew."""
    first, *others = json.loads(parts(data)[0]["__metadata__"]["adbench"])["points"]
    return with_card(data, points=[first | changes, *others])


def with_name_twice(data: bytes) -> bytes:
    """The file with another method first in its card, of which only the last is sealed."""
    header, body = parts(data)
    note = header["__metadata__"]["adbench"]
    header["__metadata__"]["adbench"] = note.replace('"method":', '"method":"random","method":', 1)
    return joined(header, body)


def with_method(data: bytes, method: str, **config) -> bytes:
    """The file as one of another method."""
    return with_card(data, method=method, code_version=load_detector(method).cls.info.version, config=config)


def with_healthy(data: bytes, **changes) -> bytes:
    healthy = json.loads(parts(data)[0]["__metadata__"]["adbench"])["healthy"]
    return with_card(data, healthy=healthy | changes)


def with_metadata(data: bytes) -> bytes:
    header, body = parts(data)
    header["__metadata__"]["x"] = 5
    return joined(header, body)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


FAULTS = {
    "empty": (lambda data: b"", "is no such file"),
    "text": (lambda data: b"hello, I am no model at all", "is no such file"),
    "pickle": (lambda data: pickle.dumps({"mean": [1.0] * 100}), "is no such file"),
    "huge header": (lambda data: (1 << 40).to_bytes(8, "little") + data, "is no such file"),
    "header cut short": (lambda data: data[:200], "is cut short: its header"),
    "tensors cut short": (lambda data: data[:-5], "is cut short: .* bytes of tensors"),
    "bytes at the end": (lambda data: data + b"more", "4 bytes after its end"),
    "a bit of a tensor": (flipped, "does not match its hash: the file was altered"),
    "header no JSON": (lambda data: joined(b"{" * 50, b""), "is no JSON"),
    "header a list": (lambda data: joined([1, 2], b""), "must be a JSON object"),
    "no card": (lambda data: save({"mean": torch.zeros(2)}), "no card of adbench"),
    "card altered": (lambda data: with_card(data, seal=False, seed=5), "card .* does not match its hash"),
    "newer format": (lambda data: with_card(data, format=2), "update adbench"),
    "no format": (lambda data: with_card(data, format="one"), "must say its format"),
    "unknown field": (lambda data: with_card(data, colour="red"), "is not valid: colour"),
    "a field missing": (lambda data: with_card(data, points=None), "is not valid: points"),
    "type of a tensor": (lambda data: with_entry(data, dtype="I32"), "must be .* by the card, but is"),
    "shape of a tensor": (lambda data: with_entry(data, shape=[1, 64, 32]), "must be .* by the card, but is"),
    "place of a tensor": (lambda data: with_entry(data, data_offsets=[4, 16388]), "does not lie where its size says"),
    "no place of a tensor": (lambda data: with_entry(data, data_offsets="x"), "must say where it lies"),
    "a tensor of another name": (renamed, "must name the same"),
    "negative shape": (lambda data: with_entry(data, shape=[-1, -64, 64]), "must be .* by the card"),
    "other code of the method": (lambda data: with_card(data, code_version="0"), "scores in another way"),
    "other preparation": (lambda data: with_card(data, preparation={"version": "0.0", "steps": []}), "prepares by"),
    "metadata of another type": (with_metadata, "is not that of safetensors"),
    "a mark before the header": (
        lambda data: joined(b"\xef\xbb\xbf" + json.dumps(parts(data)[0]).encode(), parts(data)[1]),
        "is not that of safetensors",
    ),
    "histogram of other bins": (lambda data: with_healthy(data, histogram=[0.5]), "is not valid: healthy.histogram"),
    "no healthy person": (lambda data: with_healthy(data, distances=[]), "is not valid: healthy.distances"),
    "no point": (lambda data: with_card(data, points=[]), "is not valid: points"),
    "a batch of all slices there are": (lambda data: with_card(data, protocol={"batch_size": 10**9}), "equal to 4096"),
    "a median of an endless window": (lambda data: with_card(data, protocol={"median_px": 10**9 + 1}), "equal to 63"),
    "images of a million pixels a side": (lambda data: with_card(data, image_size=[10**6, 10**6]), "equal to 2048"),
    "a smoothing wider than any image": (lambda data: with_method(data, "ddim", map_sigma=1e9), "equal to 100"),
    "endless network passes": (lambda data: with_method(data, "ddim", healings=10**9), "at most 100000 network passes"),
    "a name twice": (with_name_twice, "a name stands twice"),
    "a point whose masks would lie elsewhere": (lambda data: with_point(data, key="../../evil"), "points.0.key"),
    "a point twice": (lambda data: with_point(data, key="1pct"), "a key and a rate of its own"),
    "a threshold that is no number": (lambda data: with_point(data, threshold=math.nan), "points.0.threshold"),
    "a setting that is no number": (lambda data: with_setting(data, window_centre_hu=math.nan), "window_centre_hu"),
    "pixels of no size": (lambda data: with_setting(data, fov_mm=1e-9), "fov_mm"),
    "a seed that no generator takes": (lambda data: with_card(data, seed=-1), "is not valid: seed"),
    "unknown setting": (lambda data: with_card(data, config={"roof": 1}), "are not valid here: roof"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_not_what_was_exported_is_refused_in_words(fault, trained, tmp_path):
    make, words = FAULTS[fault]
    path = tmp_path / "bad.adbench"
    path.write_bytes(make(trained.path.read_bytes()))
    with pytest.raises(ModelError, match=words):
        load_model(path, "cpu", "float32")


@pytest.mark.parametrize(
    "change", [lambda data: with_setting(data, size=128), lambda data: with_card(data, image_size=[64, 32])]
)
def test_a_card_that_says_another_size_than_its_tensors_have_scores_nothing(change, trained, tmp_path):
    path = tmp_path / "bad.adbench"
    path.write_bytes(change(trained.path.read_bytes()))
    with pytest.raises(ModelError, match="its card was altered"):
        load_model(path, "cpu", "float32").predict(trained.patient)


def test_an_archive_or_a_folder_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.adbench", "w") as archive:
        archive.writestr("card.json", "{}")
    for path in (tmp_path / "z.adbench", tmp_path, tmp_path / "missing"):
        with pytest.raises(ModelError):
            read_model(path)


def test_a_whole_network_of_another_shape_is_refused_though_its_card_agrees(trained, tmp_path):
    header, _ = parts(trained.path.read_bytes())
    path = tmp_path / "bad.adbench"
    tensors = {"mean": torch.zeros(3)}
    card = json.loads(header["__metadata__"]["adbench"])
    raw = tensors["mean"].numpy().tobytes()
    card["tensors"] = {"mean": {"dtype": "F32", "shape": [3], "sha256": hashlib.sha256(raw).hexdigest()}}
    card.pop("sha256")
    card["sha256"] = canonical_hash(card)
    path.write_bytes(save(tensors, {"adbench": json.dumps(card)}))
    with pytest.raises(ModelError, match="must fit healthy-zscore"):
        load_model(path, "cpu", "float32")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_gives_another_model_in_silence(at, bit, trained, tmp_path):
    data = bytearray(trained.path.read_bytes())
    data[int(at * len(data))] ^= 1 << bit
    path = tmp_path / "bad.adbench"
    path.write_bytes(bytes(data))
    try:
        found = read_model(path)
    except ModelError:
        return
    assert found.card == trained.card  # space in the header's JSON, say
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in load_file(trained.path).items())


def claimed(trained, shape: list[int]) -> bytes:
    """The file with a tensor of a shape that it does not hold, by header and card alike."""
    header, body = parts(trained.path.read_bytes())
    card = json.loads(header["__metadata__"]["adbench"])
    card["tensors"]["mean"]["shape"] = header["mean"]["shape"] = shape
    header["mean"]["data_offsets"] = [0, 4 * math.prod(shape)]
    card.pop("sha256")
    card["sha256"] = canonical_hash(card)
    header["__metadata__"]["adbench"] = json.dumps(card)
    (other,) = header.keys() - {"mean", "__metadata__"}
    size = header[other]["data_offsets"][1] - header[other]["data_offsets"][0]
    header[other]["data_offsets"] = [4 * math.prod(shape), 4 * math.prod(shape) + size]
    return joined(header, body)


@pytest.mark.parametrize(
    ("shape", "size", "words"),
    [
        ([1 << 31], None, "is cut short: .* bytes of tensors are needed"),
        ([1 << 40, 1 << 20], None, "is cut short: .* bytes of tensors are needed"),
        ([1 << 31], (8 << 30) + 1, "A model has at most 8589934592 bytes"),
        ([1 << 31], 8 << 30, "is cut short: .* bytes of tensors are needed"),
    ],
)
def test_what_claims_too_much_is_refused_before_memory_is_reserved_for_it(shape, size, words, trained, tmp_path):
    path = tmp_path / "bad.adbench"
    path.write_bytes(claimed(trained, shape))
    if size is not None:
        os.truncate(path, size)  # a file with a hole: it takes no place on the disk
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match=words):
            read_model(path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_two_exports_of_the_same_parts_are_equal_byte_for_byte(trained, tmp_path):
    export("healthy-zscore", "folder", options(trained.root), Silent(), tmp_path / "again.adbench")
    assert (tmp_path / "again.adbench").read_bytes() == trained.path.read_bytes()


def test_the_card_says_what_the_model_is(trained):
    card = read_card(trained.path)
    assert (card.method, card.trained_on.registered, card.image_size) == ("healthy-zscore", "folder", (64, 64))
    assert card.trained_on.subjects + 2 <= 8
    assert [point.rate for point in card.points] == [point.rate for point in POINTS]
    assert len(card.preparation.steps) == 5
    assert "medical device" in card.notice
    assert card.created is None  # healthy images alone: there is no record
    assert str(trained.root) not in card.model_dump_json()
