"""What the compression model allows: oracle references of step (c) on development sprites. They need the labels.

    python benchmarks/oracles.py --data-root DATA [--preset small] [--set vqvae.channels=32 ...] [--sprite-seed 0 1]

|x - clean| is what a perfect reconstruction would give, |x - G(E(clean))| what the compression model leaves of it (step
(a) at its best), the mask what the grid of latents leaves of a perfect mask, and mask x residual step (c) with perfect
mask and perfect healing: latents that a lesion touches (healed wider: and their neighbours) are those of the clean
image, the others those of x. All are references and not strict bounds. The VQ-VAE comes from the cache, or is trained
into it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import sprites
import torch
import torch.nn.functional as F
from adbench_baselines.ddpm import DDPM
from adbench_baselines.images.filters import gaussian, grow, median
from adbench_baselines.networks import vqvae
from adbench_baselines.networks.vqvae import VQVAE
from adbench_datasets.headct_sprites import HeadCTSprites
from torch import Tensor

from adbench.contracts.detector import Images


def pairs(data_root: Path, sprite_seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images with a sprite, the same without, and the sprites: (N, 1, H, W) each."""
    test = sprites.development(data_root, sprite_seed).test.pixel_level()
    healthy = HeadCTSprites(HeadCTSprites.Config(), data_root).load_healthy()[1]
    clean = dict(zip(healthy.hashes, healthy.images, strict=True))
    lesions = np.stack([test[i].lesion for i in range(len(test))])
    before = np.stack([clean[name] for name in test.hashes])
    return torch.from_numpy(np.array(test.images)), torch.from_numpy(before), torch.from_numpy(lesions)


@torch.no_grad()
def references(model: VQVAE, x: Tensor, clean: Tensor, lesion: Tensor, sigma: float) -> Mapping[str, Tensor]:
    """Name -> score maps (N, 1, H, W)."""
    touched = F.max_pool2d(lesion.float(), model.config.factor) > 0
    soft = gaussian(F.interpolate(touched.float(), x.shape[-2:], mode="nearest"), sigma)
    z_clean, z = model.encode(clean), model.encode(x)
    to_reconstruction = (x - model.decode(z_clean)).abs()
    healed = (x - model.decode(torch.where(touched, z_clean, z))).abs()
    grown = grow(touched, 1)  # around a lesion the encoder sees it too
    healed_wider = (x - model.decode(torch.where(grown, z_clean, z))).abs()
    return {
        "|x - clean|": (x - clean).abs(),
        "|x - G(E(clean))|": to_reconstruction,
        "its median 3": median(to_reconstruction, 3),
        "mask": soft,
        "mask x |x - clean|": soft * (x - clean).abs(),
        "mask x residual": soft * healed,
        "mask x residual, median 3": soft * median(healed, 3),
        "mask x residual, healed wider": soft * healed_wider,
        "mask x residual, healed wider, median 3": soft * median(healed_wider, 3),
    }


def main() -> int:
    parser = sprites.options(__doc__)
    parser.add_argument("--sigma", type=float, nargs="*", default=[2.0], help="smoothing of the mask, px")
    args = parser.parse_args()
    config = sprites.config_of(DDPM, args).vqvae  # type: ignore[attr-defined]
    train, _ = HeadCTSprites(HeadCTSprites.Config(), args.data_root).load_healthy()
    healthy, part = Images(train.images, train.image_fingerprint), vqvae.part(config)
    model, spec = part.fetch(healthy, sprites.runtime_of(args)), part.spec(healthy, args.seed)
    draws = [pairs(args.data_root, seed) for seed in args.sprite_seed]
    error = torch.stack([(clean - model.decode(model.encode(clean))).abs().mean() for _, clean, _ in draws]).mean()
    print(f"{spec.key} {dict(spec.config)}: L1 on held-out images {error:.4f}\n")
    print("| reference | sigma | ⌈DICE⌉ | AUPRC |\n| --- | ---: | ---: | ---: |")
    for sigma in args.sigma:
        maps = [references(model, *draw, sigma) for draw in draws]
        for name in maps[0]:
            values = [sprites.dice_and_auprc(m[name], draw[2]) for m, draw in zip(maps, draws, strict=True)]
            dice, auprc = (float(np.mean(column)) for column in zip(*values, strict=True))
            print(f"| {name} | {sigma:g} | {dice:.3f} | {auprc:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
