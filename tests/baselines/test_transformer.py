"""The transformer detector and its ensemble: scores, thresholds, shared and resumed members, and their cost."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from adbench_baselines import transformer
from adbench_baselines.tokens import model as token_model
from adbench_baselines.tokens.healing import heal, span
from adbench_baselines.tokens.model import TokenModel
from adbench_baselines.tokens.orderings import arrange, restore
from adbench_baselines.transformer import (
    Transformer,
    TransformerEnsemble,
    TransformerEnsembleF8,
    TransformerF8,
    preset_values,
)
from adbench_baselines.vqvae_residual import VQVAEResidual
from tiny_nets import VQVAE_SETTINGS, build, fitted, sick, stack

from adbench.contracts.detector import Runtime
from adbench.errors import ConfigError, DataError
from adbench.training.part import TrainedPart
from adbench.training.rows import Rows

MEMBER = {
    "dim": 32, "layers": 1, "heads": 2, "steps": 150, "batch_size": 16, "learning_rate": 5e-3, "ema_decay": 0.0,
    "augmented_copies": 0,
}  # fmt: skip
SETTINGS = {"vqvae": VQVAE_SETTINGS, "transformer": {**MEMBER, "steps": 4}, "threshold": 0.05}
"""Trains too short to find anything, with a threshold at which some tokens are masked."""


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """Names of the parts that are trained."""
    names: list[str] = []
    original = TrainedPart.make
    monkeypatch.setattr(TrainedPart, "make", lambda part, *a: (names.append(part.title), original(part, *a)))
    return names


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """Places of each call of a transformer."""
    seen: list[int] = []
    original = TokenModel.hidden
    monkeypatch.setattr(
        TokenModel, "hidden", lambda self, inputs, *a: (seen.append(inputs.shape[1]), original(self, inputs, *a))[1]
    )
    return seen


def detector(cls, runtime, **changes):
    return fitted(cls, {**SETTINGS, **changes}, runtime)


def test_the_score_is_the_softened_mask_times_the_residual_to_the_healed_image(runtime):
    d, images = detector(Transformer, runtime), sick()
    tokens = d.encode(images).flatten(1)
    mask = d.members[0].log_likelihood(tokens).exp() < 0.05
    assert 0 < float(mask.float().mean()) < 1
    healed = heal(d.members[0], tokens, mask, seed=0)
    x_hat = d.vqvae.decode(d.vqvae.quantiser.embed(healed.reshape(-1, 8, 8)))
    expected = d.soften(mask.reshape(-1, 8, 8), (32, 32)) * (images - x_hat).abs()
    torch.testing.assert_close(d.score(images), expected)


def test_tokens_are_the_codes_that_the_vqvae_decodes(runtime):
    d, images = detector(Transformer, runtime), sick()
    torch.testing.assert_close(d.vqvae.quantiser.embed(d.encode(images)), d.vqvae.encode(images))


def test_the_ensemble_s_score_is_the_mean_of_its_members_masked_residuals(runtime):
    d, images = detector(TransformerEnsemble, runtime), sick()
    assert len(d.members) == 8
    maps = []
    for i, member in enumerate(d.members):
        tokens = arrange(d.encode(images), d.order(i))
        mask = member.log_likelihood(tokens) < d.limits[i]
        healed = restore(heal(member, tokens, mask, 0), d.order(i), 8, 8)
        residual = (images - d.vqvae.decode(d.vqvae.quantiser.embed(healed))).abs()
        maps.append(d.soften(restore(mask, d.order(i), 8, 8), (32, 32)) * residual)
    torch.testing.assert_close(d.score(images), torch.stack(maps).mean(0))
    assert len({tuple(d.order(i).tolist()) for i in range(8)}) == 8


def test_the_image_score_is_the_negative_log_likelihood_averaged_over_the_members(runtime):
    single, ensemble, images = detector(Transformer, runtime), detector(TransformerEnsemble, runtime), sick()
    tokens = single.encode(images).flatten(1)
    expected = torch.zeros(4, dtype=torch.float64)
    for b, i in np.ndindex(*tokens.shape):
        probabilities = single.members[0](tokens[b : b + 1])[0, i].double().softmax(-1)
        expected[b] -= probabilities[tokens[b, i]].log()
    torch.testing.assert_close(single.image_scores(images).double(), expected, rtol=1e-5, atol=1e-3)
    members = [
        -m.log_likelihood(arrange(ensemble.encode(images), ensemble.order(i))).sum(1)
        for i, m in enumerate(ensemble.members)
    ]
    torch.testing.assert_close(members[0], single.image_scores(images))
    torch.testing.assert_close(ensemble.image_scores(images), torch.stack(members).mean(0))


def test_healed_versions_are_averaged(runtime):
    two, images = detector(Transformer, runtime, healings=2), sick()
    tokens = two.encode(images).flatten(1)
    mask = two.members[0].log_likelihood(tokens) < two.limits[0]
    residuals = []
    for draw in range(2):
        healed = heal(two.members[0], tokens, mask, seed=0, draw=draw)
        residuals.append((images - two.vqvae.decode(two.vqvae.quantiser.embed(healed.reshape(-1, 8, 8)))).abs())
    assert not torch.equal(*residuals)
    expected = two.soften(mask.reshape(-1, 8, 8), (32, 32)) * torch.stack(residuals).mean(0)
    torch.testing.assert_close(two.score(images), expected)


def test_the_slow_reference_gives_the_same_scores(runtime):
    fast, slow = (detector(Transformer, runtime, cache=cache) for cache in (True, False))
    torch.testing.assert_close(fast.score(sick()), slow.score(sick()))


def test_likely_tokens_are_not_healed_and_score_0(runtime, calls):
    d = detector(Transformer, runtime, threshold=1e-30)
    calls.clear()
    assert torch.equal(d.score(sick()), torch.zeros(4, 1, 32, 32))
    assert calls == [64]  # the likelihood alone


def test_stages_count_one_pass_of_likelihood_a_member_and_the_calls_of_healing(runtime, calls):
    d, images = detector(TransformerEnsemble, runtime, orderings=3), sick()
    spans = [
        span(m.log_likelihood(arrange(d.encode(images), d.order(i))) < d.limits[i]) for i, m in enumerate(d.members)
    ]
    calls.clear()
    d.runtime.clock.running = True
    d.runtime.clock.reset()
    d.score(images)
    d.runtime.clock.running = False
    passes = {name: n for name, n in d.runtime.clock.passes.items() if n}
    assert passes == {"likelihood": 3, "heal": sum(map(len, spans))}
    assert set(d.runtime.clock.seconds) == {"encode", "likelihood", "heal", "decode", "post"}
    assert len(calls) == sum(passes.values())
    planned = d.plan(stack(16, 1), stack(40, 2)).passes
    assert planned == {"likelihood": 3, "heal": 3 * 64}
    assert passes["heal"] <= planned["heal"]


@pytest.mark.parametrize(("cached", "tokens"), [(True, 2), (False, 32)])
def test_a_planned_pass_evaluates_the_tokens_of_a_mean_call(runtime, calls, cached, tokens):
    plan = build(Transformer, {**SETTINGS, "cache": cached}, runtime).plan(stack(16, 1), stack(40, 2))
    run = plan.forward(5)
    calls.clear()
    run()
    run()
    assert sum(calls) == 2 * tokens
    assert plan.image_passes * tokens == 64


def test_a_quantile_is_of_the_healthy_validation_likelihoods_of_each_member(runtime):
    d, validation = (
        detector(TransformerEnsemble, runtime, orderings=2, threshold_kind="quantile", quantile=0.1),
        stack(40, 2),
    )
    for i, member in enumerate(d.members):
        values = member.log_likelihood(arrange(d.encode(validation[:]), d.order(i))).numpy()
        expected = np.quantile(values, 0.1, method="higher")
        assert float(d.limits[i]) == pytest.approx(float(expected), abs=1e-4)
        assert (values < float(d.limits[i])).mean() == pytest.approx(0.1, abs=0.02)
    assert float(d.limits[0]) != float(d.limits[1])


def test_validation_likelihoods_go_on_where_they_were_cut_off(monkeypatch):
    monkeypatch.setattr(transformer, "Rows", partial(Rows, batch=16))
    original, seen = TokenModel.log_likelihood, []

    def cut(self, tokens):
        seen.append(len(tokens))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return original(self, tokens)

    monkeypatch.setattr(TokenModel, "log_likelihood", cut)
    shared, settings = Runtime(), {**SETTINGS, "threshold_kind": "quantile"}
    with pytest.raises(KeyboardInterrupt):
        fitted(Transformer, settings, shared)
    resumed = fitted(Transformer, settings, shared)
    assert seen == [16, 16, 8, 8]
    assert torch.equal(resumed.limits, fitted(Transformer, settings, Runtime()).limits)


def test_too_few_validation_tokens_for_the_quantile_are_an_error_before_anything_is_trained():
    d = build(Transformer, {**SETTINGS, "threshold_kind": "quantile", "quantile": 0.001})
    message = r"quantile=0\.001 needs at least 1000 tokens of healthy validation images, got 960\."
    with pytest.raises(ConfigError, match=message):
        d.plan(stack(16, 1), stack(15, 2))
    with pytest.raises(ConfigError, match=message):
        d.fit(stack(16, 1), stack(15, 2))
    assert not any(d.runtime.store.root.iterdir())


def test_an_ensemble_that_was_cut_off_trains_its_missing_members_alone(trained, monkeypatch):
    shared, original = Runtime(), TrainedPart.make

    def cut(part, *rest):
        if part.title == "transformer 2":
            raise KeyboardInterrupt
        return original(part, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(TrainedPart, "make", cut)
        with pytest.raises(KeyboardInterrupt):
            detector(TransformerEnsemble, shared, orderings=4)
    assert trained == ["VQ-VAE", "transformer 0", "transformer 1"]
    trained.clear()
    detector(TransformerEnsemble, shared, orderings=4)
    assert trained == ["transformer 2", "transformer 3"]


def test_the_single_transformer_is_the_ensemble_s_first_member_and_the_vqvae_is_everyone_s(trained):
    shared = Runtime()
    ensemble, single = detector(TransformerEnsemble, shared, orderings=2), detector(Transformer, shared)
    residual = fitted(VQVAEResidual, {"vqvae": VQVAE_SETTINGS}, shared)
    assert trained == ["VQ-VAE", "transformer 0", "transformer 1"]
    assert set(ensemble.artifacts()) == {"vqvae", "transformer-0", "transformer-1"}
    assert single.artifacts().items() < ensemble.artifacts().items()
    assert residual.artifacts()["vqvae"] == single.artifacts()["vqvae"]


def test_images_are_encoded_once_for_all_members_and_not_at_all_where_nothing_is_trained(monkeypatch):
    encoded, original = [], token_model.encode_copies
    monkeypatch.setattr(token_model, "encode_copies", lambda *a: (encoded.append(1), original(*a))[1])
    shared = Runtime()
    detector(TransformerEnsemble, shared, orderings=3)
    assert len(encoded) == 1
    detector(TransformerEnsemble, shared, orderings=3)
    assert len(encoded) == 1


def test_settings_of_scoring_alone_train_nothing_anew(runtime):
    first = detector(Transformer, runtime).artifacts()
    for change in ({"threshold": 0.5}, {"threshold_kind": "quantile"}, {"healings": 2}, {"mask_sigma_px": 0.0}):
        assert detector(Transformer, runtime, **change).artifacts() == first


@pytest.mark.parametrize("cls", [TransformerF8, TransformerEnsembleF8])
def test_the_variants_with_factor_8_read_a_quarter_as_many_tokens(cls, runtime):
    changes = {"orderings": 2} if cls is TransformerEnsembleF8 else {}
    d = detector(cls, runtime, **changes)
    assert d.config.vqvae.factor == 8
    assert d.encode(sick()).shape == (4, 4, 4)
    assert bool(d.score(sick()).isfinite().all())
    base = cls.__mro__[1]
    assert {k: v for k, v in cls.overrides.items() if k != "vqvae.factor"} == base.overrides


def test_grids_need_not_be_square():
    d = build(TransformerEnsemble, {**SETTINGS, "orderings": 8})
    wide, validation = stack(16, 1), stack(8, 2)
    for images in (wide, validation):
        images._array = images._array[..., :24, :]
    d.fit(wide, validation)
    images = sick()[..., :24, :]
    scores = d.score(images)
    assert scores.shape == images.shape
    assert d.encode(images).shape == (4, 6, 8)
    torch.testing.assert_close(torch.cat([d.score(image[None]) for image in images]), scores, rtol=1e-4, atol=1e-5)


def test_images_of_another_size_than_those_trained_on_are_an_error(runtime):
    with pytest.raises(DataError, match=r"trained on images of 32 x 32, got 24 x 32\."):
        detector(Transformer, runtime).score(sick()[..., :24, :])


def test_an_image_side_that_is_no_multiple_of_the_factor_is_an_error_before_training():
    d = build(TransformerF8, SETTINGS)
    odd = stack(4, 1)
    odd._array = odd._array[..., :20, :20]
    for verb in (d.plan, d.fit):
        with pytest.raises(ConfigError, match="multiples of factor=8"):
            verb(odd, stack(40, 2))
    assert not any(d.runtime.store.root.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"orderings": 9}, "less than or equal to 8"),
        ({"threshold": 0.0}, "greater than 0"),
        ({"threshold_kind": "share"}, "'probability' or 'quantile'"),
        ({"transformer": {**MEMBER, "heads": 5}}, "multiple of heads=5, got 32"),
    ],
)
def test_settings_outside_their_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        build(Transformer, {**SETTINGS, **changes})


def test_the_defaults_are_the_papers():
    single, ensemble = build(Transformer, {}).config, build(TransformerEnsemble, {}).config
    assert (single.orderings, ensemble.orderings) == (1, 8)
    assert (single.threshold_kind, single.threshold, single.vqvae.factor) == ("probability", 0.005, 4)
    assert (single.transformer.dim, single.transformer.layers, single.transformer.heads) == (256, 22, 8)
    assert preset_values()["paper"] == {"vqvae": {}, "transformer": {}}
