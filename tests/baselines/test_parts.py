"""A trained part that does not fit its network is refused by name, whatever method asks for it."""

from __future__ import annotations

import pytest
import torch

from adbench.config.settings import resolve
from adbench.contracts.detector import Images, Runtime
from adbench.contracts.registry import load_detector
from adbench.errors import ArtifactError
from adbench.storage.saved import Saved
from adbench.testing import toy_split


@pytest.mark.parametrize(
    "method", ["ae", "vae", "dae", "fanogan", "vqvae-residual", "ddim", "transformer", "patchcore"]
)
def test_a_part_of_another_network_is_named_and_neither_used_nor_lost(method):
    cls = load_detector(method).cls
    runtime = Runtime()
    detector = cls(resolve(cls.Config, [cls.overrides, cls.presets["smoke"]], method), runtime)
    split = toy_split(48, 64, seed=1)
    images = Images(split.images, split.image_fingerprint)
    spec = detector.plan(images, images).parts[0].spec
    Saved(runtime.store.folder(spec), "part").save({"other.weight": torch.ones(2)}, {})
    with pytest.raises(ArtifactError, match=f"The part of {spec.key} must fit .+ is damaged or of other code"):
        detector.fit(images, images)
    assert list(Saved(runtime.store.folder(spec), "part").read()[0]) == ["other.weight"]
