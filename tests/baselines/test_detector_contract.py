"""Every registered first-party detector keeps the shipped contract on `phantom`, at settings that train in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adbench_baselines.kl_map import KLMap
from adbench_datasets.phantom import Phantom
from einops import reduce
from tiny_nets import DIFFUSION_SETTINGS, UNET_SETTINGS, VQVAE_SETTINGS
from torch import Tensor

from adbench.contracts import registry
from adbench.contracts.detector import Detector, Runtime
from adbench.contracts.splits import Split, Splits
from adbench.storage.spec import PartSpec
from adbench.storage.store import ArtifactStore
from adbench.testing import DetectorContract

LEARNED = {**VQVAE_SETTINGS, "steps": 60}
"""Enough steps for the residual to see a lesion."""
SMALL = "at f = 8 an image of 32 pixels has 4 x 4 latents: too few to heal some from the others"
DENOISES = {
    **DIFFUSION_SETTINGS, "vqvae": LEARNED, "unet": {**UNET_SETTINGS, "steps": 150, "learning_rate": 5e-3},
    "kl_timesteps": 8, "threshold": "global", "percentile": 90.0,
}  # fmt: skip
"""A UNet that has seen enough to find a lesion's latents unlikely."""
NAMES = [entry.name for entry in registry.names(registry.DETECTORS) if entry.distribution == "brain-adbench"]

AE = {"channels": (8, 16, 16), "steps": 60, "batch_size": 8, "learning_rate": 5e-3, "ema_decay": 0.8}
PIXEL = {
    "channels": (8, 16), "patch_px": 2, "batch_size": 8, "steps": 60, "learning_rate": 5e-3, "ema_decay": 0.8,
}  # fmt: skip
TOKENS = {
    "vqvae": {**VQVAE_SETTINGS, "steps": 120},
    "transformer": {
        "dim": 32, "layers": 1, "heads": 2, "steps": 150, "batch_size": 16, "learning_rate": 5e-3, "ema_decay": 0.0,
        "augmented_copies": 0,
    },
    "threshold": 0.05,
}  # fmt: skip
LATENT_NET = {key: UNET_SETTINGS[key] for key in UNET_SETTINGS if key != "diffusion_steps"} | {"learning_rate": 5e-3}
REFLOW = {"steps": 10, "batch_size": 8, "augmented_copies": 1, "ema_decay": 0.0, "target_steps": 2}
OWN: dict[str, Mapping[str, Any]] = {
    "patchcore": {"vqvae": VQVAE_SETTINGS, "candidates": 400, "memory_size": 100, "neighbours": 3},
    "transformer": TOKENS,
    "transformer-f8": TOKENS,
    "transformer-ensemble": {**TOKENS, "orderings": 2},
    "transformer-ensemble-f8": {
        **TOKENS, "orderings": 2, "threshold_kind": "quantile", "quantile": 0.05, "healings": 2,
    },
    "vqvae-residual": {"vqvae": LEARNED},
    "kl-map": {key: value for key, value in DENOISES.items() if key in KLMap.Config.model_fields}
    | {"map_sigma": 1.0},  # as in the presets for CPUs: the raw map of so small a network is mostly noise
    "ae": AE,
    "vae": {**AE, "latent_size": 8},
    "dae": {**AE, "channels": (8, 8), "cell_px": 4, "noise_std": 0.4, "margin": 0.05},
    "anoddpm": {**PIXEL, "steps": 150, "start_t": 200, "t_last": 300, "reverse_steps": 5},
    "thor": {**PIXEL, "steps": 150, "start_t": 200, "t_last": 300, "reverse_steps": 8, "harmonised_at": (100, 50)},
    "pddpm": {**PIXEL, "steps": 150},
    "andi": {**PIXEL, "steps": 150, "t_last": 300, "timesteps": 5, "median_px": 3},
    "disyre": {**PIXEL, "steps": 150, "timesteps": 5},
    "fpi": {**PIXEL, "steps": 150},
    "cddpm": {**PIXEL, "steps": 150},
    "itermask2": {**PIXEL, "steps": 150, "cutoff": 6, "iterations": 8},
    "mahalanobis": {**PIXEL, "steps": 150, "reconstructions": 4},
    "mad-ad": {"vqvae": LEARNED, "unet": {**LATENT_NET, "steps": 300}, "gate": 0.0},  # so small a net flags nothing
    "reflect": {"vqvae": LEARNED, "unet": {**LATENT_NET, "steps": 150}, "reflow": REFLOW},
    "fae-own": {
        "vqvae": LEARNED,
        "autoencoder": {
            "channels": (16,), "steps": 150, "batch_size": 8, "learning_rate": 5e-3, "ema_decay": 0.8, "dropout": 0.0,
        },
    },
    "fanogan": {
        "wgan": {
            "width": 4, "latent_dim": 8, "critic_steps": 2, "steps": 30, "batch_size": 8, "learning_rate": 1e-3,
        },
        "encoder": {"steps": 100, "batch_size": 8, "learning_rate": 3e-3, "ema_decay": 0.0},
    },
}  # fmt: skip
"""Settings of the methods that learn too little, or take too long, with their preset `smoke`; see `settings_of`."""
LONG = ("anoddpm", "cddpm", "fanogan", "itermask2", "mad-ad", "mahalanobis", "pddpm", "reflect", "thor")
"""Tested among the slow, as f = 8 is: methods with the same networks, or tests of their own, are tested always."""


def settings_of(name: str) -> Mapping[str, Any]:
    """Tiny settings: those above, those of the diffusion methods with a mask, or else the preset `smoke`."""
    cls = registry.load_detector(name).cls
    masked = DENOISES if "kl_timesteps" in cls.Config.model_fields else None
    return OWN.get(name) or masked or cls.presets.get("smoke", {})


def blindness_of(name: str) -> str:
    if name == "random":
        return "noise finds nothing: its AUPRC is the prevalence"
    return SMALL if name in ("ddpm-f8", "ddim-f8") else ""


@cache
def phantom() -> Splits:
    """A few images of `phantom` at half its resolution, 32 px; those tested all show a lesion."""
    splits = Phantom(Phantom.Config(size=64, n_train=16, n_validation=40, n_test=16)).load()
    lesions = splits.test.lesions
    largest = np.argsort(lesions.sum((1, 2, 3)), kind="stable")[-4:]
    return Splits(halved(splits.train), halved(splits.validation), halved(splits.test.take(largest)))


def halved(split: Split) -> Split:
    """The mean of every 2 x 2 pixels; lesion where most of them are."""

    def mean(stack: np.ndarray) -> np.ndarray:
        return reduce(stack.astype(np.float32), "n c (h two) (w too) -> n c h w", "mean", two=2, too=2)

    lesions = None if split.lesions is None else mean(split.lesions) > 0.5
    return Split(mean(split.images), split.subjects, split.hashes, lesions=lesions)


class Asked(ArtifactStore):
    """A store that many detectors share, of which each sees the parts that it asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: set[str] = set()

    def get(self, spec: PartSpec, *given: Any) -> dict[str, Tensor]:
        self.asked.add(spec.key)
        return super().get(spec, *given)

    def has(self, spec: PartSpec) -> bool:
        return spec.key in self.asked and super().has(spec)


@cache
def store(again: bool) -> ArtifactStore:
    """Of the parts of all detectors that the tests of a class share, or of all that they are compared with."""
    return ArtifactStore.temporary()


class OnPhantom(DetectorContract):
    """The contract on images of `phantom`; what methods share is trained twice and not twice for each method."""

    def healthy(self) -> Split:
        return phantom().train

    def validation(self) -> Split:
        return phantom().validation

    def contaminated(self) -> Split:
        return phantom().test

    def _fit(self) -> Detector[Any]:
        detector = self.make(Runtime(store=Asked(store(again="_shared" in vars(type(self))).root)))
        detector.fit(*self._stacks())
        return detector


def contract_of(name: str) -> type[DetectorContract]:
    values = {
        "detector_class": registry.load_detector(name).cls,
        "settings": settings_of(name),
        "blind_because": blindness_of(name),
        "__module__": __name__,
        "pytestmark": [pytest.mark.slow] * (name.endswith("-f8") or name in LONG),
    }
    return type("Test_" + name.replace("-", "_"), (OnPhantom,), values)


globals().update({contract.__name__: contract for contract in map(contract_of, NAMES)})


def test_a_contract_is_made_for_every_registered_detector():
    assert {"ddpm", "ddim", "random", *OWN} <= set(NAMES)
    assert sum(name.startswith("Test_") for name in globals()) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_says_what_the_detector_is(name):
    cls = registry.load_detector(name).cls
    assert cls.__doc__
    assert cls.__doc__.strip().endswith(".")
