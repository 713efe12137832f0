"""Streams of random numbers that depend on their name alone, so that a run that was cut off goes on with the same."""

from __future__ import annotations

import hashlib

import torch


def stream(name: str, seed: int, index: int = 0) -> torch.Generator:
    """A CPU generator whose numbers depend on (name, seed, index) alone, apart from those of any other three."""
    digest = hashlib.sha256(f"{name}/{seed}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
