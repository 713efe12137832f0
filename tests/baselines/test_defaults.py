"""A key holds only what differs from the defaults, so that a default that changes must come with a new version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from adbench_baselines import (
    andi,
    anoddpm,
    autoencoder,
    cddpm,
    dae,
    disyre,
    fae_own,
    fanogan,
    fpi,
    itermask2,
    mad_ad,
    patchcore,
    pddpm,
    reflect,
    thor,
)
from adbench_baselines.diffusion import unet
from adbench_baselines.networks import vqvae, wgan_training
from adbench_baselines.networks.feature_ae import FeatureAEConfig
from adbench_baselines.networks.wgan_networks import WGANConfig
from adbench_baselines.tokens import model as token_model
from pydantic import BaseModel

from adbench.storage.spec import PartSpec, changed_fields

KNOWN = Path(__file__).parent / "golden" / "defaults.json"
"""Part and version -> its defaults when that version was first trained. A new version adds an entry."""

PARTS: dict[str, tuple[int, type[BaseModel]]] = {
    "vqvae": (vqvae.VERSION, vqvae.VQVAEConfig),
    "unet": (unet.VERSION, unet.UNetConfig),
    "token-transformer": (token_model.VERSION, token_model.TokenModelConfig),
    "wgan": (wgan_training.VERSION, WGANConfig),
    "fanogan-encoder": (fanogan.ENCODER_VERSION, fanogan.EncoderConfig),
    "patchcore-memory": (patchcore.VERSION, patchcore.PatchCoreConfig),
    "ae": (autoencoder.AE.part_version, autoencoder.AEConfig),
    "vae": (autoencoder.VAE.part_version, autoencoder.VAEConfig),
    "dae": (dae.DAE.part_version, dae.DAEConfig),
    "disyre": (disyre.DISYRE.part_version, disyre.DISYREConfig),
    "anoddpm": (anoddpm.AnoDDPM.part_version, anoddpm.AnoDDPMConfig),
    "pddpm": (pddpm.PDDPM.part_version, pddpm.PDDPMConfig),
    "thor": (thor.Thor.part_version, thor.ThorConfig),
    "andi": (andi.ANDi.part_version, andi.ANDiConfig),
    "fpi": (fpi.FPI.part_version, fpi.FPIConfig),
    "cddpm": (cddpm.CDDPM.part_version, cddpm.CDDPMConfig),
    "itermask2": (itermask2.IterMask2.part_version, itermask2.IterMask2Config),
    "mad-ad": (mad_ad.VERSION, mad_ad.MaskedConfig),
    "reflect": (reflect.VERSION, reflect.FlowConfig),
    "reflect-reflow": (reflect.VERSION, reflect.ReflowConfig),
    "fae-own": (fae_own.VERSION, FeatureAEConfig),
}


def defaults(model: type[BaseModel]) -> dict[str, Any]:
    return model().model_dump(mode="json")


@pytest.mark.parametrize("part", PARTS)
def test_a_default_changes_only_with_the_version_of_its_part(part: str) -> None:
    version, model = PARTS[part]
    known: Mapping[str, Any] = json.loads(KNOWN.read_text("utf-8"))
    name = f"{part} {version}"
    assert name in known, f"{KNOWN.name} has no {name}: add its defaults, {json.dumps(defaults(model))}"
    present = defaults(model)
    assert {field: present[field] for field in known[name]} == known[name]


class Before(BaseModel):
    steps: int = 100
    channels: tuple[int, ...] = (8, 16)


class After(Before):
    clipped: bool = False


def test_a_new_field_leaves_every_key_what_it_was() -> None:
    for values in ({}, {"steps": 5}, {"channels": (4,)}):
        old, new = (PartSpec("net", 1, changed_fields(m(**values)), "data", 0) for m in (Before, After))
        assert old.key == new.key
    used = PartSpec("net", 1, changed_fields(After(clipped=True)), "data", 0)
    assert used.key != PartSpec("net", 1, changed_fields(After()), "data", 0).key


class Outer(BaseModel):
    inner: Before = Before(steps=7)


def test_a_nested_config_with_defaults_of_its_own_is_never_taken_for_another() -> None:
    configs = [Outer(), Outer(inner=Before()), Outer(inner=Before(steps=5)), Outer(inner=Before(channels=(1,)))]
    keys = {PartSpec("net", 1, changed_fields(config), "data", 0).key for config in configs}
    assert len(keys) == len(configs)
