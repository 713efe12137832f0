"""What a trained detector gets for naming its parts: it is trained once, resumes, plans, is saved and loaded."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
import toy_trained
from toy_trained import LearnedMean, LearnedMeanConfig

from adbench.contracts.detector import Images, Runtime
from adbench.storage.store import ArtifactStore
from adbench.testing import DetectorContract, toy_split
from adbench.training import loop
from adbench.training.part import TrainedPart

SETTINGS = {"steps": 40, "batch_size": 8}


class TestLearnedMean(DetectorContract):
    detector_class = LearnedMean
    settings = SETTINGS


class CutOffError(Exception):
    """Stands for a kill."""


def stack(seed: int = 1) -> Images:
    split = toy_split(16, 32, seed)
    return Images(split.images, split.image_fingerprint)


def detector(store: ArtifactStore | None = None, **changes) -> LearnedMean:
    runtime = Runtime(store=store) if store else Runtime()
    return LearnedMean(LearnedMeanConfig(**{**SETTINGS, **changes}), runtime)


def fitted(store: ArtifactStore | None = None, **changes) -> LearnedMean:
    made = detector(store, **changes)
    made.fit(stack(), stack(2))
    return made


def test_a_stranger_needs_at_most_six_names_of_adbench():
    nodes = ast.walk(ast.parse(Path(toy_trained.__file__).read_text("utf-8")))
    imported = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module.startswith("adbench")]
    names = [alias.name for node in imported for alias in node.names]
    assert 0 < len(names) <= 6, names


def test_what_is_trained_is_fetched_again_without_training(tmp_path, monkeypatch):
    first = fitted(ArtifactStore(tmp_path))
    monkeypatch.setattr(TrainedPart, "make", lambda *_: pytest.fail("it is there already"))
    again = fitted(ArtifactStore(tmp_path))
    assert again.artifacts() == first.artifacts() != {}
    assert torch.equal(again.trained["mean"].image, first.trained["mean"].image)


def test_a_training_that_was_cut_in_the_middle_ends_at_the_same_bits(tmp_path, monkeypatch):
    whole = fitted()
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", -1.0)
    original, calls = LearnedMean.loss, []

    def cut(*arguments):
        calls.append(1)
        if len(calls) == 21:
            raise CutOffError
        return original(*arguments)

    monkeypatch.setattr(LearnedMean, "loss", cut)
    with pytest.raises(CutOffError):
        fitted(ArtifactStore(tmp_path))
    resumed = fitted(ArtifactStore(tmp_path))
    assert len(calls) == 21 + 20
    assert torch.equal(resumed.trained["mean"].image, whole.trained["mean"].image)


def test_a_plan_names_the_part_its_steps_and_one_step_of_its_training(tmp_path):
    planned = detector(ArtifactStore(tmp_path))
    (part,) = planned.plan(stack(), stack(2)).parts
    assert (part.spec.kind, part.steps) == ("toy-mean", 40)
    net, run = part.build()
    run()
    assert bool(net.image.grad.any())
    assert not any(tmp_path.iterdir())
    assert part.spec.key == fitted(ArtifactStore(tmp_path)).artifacts()["mean"]


def test_the_key_holds_what_differs_from_the_defaults_the_data_and_the_seed():
    (part,) = detector(noise=0.3).parts().values()
    spec = part.spec(stack(), seed=5)
    assert (spec.config, spec.data, spec.seed) == ({**SETTINGS, "noise": 0.3}, stack().fingerprint, 5)


def test_a_saved_detector_is_loaded_without_a_store():
    first, loaded = fitted(), detector()
    loaded.load_state(first.state())
    images = stack(3)[:]
    assert torch.equal(loaded.score(images), first.score(images))
    assert (loaded.size, loaded.artifacts()) == ((32, 32), {})
    assert not any(loaded.runtime.store.root.iterdir())


def test_training_learns(tmp_path):
    mean = stack()[:].mean(0)
    before = float((fitted(steps=1).trained["mean"].image[0] - mean).abs().mean())
    assert float((fitted(steps=200).trained["mean"].image[0] - mean).abs().mean()) < 0.3 * before


def test_a_part_is_made_with_its_parents_and_shares_them(tmp_path):
    seen = []

    def part(name: str, **parents) -> TrainedPart:
        def batches(net, source):
            seen.append((name, sorted(source.parents)))
            return lambda generator: source.images(4, generator)

        return TrainedPart(
            kind=name, version=1, config=LearnedMeanConfig(steps=1), network=toy_trained.MeanImage,
            loss=lambda net, images, generator: (images - net.image).square().mean(), parents=parents, batches=batches,
        )  # fmt: skip

    root = part("root")
    runtime, made = Runtime(store=ArtifactStore(tmp_path)), {}
    for child in (part("left", up=root), part("right", up=root)):
        assert child.spec(stack(), 0).parents == {"up": root.spec(stack(), 0).key}
        child.fetch(stack(), runtime, made)
    assert seen == [("root", []), ("left", ["up"]), ("right", ["up"])]


def test_a_size_that_its_tensors_do_not_have_is_refused_before_memory_is_reserved():
    state = fitted().state() | {"size": torch.tensor([1 << 20, 1 << 20])}  # 4 TiB
    with pytest.raises(ValueError, match=r"image is \(1, 1, 32, 32\), not \(1, 1, 1048576, 1048576\)"):
        detector().load_state(state)
