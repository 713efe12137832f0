"""Kept KL maps: a trial that uses them scores as the plain detector does, and asks the network for new t alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from adbench_baselines.ddpm import DDIM, DDPMStepA, DDPMStepB
from adbench_baselines.diffusion import kl, masking
from adbench_baselines.kl_map import KLMap
from adbench_baselines.kl_mask_intensity import KLMaskIntensity
from tiny_nets import DIFFUSION_SETTINGS, LATENT_SETTINGS, ToyModel, build, sick, stack

from adbench.contracts.detector import Runtime
from adbench.storage.kept import KeepsStages, Kept

LOW = {"percentile": 60.0}
CASES: list[tuple[Any, dict[str, Any]]] = [
    (KLMap, LATENT_SETTINGS),
    (DDPMStepA, DIFFUSION_SETTINGS),
    (DDPMStepB, {**DIFFUSION_SETTINGS, **LOW}),
    (DDIM, {**DIFFUSION_SETTINGS, "sampler": "ddim", **LOW}),
    (KLMaskIntensity, {**DIFFUSION_SETTINGS, **LOW}),
]
CHANGES: list[dict[str, Any]] = [
    {},
    {"t_low": 2, "t_high": 30, "kl_timesteps": 9, "map_sigma": 0.5},
    {"percentile": 80.0, "threshold": "global"},
    {"mask_growth": 1, "mask_sigma_px": 1.0},
    {"start_t": 9, "healing_steps": 3, "context": "noised", "start": "noised"},
    {"healings": 2, "requantise": True},
]


def fit(cls: Any, settings: dict[str, Any], runtime: Runtime, kept: Kept | None) -> Any:
    detector = build(cls, settings, runtime)
    detector.kept = kept
    detector.fit(stack(16, 1), stack(40, 2))
    return detector


@pytest.mark.parametrize(("cls", "settings"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_scores_of_kept_stages_are_the_plain_detectors(cls, settings, runtime, tmp_path):
    kept, images = Kept(tmp_path), sick()
    for change in CHANGES:
        own = {key: value for key, value in change.items() if key in cls.Config.model_fields}
        changed = {**settings, **own}
        plain = fit(cls, changed, runtime, None)
        for _ in range(2):  # filled, and then read
            trial = fit(cls, changed, runtime, kept)
            torch.testing.assert_close(trial.score(images), plain.score(images), rtol=1e-4, atol=1e-6)
            if getattr(plain, "limits", None) is not None:
                torch.testing.assert_close(trial.limits, plain.limits, rtol=1e-4, atol=1e-7)


def test_a_second_trial_asks_the_network_for_new_t_alone(runtime, tmp_path, monkeypatch):
    asked: list[int] = []
    plain = kl.kl_terms

    def counted(model, z, timesteps, *rest):
        asked.extend(timesteps)
        return plain(model, z, timesteps, *rest)

    monkeypatch.setattr(kl, "kl_terms", counted)
    kept, images = Kept(tmp_path), sick()
    for change in ({"t_low": 4, "t_high": 8, "kl_timesteps": 4}, {"t_low": 5, "t_high": 10, "kl_timesteps": 5}):
        fit(KLMap, {**LATENT_SETTINGS, **change}, runtime, kept).score(images)
    assert asked == [4, 5, 6, 7, 8, 9]


def test_a_trial_that_changes_the_mask_alone_heals_nothing_again_in_step_b(runtime, tmp_path, monkeypatch):
    calls: list[int] = []
    plain = masking.heal
    monkeypatch.setattr(masking, "heal", lambda *given: calls.append(1) or plain(*given))
    kept, images = Kept(tmp_path), sick()
    for percentile in (60.0, 80.0, 90.0):
        fit(DDPMStepB, {**DIFFUSION_SETTINGS, "percentile": percentile}, runtime, kept).score(images)
    assert len(calls) == 1
    fit(DDPMStepB, {**DIFFUSION_SETTINGS, "start_t": 9}, runtime, kept).score(images)
    assert len(calls) == 2


def test_networks_are_loaded_once_and_no_maps_go_to_the_artifact_store(tmp_path):
    runtime, kept = Runtime(), Kept(tmp_path)
    first = fit(DDIM, {**DIFFUSION_SETTINGS, **LOW}, runtime, kept)
    second = fit(DDIM, {**DIFFUSION_SETTINGS, "percentile": 70.0}, runtime, kept)
    assert first.model is second.model
    assert not list(runtime.store.root.glob("kl-maps-*"))


def test_other_networks_images_and_seeds_have_maps_of_their_own(tmp_path):
    kept, z = Kept(tmp_path), torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model = ToyModel()

    def of(key: str, z: torch.Tensor, seed: int, variance: kl.Variance = "beta_tilde") -> torch.Tensor:
        return kl.kept_kl_map(kept, [key], model, z, [400, 500], seed, variance, 8)

    base = of("a", z, 0)
    torch.testing.assert_close(base, kl.kl_map(model, z, [400, 500], 0, "beta_tilde", 8))
    torch.testing.assert_close(of("a", z + 1, 0), kl.kl_map(model, z + 1, [400, 500], 0, "beta_tilde", 8))
    torch.testing.assert_close(of("a", z, 1), kl.kl_map(model, z, [400, 500], 1, "beta_tilde", 8))
    torch.testing.assert_close(of("a", z, 0, "beta"), kl.kl_map(model, z, [400, 500], 0, "beta", 8))
    before = len(model.seen)
    of("b", z, 0)
    assert len(model.seen) > before


def test_the_diffusion_methods_say_that_they_keep_stages():
    assert isinstance(build(KLMap, LATENT_SETTINGS), KeepsStages)
