"""The token transformer: causality, likelihood, its key-value cache, and its training."""

from __future__ import annotations

import pytest
import torch
from adbench_baselines.networks import vqvae
from adbench_baselines.networks.vqvae import VQVAEConfig
from adbench_baselines.tokens import model as token_model
from adbench_baselines.tokens.model import Decoding, TokenModel, TokenModelConfig, WholePrefix
from tiny_nets import stack, token_part
from torch import nn

from adbench.errors import TrainingError
from adbench.storage.store import ArtifactStore
from adbench.training import loop

CODES, LENGTH = 7, 12
TINY = {"dim": 16, "layers": 2, "heads": 2, "steps": 6, "batch_size": 4, "ema_decay": 0.0, "augmented_copies": 0}


def model(**changes) -> TokenModel:
    """A tiny model whose weights are large enough for every token to matter."""
    torch.manual_seed(0)
    module = TokenModel(TokenModelConfig(**{**TINY, **changes}), CODES, LENGTH).eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape) / 2)
    return module


def tokens(n: int = 3) -> torch.Tensor:
    return torch.randint(CODES, (n, LENGTH), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("place", range(LENGTH))
def test_a_token_changes_logits_after_it_alone(place):
    module, before = model(), tokens()
    after = before.clone()
    after[:, place] = (after[:, place] + 1) % CODES
    a, b = module(before), module(after)
    assert torch.equal(a[:, : place + 1], b[:, : place + 1])
    assert bool((a[:, place + 1 :] != b[:, place + 1 :]).any(-1).all())


def test_logits_are_float32_for_every_token_even_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        logits = model()(tokens())
    assert (logits.shape, logits.dtype) == ((3, LENGTH, CODES), torch.float32)


def test_the_likelihood_is_the_log_softmax_of_a_hand_loop_over_growing_prefixes():
    module, given = model(), tokens()
    found = module.log_likelihood(given)
    for b in range(len(given)):
        for i in range(LENGTH):
            inputs = torch.tensor([[CODES, *given[b, :i].tolist()]])  # the begin token, then the prefix
            exponentials = module.logits(module.hidden(inputs))[0, -1].double().exp()
            expected = (exponentials[given[b, i]] / exponentials.sum()).log()
            assert float(found[b, i]) == pytest.approx(float(expected), abs=1e-5)


def test_the_likelihood_of_all_sequences_sums_to_1():
    torch.manual_seed(0)
    module = TokenModel(TokenModelConfig(**TINY), 3, 4).eval()
    everything = torch.cartesian_prod(*(torch.arange(3),) * 4)
    assert float(module.log_likelihood(everything).sum(1).exp().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("k", [0, 1, 5, LENGTH - 1])
def test_decoding_with_the_cache_gives_the_logits_of_the_full_forward(k):
    module, given = model(), tokens()
    full = module(given)
    for decoding in (Decoding(module, len(given), LENGTH), WholePrefix(module)):
        found = [decoding.prefill(given[:, :k])] + [decoding.step(given[:, i]) for i in range(k, LENGTH - 1)]
        torch.testing.assert_close(torch.stack(found, 1), full[:, k:], rtol=1e-4, atol=1e-5)


def test_a_step_with_the_cache_evaluates_one_token_an_image(monkeypatch):
    sizes = []
    original = TokenModel.hidden
    monkeypatch.setattr(
        TokenModel, "hidden", lambda self, inputs, *a: (sizes.append(inputs.shape[1]), original(self, inputs, *a))[1]
    )
    for decoding, expected in ((Decoding(model(), 3, LENGTH), [5, 1, 1]), (WholePrefix(model()), [5, 6, 7])):
        sizes.clear()
        decoding.prefill(tokens()[:, :4])
        decoding.step(tokens()[:, 4])
        decoding.step(tokens()[:, 5])
        assert sizes == expected


def test_the_paper_s_network_is_the_default():
    config = TokenModelConfig()
    assert (config.dim, config.layers, config.heads) == (256, 22, 8)
    module = TokenModel(config, 64, 256)
    assert len(module.layers) == 22
    assert sum(p.numel() for p in module.parameters()) == pytest.approx(17.5e6, rel=0.01)


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="multiple of heads=3, got 16"):
        TokenModelConfig(**{**TINY, "heads": 3})


def train(store: ArtifactStore, grids: torch.Tensor, **changes) -> TokenModel:
    return token_part(TokenModelConfig(**{**TINY, **changes}), CODES, grids, store)


def test_the_key_names_config_ordering_seed_data_and_vqvae():
    def key(ordering: int = 0, seed: int = 0, data: int = 1, codes: int = 7, **changes) -> str:
        compressor = vqvae.part(VQVAEConfig(codes=codes))
        part = token_model.parts(TokenModelConfig(**{**TINY, **changes}), compressor, 2)[ordering]
        return part.spec(stack(4, data), seed).key

    keys = {key(), key(ordering=1), key(layers=3), key(seed=1), key(data=2), key(codes=8)}
    assert len(keys) == 6


class CutOffError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_training_that_was_cut_off_ends_at_the_same_weights(tmp_path, monkeypatch, dropout):
    grids = tokens(8).reshape(8, 3, 4)
    whole = train(ArtifactStore(tmp_path / "whole"), grids, dropout=dropout)
    original, steps = token_model.cross_entropy, []
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", -1.0)

    def cut(module, batch):
        steps.append(1)
        if len(steps) == 4:
            raise CutOffError
        return original(module, batch)

    monkeypatch.setattr(token_model, "cross_entropy", cut)
    store = ArtifactStore(tmp_path / "cut")
    with pytest.raises(CutOffError):
        train(store, grids, dropout=dropout)
    resumed = train(store, grids, dropout=dropout)
    assert len(steps) == 4 + 3
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_training_that_diverges_is_an_error(tmp_path, monkeypatch):
    original = token_model.cross_entropy
    monkeypatch.setattr(token_model, "cross_entropy", lambda *a: original(*a) * torch.nan)
    with pytest.raises(TrainingError, match="transformer 0 diverged at step 1 of 6"):
        train(ArtifactStore(tmp_path), tokens(8).reshape(8, 3, 4))


def test_dropout_acts_in_training_alone():
    module = model(dropout=0.5)
    assert torch.equal(module(tokens()), module(tokens()))
    module.train()
    assert not torch.equal(module(tokens()), module(tokens()))
    assert sum(isinstance(m, nn.Dropout) and m.p == 0.5 for m in module.modules()) == 2
