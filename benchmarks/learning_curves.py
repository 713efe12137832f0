"""How a diffusion model gets better while it trains: its snapshots scored on development sprites.

    python benchmarks/learning_curves.py --data-root DATA [--preset small] [--set KEY=VALUE ...] [--figure FILE]

For each of the snapshots that the part kept: best Dice of the KL map, best Dice and AUPRC of step (d), and the image
AUROC by the largest value of the smoothed KL map, beside the loss and the share of processor minutes spent till then.
The networks come from the cache, or are trained into it. Masks are used to score and never to train.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from adbench_baselines.ddpm import DDIM
from adbench_baselines.images.filters import gaussian
from adbench_datasets.headct_sprites import HeadCTSprites
from sklearn.metrics import roc_auc_score
from torch import Tensor

from adbench.cli.progress import LineReporter
from adbench.config.options import default_cache
from adbench.config.settings import parse_settings, resolve
from adbench.contracts.dataset import Split
from adbench.contracts.detector import Images, Runtime
from adbench.metrics.histogram import ScoreHistogram
from adbench.metrics.pixels import pixel_metrics
from adbench.storage.store import ArtifactStore

matplotlib.use("agg")
BATCH = 100


def dice_and_auprc(scores: Tensor, lesions: Tensor) -> tuple[float, float]:
    """Over all pixels of maps (N, 1, H, W)."""
    maps = [(str(i), s.numpy(), t.numpy(), None) for i, (s, t) in enumerate(zip(scores, lesions, strict=True))]
    histogram = ScoreHistogram()
    for sample in maps:
        histogram.add(*sample)
    found = pixel_metrics(histogram, lambda: maps)
    return float(found.best_dice or 0), float(found.auprc or 0)


@torch.no_grad()
def scored(detector: DDIM, validation: Tensor, test: Split) -> dict[str, float]:
    """The four figures of the detector's present weights, its threshold found anew on `validation`."""
    detector.limits = detector.limits_of(
        torch.cat([detector.kl(detector.encode(batch), detector.timesteps) for batch in validation.split(BATCH)])
    )
    images = torch.from_numpy(np.array(test.images))
    with_sprite = torch.from_numpy(~np.asarray(test.image_level_only))
    lesions = torch.from_numpy(np.array(test.lesions))[with_sprite]
    v = torch.cat([detector.kl(detector.encode(batch), detector.timesteps)[:, None] for batch in images.split(BATCH)])
    whole = torch.nn.functional.interpolate(gaussian(v, detector.config.map_sigma), images.shape[-2:], mode="bilinear")
    d = torch.cat([detector.score(batch) for batch in images[with_sprite].split(BATCH)])
    of_map, of_d = (dice_and_auprc(maps, lesions) for maps in (whole[with_sprite], d))
    largest = gaussian(v, detector.config.image_sigma).amax((1, 2, 3))
    auroc = float(roc_auc_score(with_sprite.numpy(), largest.numpy()))
    return {"kl_map_dice": of_map[0], "d_dice": of_d[0], "d_auprc": of_d[1], "image_auroc": auroc}


def draw(table: pd.DataFrame, file: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for column in ("kl_map_dice", "d_dice", "d_auprc", "image_auroc"):
        axes.plot(table["core_minutes"], table[column], marker="o", label=column)
    axes.set(xlabel="processor minutes of the diffusion model", ylabel="on development sprites", ylim=(0, 1))
    axes.legend()
    figure.savefig(file, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--set", nargs="*", default=[], help="settings of ddim, as for `adbench run`")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--sprite-seed", type=int, default=0)
    parser.add_argument("--validation", type=int, default=200, help="healthy images that the threshold is found on")
    parser.add_argument("--figure", type=Path, help="PNG or SVG to draw")
    parser.add_argument("--cache", type=Path, default=default_cache())
    args = parser.parse_args()
    settings = parse_settings(args.set).detector
    config = resolve(DDIM.Config, [DDIM.overrides, DDIM.presets[args.preset], settings], "ddim")
    reporter = LineReporter(sys.stderr)
    store = ArtifactStore(args.cache / "artifacts", reporter.message)
    runtime = Runtime(seed=args.seed, store=store, progress=reporter.progress)
    detector = DDIM(config, runtime)
    own = HeadCTSprites(HeadCTSprites.Config(sprite_seed=args.sprite_seed, development=True), args.data_root).load()
    train, validation = (Images(split.images, split.image_fingerprint) for split in (own.train, own.validation))
    detector.fetch_parts(train)
    spec = detector.parts()["unet"].spec(train, args.seed)
    curve = store.beside(spec, "loss-curve")["loss-curve"][0]["loss"]
    rows = []
    for tensors, meta in store.beside(spec, "snapshot-").values():
        detector.model.load_state_dict(tensors)
        done = meta["step"] / meta["steps"]
        loss = float(curve[max(0, int(done * len(curve)) - 5) : int(done * len(curve))].mean())
        figures = scored(detector, validation[: args.validation], own.test)
        rows.append({"step": meta["step"], "core_minutes": meta["core_s"] / 60, "loss": loss, **figures})
        print(rows[-1], file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    print(table.to_csv(sep="|", index=False, float_format="%.3f"))
    if args.figure:
        draw(table, args.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
