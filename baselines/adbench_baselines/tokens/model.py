"""The transformer of Pinaya et al. 2021 on VQ-VAE tokens: decoder-only, and with a key-value cache.

It learns p(s_1..s_N) = prod_i p(s_i | s_<i) of healthy images in one order of their tokens (`orderings`). Training and
likelihood take one forward for all positions; `Decoding` goes on one token at a time and keeps the keys and values of
all earlier ones, which MONAI's `DecoderOnlyTransformer` cannot.

| code            | meaning                                                                    |
|-----------------|----------------------------------------------------------------------------|
| `tokens`        | s, codebook indices (B, N) in the model's order                            |
| `logits`        | (B, N, K) float32; those at place i depend on s_<i alone                   |
| `cache`         | keys and values of one layer, (2, B, heads, N, dim / heads)                |

Like the diffusion model's, the images are encoded once as they are and `augmented_copies` times changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from einops import rearrange
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from adbench.devices.device import autocast, backend_of
from adbench.training.part import Draw, Size, Source, TrainedPart
from adbench_baselines.networks.codes import draw_copies, encode_copies
from adbench_baselines.networks.vqvae import latent_shape
from adbench_baselines.tokens.orderings import arrange, ordering

VERSION = 1
"""Raise it when the same configuration would train another network."""


class TokenModelConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: int = Field(256, ge=1, description="width of the network")
    layers: int = Field(22, ge=1)
    heads: int = Field(8, ge=1, description="attention heads a layer")
    dropout: float = Field(0.0, ge=0, lt=1, description="of attention weights and of what every layer adds")
    steps: int = Field(100_000, ge=1, description="optimiser steps, for every ordering")
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    final_learning_rate: float = Field(0.1, ge=0, le=1, description="fraction kept at the end of a half cosine")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the weights' moving average; 0 for none")
    augmented_copies: int = Field(15, ge=0, description="augmented encodings kept of every image, beside its own")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> TokenModelConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads={self.heads}, got {self.dim}")
        return self


class Layer(nn.Module):
    """Attention to this place and earlier ones, then a perceptron; normalised before each, added after each."""

    def __init__(self, config: TokenModelConfig) -> None:
        super().__init__()
        dim = config.dim
        self.heads, self.dropout = config.heads, config.dropout
        self.attention_norm, self.qkv, self.project = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.perceptron = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cache: Tensor | None = None, done: int = 0) -> Tensor:
        """Return (B, n, dim) for the places from `done` on; several places at once only where `done` is 0."""
        q, k, v = rearrange(
            self.qkv(self.attention_norm(x)), "b n (of heads d) -> of b heads n d", of=3, heads=self.heads
        )
        if cache is not None:
            end = done + x.shape[1]
            cache[0, :, :, done:end], cache[1, :, :, done:end] = k, v
            k, v = cache[:, :, :, :end]
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=x.shape[1] > 1)
        x = x + self.drop(self.project(rearrange(mixed, "b heads n d -> b n (heads d)")))
        return x + self.drop(self.perceptron(x))


class TokenModel(nn.Module):
    """p(s_i | s_<i) over K codes for sequences of N tokens."""

    def __init__(self, config: TokenModelConfig, codes: int, length: int) -> None:
        super().__init__()
        self.config, self.codes, self.length = config, codes, length
        self.embedding = nn.Embedding(codes + 1, config.dim)  # the last one is the begin token
        self.positions = nn.Parameter(torch.empty(length, config.dim))
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm, self.head = nn.LayerNorm(config.dim), nn.Linear(config.dim, codes)
        nn.init.normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def begin(self, tokens: Tensor) -> Tensor:
        """Return the begin token before `tokens`, (B, 1 + n)."""
        return torch.cat([tokens.new_full((len(tokens), 1), self.codes), tokens], 1)

    def hidden(self, inputs: Tensor, caches: Tensor | None = None, done: int = 0) -> Tensor:
        """Return (B, n, dim) after the last layer, for inputs (B, n) at the places from `done` on."""
        x = self.embedding(inputs) + self.positions[done : done + inputs.shape[1]]
        for i, layer in enumerate(self.layers):
            x = layer(x, None if caches is None else caches[i], done)
        return x

    def logits(self, hidden: Tensor) -> Tensor:
        """Return (..., K) float32."""
        logits: Tensor = self.head(self.norm(hidden))
        return logits.float()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, n, K) of every token of (B, n) given those before it, n <= N."""
        return self.logits(self.hidden(self.begin(tokens[:, :-1])))

    @torch.no_grad()
    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """Return ln p(s_i | s_<i), (B, N) float32, in nats, by one forward."""
        return self(tokens).log_softmax(-1).gather(-1, tokens[..., None])[..., 0]


class Decoding:
    """One minibatch, decoded token by token with a key-value cache of at most `length` places."""

    def __init__(self, model: TokenModel, batch: int, length: int) -> None:
        config, weight = model.config, model.positions
        shape = (config.layers, 2, batch, config.heads, length, config.dim // config.heads)
        self.model, self.done = model, 0
        self.caches = torch.empty(shape, dtype=weight.dtype, device=weight.device)

    def prefill(self, tokens: Tensor) -> Tensor:
        """Take the first k tokens (B, k) in one forward, and return logits (B, K) of the next; k may be 0."""
        return self._run(self.model.begin(tokens))

    def step(self, token: Tensor) -> Tensor:
        """Take one more token (B,), and return logits (B, K) of the next."""
        return self._run(token[:, None])

    @torch.no_grad()
    def _run(self, inputs: Tensor) -> Tensor:
        hidden = self.model.hidden(inputs, self.caches, self.done)
        self.done += inputs.shape[1]
        return self.model.logits(hidden[:, -1])


class WholePrefix:
    """The same as `Decoding` without a cache, running the whole prefix again for every token as MONAI does."""

    def __init__(self, model: TokenModel) -> None:
        self.model = model

    def prefill(self, tokens: Tensor) -> Tensor:
        self.inputs = self.model.begin(tokens)
        return self._run()

    def step(self, token: Tensor) -> Tensor:
        self.inputs = torch.cat([self.inputs, token[:, None]], 1)
        return self._run()

    @torch.no_grad()
    def _run(self) -> Tensor:
        return self.model.logits(self.model.hidden(self.inputs)[:, -1])


def cross_entropy(module: TokenModel, tokens: Tensor) -> Tensor:
    """Return the mean of -ln p(s_i | s_<i) over the tokens of (B, N), in nats."""
    with autocast(tokens.device):
        logits = module(tokens)
    return F.cross_entropy(logits.flatten(0, 1), tokens.flatten())


def parts(config: TokenModelConfig, vqvae: TrainedPart, orderings: int) -> list[TrainedPart]:
    """One part for each order of the tokens of `vqvae`; images are encoded for the first that is trained, if any."""
    encoded: list[Tensor] = []

    def grids(source: Source) -> Tensor:
        """(copies, images, h, w) codebook indices."""
        if not encoded:
            compressor = source.parents["vqvae"]
            encoded.append(encode_copies(compressor, source.healthy, config.augmented_copies, source.runtime))
        return encoded[0]

    return [_part(config, vqvae, i, grids) for i in range(orderings)]


def _part(config: TokenModelConfig, vqvae: TrainedPart, index: int, grids: Callable[[Source], Tensor]) -> TrainedPart:
    codes = vqvae.config.codes

    def sequence(size: Size) -> tuple[int, int]:
        return latent_shape(vqvae.config, size)[1:]

    def batches(net: TokenModel, source: Source) -> Draw:
        order, known = ordering(index, *sequence(source.size)), grids(source)

        def draw(generator: torch.Generator) -> Tensor:
            chosen = draw_copies(known, config.batch_size, generator)
            return arrange(chosen.to(source.runtime.device).long(), order)

        return draw

    def example(source: Source) -> Tensor:
        length = math.prod(sequence(source.size))
        return torch.randint(codes, (config.batch_size, length), device=source.runtime.device)

    return TrainedPart(
        kind="token-transformer",
        version=VERSION,
        config=config,
        extra={"ordering": index},
        network=lambda size: TokenModel(config, codes, math.prod(sequence(size))),
        loss=_loss,
        title=f"transformer {index}",
        parents={"vqvae": vqvae},
        batches=batches,
        example=example,
        longest_warmup=500,
    )


def _loss(net: TokenModel, tokens: Tensor, generator: torch.Generator) -> Tensor:
    with _dropout_drawn_from(generator, tokens.device):
        return cross_entropy(net, tokens)


@contextmanager
def _dropout_drawn_from(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Seed the global generators, which dropout draws from, and put them back afterwards."""
    with backend_of(device).fork_rng():
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        yield
