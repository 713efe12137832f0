"""Unlikely tokens are masked and drawn anew, in order, on the prefix healed so far (Pinaya et al. 2021).

s'_i ~ p(s_i | s'_<i) where m_i, s'_i = s_i elsewhere. The whole minibatch goes together, from the first place that is
masked in any image to the last. The sample is the inverse of the cumulative distribution at one uniform number a place,
shared by all images and drawn from the seed and the place alone: an image is healed alike in every batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adbench.training.streams import stream
from adbench_baselines.tokens.model import Decoding, TokenModel, WholePrefix


def span(mask: Tensor) -> range:
    """Return the places from the first to the last that is masked in any sequence of (B, N); empty where none is."""
    places = mask.any(0).nonzero().flatten().tolist()
    return range(places[0], places[-1] + 1) if places else range(0)


def uniform(places: range, seed: int, draw: int) -> Tensor:
    """Return one number in [0, 1) a place, (len(places),) float64 on the CPU."""
    streams = (stream(f"token {draw}", seed, place) for place in places)
    return torch.cat([torch.rand(1, generator=generator, dtype=torch.float64) for generator in streams])


def sample(logits: Tensor, u: Tensor) -> Tensor:
    """Return (B,) codes k, the first whose cumulative probability exceeds u in [0, 1), of logits (B, K)."""
    drawn = (logits.double().softmax(-1).cumsum(-1) <= u).sum(-1)
    return drawn.clamp(max=logits.shape[-1] - 1)  # the last sum may be rounded to just below 1


@torch.no_grad()
def heal(model: TokenModel, tokens: Tensor, mask: Tensor, seed: int, draw: int = 0, cache: bool = True) -> Tensor:
    """Return `tokens` (B, N) with those of `mask` (B, N) drawn anew; one call of the network a place of `span(mask)`.

    `draw` numbers the noise: another number gives another sample. Without `cache` every call runs the whole prefix,
    with the same result.
    """
    places, healed = span(mask), tokens.clone()
    if not places:
        return healed
    decoding = Decoding(model, len(tokens), places.stop) if cache else WholePrefix(model)
    u = uniform(places, seed, draw).to(tokens.device)
    logits = decoding.prefill(healed[:, : places.start])
    for i, place in enumerate(places):
        healed[:, place] = torch.where(mask[:, place], sample(logits, u[i]), healed[:, place])
        if place + 1 < places.stop:
            logits = decoding.step(healed[:, place])
    return healed
