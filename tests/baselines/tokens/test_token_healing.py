"""Healing of tokens: what it changes, its network calls, sampling, and that a learned pattern is restored."""

from __future__ import annotations

import math

import pytest
import torch
from adbench_baselines.tokens.healing import heal, sample, span, uniform
from adbench_baselines.tokens.model import TokenModel, TokenModelConfig
from tiny_nets import token_part
from torch import Tensor

CODES, LENGTH = 7, 24


@pytest.fixture
def model() -> TokenModel:
    """Fresh weights, large enough for the prefix to matter."""
    torch.manual_seed(0)
    module = TokenModel(TokenModelConfig(dim=16, layers=2, heads=2), CODES, LENGTH).eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.copy_(torch.randn(parameter.shape) / 2)
    return module


def tokens(n: int = 6) -> Tensor:
    return torch.randint(CODES, (n, LENGTH), generator=torch.Generator().manual_seed(1))


def some(n: int = 6, low: int = 5, high: int = 20) -> Tensor:
    """A mask of about a third of the places in [low, high), those two ends among them."""
    mask = torch.zeros(n, LENGTH, dtype=torch.bool)
    mask[:, low:high] = torch.rand(n, high - low, generator=torch.Generator().manual_seed(2)) < 0.3
    mask[0, low] = mask[n - 1, high - 1] = True
    return mask


@pytest.fixture
def calls(monkeypatch) -> list[tuple[int, int]]:
    """(batch, places) of each call of the network."""
    seen: list[tuple[int, int]] = []
    original = TokenModel.hidden

    def hidden(self, inputs, *rest):
        seen.append(tuple(inputs.shape))
        return original(self, inputs, *rest)

    monkeypatch.setattr(TokenModel, "hidden", hidden)
    return seen


def test_healing_changes_masked_tokens_and_nothing_else(model):
    given, mask = tokens(), some()
    healed = heal(model, given, mask, seed=0)
    assert torch.equal(healed[~mask], given[~mask])
    assert 0.5 < float((healed[mask] != given[mask]).float().mean()) <= 1
    assert torch.equal(given, tokens())
    assert 0 <= int(healed.min()) <= int(healed.max()) < CODES


def test_healing_with_and_without_the_cache_gives_the_same_tokens(model):
    for seed in range(3):
        cached, slow = (heal(model, tokens(), some(), seed, cache=cache) for cache in (True, False))
        assert torch.equal(cached, slow)


def test_the_network_is_called_once_a_place_from_the_first_masked_one_to_the_last(model, calls):
    heal(model, tokens(), some(low=5, high=20), seed=0)
    assert calls == [(6, 6)] + [(6, 1)] * 14  # the begin token and 5 more at once, then places 6 to 19
    calls.clear()
    heal(model, tokens(), some(low=5, high=20), seed=0, cache=False)
    assert calls == [(6, n) for n in range(6, 21)]


def test_one_masked_token_takes_one_call(model, calls):
    mask = torch.zeros(6, LENGTH, dtype=torch.bool)
    mask[3, 0] = True
    heal(model, tokens(), mask, seed=0)
    assert calls == [(6, 1)]


def test_nothing_masked_takes_no_call_and_changes_nothing(model, calls):
    given = tokens()
    healed = heal(model, given, torch.zeros_like(given, dtype=torch.bool), seed=0)
    assert torch.equal(healed, given)
    assert calls == []
    assert len(span(torch.zeros(2, 5, dtype=torch.bool))) == 0


@pytest.mark.parametrize("size", [1, 2, 5])
def test_an_image_is_healed_alike_in_every_batch(model, size):
    given, mask = tokens(), some()
    whole = heal(model, given, mask, seed=0)
    pairs = zip(given.split(size), mask.split(size), strict=True)
    assert torch.equal(torch.cat([heal(model, g, m, seed=0) for g, m in pairs]), whole)


def test_every_sample_is_drawn_from_the_healed_prefix(model):
    """By brute force: one image and place after the other, by the full forward and a hand-made inverse."""
    given, mask = tokens(3), some(3)
    expected = given.clone()
    for b in range(3):
        for place in torch.nonzero(mask[b]).flatten().tolist():
            probabilities = model(expected[b : b + 1])[0, place].double().softmax(-1)
            u, total = float(uniform(range(place, place + 1), 0, 0)), 0.0
            for code in range(CODES):
                total += float(probabilities[code])
                if total > u:
                    expected[b, place] = code
                    break
    assert torch.equal(heal(model, given, mask, seed=0), expected)


def test_seed_and_draw_decide_the_sample(model):
    first, again = (heal(model, tokens(), some(), seed=0) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, heal(model, tokens(), some(), seed=1))
    assert not torch.equal(first, heal(model, tokens(), some(), seed=0, draw=1))


def test_the_noise_of_a_place_does_not_depend_on_where_healing_starts():
    assert torch.equal(uniform(range(3, 9), 0, 0), uniform(range(9), 0, 0)[3:])


def test_samples_follow_the_distribution():
    logits = torch.tensor([[0.1, 0.0, 0.6, 0.3]]).log()
    u = (torch.arange(1000) + 0.5).double() / 1000
    counts = torch.bincount(torch.cat([sample(logits, number) for number in u]), minlength=4)
    assert counts.tolist() == [100, 0, 600, 300]


def test_a_sum_that_is_rounded_below_1_still_gives_a_code():
    u = torch.tensor(math.nextafter(1.0, 0.0), dtype=torch.float64)
    drawn = sample(torch.randn(500, 11, generator=torch.Generator().manual_seed(0)), u)
    assert int(drawn.max()) == 10


@pytest.mark.parametrize("size", [1, 3])
def test_a_corrupted_token_of_a_learned_pattern_is_unlikely_and_healed(size):
    """Training sequences count up from any start, so that the first token decides all others."""
    pattern = (torch.arange(CODES)[:, None] + torch.arange(LENGTH)) % CODES
    config = TokenModelConfig(
        dim=32, layers=1, heads=2, steps=150, batch_size=16, learning_rate=1e-2, ema_decay=0.0, augmented_copies=0
    )
    trained = token_part(config, CODES, pattern.reshape(CODES, 4, 6))
    assert bool((trained.log_likelihood(pattern)[:, 1:].exp() > 0.5).all())
    corrupted = pattern[:3].clone()
    corrupted[:, 9 : 9 + size] = (corrupted[:, 9 : 9 + size] + 3) % CODES
    mask = trained.log_likelihood(corrupted) < math.log(0.005)
    assert bool(mask[:, 9].all())
    assert not bool(mask[:, :9].any())
    mask[:, 9:] = True  # all that follow a corrupted token may be judged by it
    assert torch.equal(heal(trained, corrupted, mask, seed=0), pattern[:3])
