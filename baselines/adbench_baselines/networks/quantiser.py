"""The codebook of the VQ-VAE.

MONAI 1.6's `EMAQuantizer` starts the cluster sizes at 0 while the sums start at the weights, so codes that the first
batch does not use explode; here sizes and sums start together, the codebook starts from encodings of the data, and
codes that are no longer used restart from encodings of the data.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adbench.devices.device import in_float32


class Quantiser(nn.Module):
    """Nearest-code quantisation with a codebook that follows its members (van den Oord et al. 2017, appendix A.1)."""

    codebook: Tensor
    sizes: Tensor
    sums: Tensor

    def __init__(self, codes: int, channels: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("codebook", torch.zeros(codes, channels))
        self.register_buffer("sizes", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, channels))

    def indices(self, z_e: Tensor) -> Tensor:
        """Return (B, h, w) int64, the nearest code of every position of (B, n_z, h, w)."""
        with in_float32(z_e.device):  # bfloat16 would confuse near codes
            flat = z_e.float().movedim(1, -1)
            distances = self.codebook.square().sum(1) - 2 * flat @ self.codebook.T  # + |z_e|^2, the same for all
            return distances.argmin(-1)

    def embed(self, indices: Tensor) -> Tensor:
        """Return (B, n_z, h, w) float32, the codes at (B, h, w) indices."""
        return F.embedding(indices, self.codebook).movedim(-1, 1)

    def forward(self, z_e: Tensor) -> Tensor:
        return self.embed(self.indices(z_e))

    @torch.no_grad()
    def start(self, z_e: Tensor, generator: torch.Generator) -> None:
        """Begin with encodings of the data as codes, each with a cluster of one."""
        self.codebook.copy_(self._draw(z_e, len(self.codebook), generator))
        self.sizes.fill_(1.0)
        self.sums.copy_(self.codebook)

    @torch.no_grad()
    def update(self, z_e: Tensor, indices: Tensor, generator: torch.Generator) -> None:
        """Move every code towards the mean of its members; restart codes whose size has decayed below 0.1."""
        flat, index = z_e.float().movedim(1, -1).flatten(0, -2), indices.flatten()
        counts = torch.zeros_like(self.sizes).index_add_(0, index, torch.ones_like(index, dtype=self.sizes.dtype))
        sums = torch.zeros_like(self.sums).index_add_(0, index, flat)
        self.sizes.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        dead = self.sizes < 0.1
        if bool(dead.any()):
            self.sums[dead] = self._draw(z_e, int(dead.sum()), generator)
            self.sizes[dead] = 1.0
        self.codebook.copy_(self.sums / self.sizes[:, None])

    @staticmethod
    def _draw(z_e: Tensor, n: int, generator: torch.Generator) -> Tensor:
        flat = z_e.detach().float().movedim(1, -1).flatten(0, -2)
        return flat[torch.randint(len(flat), (n,), generator=generator).to(flat.device)]
