"""How a diffusion model gets better while it trains: its snapshots scored on development sprites.

    python benchmarks/learning_curves.py --data-root DATA [--preset small] [--set KEY=VALUE ...] [--table FILE.csv]
        [--beside OTHER.csv ...] [--figure FILE] [--by core_minutes|tflop]

For each snapshot that the part kept: best Dice of the KL map, best Dice and AUPRC of step (d), and the image AUROC by
the largest value of the smoothed KL map, beside the processor minutes and the FLOPs spent on both networks till then.
The networks come from the cache, or are trained into it. `--beside` draws tables of other trainings too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import sprites
import torch
from adbench_baselines.ddpm import DDIM
from adbench_baselines.images.filters import gaussian
from sklearn.metrics import roc_auc_score
from torch import Tensor

from adbench.contracts.detector import Images
from adbench.contracts.plan import PartPlan
from adbench.contracts.splits import Split
from adbench.devices.flops import count_flops

matplotlib.use("agg")
BATCH = 100
SPENT = {"core_minutes": "processor minutes", "tflop": "TFLOP of training"}
QUALITY = ["kl_map_dice", "d_dice", "d_auprc", "image_auroc"]


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
    of_map, of_d = (sprites.dice_and_auprc(maps, lesions) for maps in (whole[with_sprite], d))
    largest = gaussian(v, detector.config.image_sigma).amax((1, 2, 3))
    auroc = float(roc_auc_score(with_sprite.numpy(), largest.numpy()))
    return dict(zip(QUALITY, (of_map[0], *of_d, auroc), strict=True))


def step_flops(part: PartPlan) -> int:
    """FLOPs of one training step."""
    assert part.build is not None  # both parts are trained
    return count_flops(part.build()[1])


def curve(detector: DDIM, images: tuple[Images, Images], tests: list[Split], n_validation: int) -> pd.DataFrame:
    """One row a snapshot; figures are means over `tests`."""
    train, validation = images
    detector.fetch_parts(train)
    store, keys = detector.runtime.store, detector.artifacts()
    spec = detector.parts()["unet"].spec(train, detector.runtime.seed)
    first, second = (part for part in detector.plan(train, validation).parts if part.build)
    rows = []
    for tensors, meta in store.beside(spec, "snapshot-").values():
        detector.model.load_state_dict(tensors)
        figures = pd.DataFrame([scored(detector, validation[:n_validation], test) for test in tests]).mean()
        spent: dict[str, Any] = {
            "steps": meta["step"],
            "core_minutes": (meta["core_s"] + (store.core_s(keys["vqvae"]) or 0)) / 60,
            "tflop": (step_flops(first) * first.steps + step_flops(second) * meta["step"]) / 1e12,
        }
        rows.append(spent | figures.to_dict())
        print(rows[-1], file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def draw(tables: dict[str, pd.DataFrame], by: str, file: Path) -> None:
    """Quality by what was spent: a panel a measure, a line a training."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(QUALITY), figsize=(12, 3.2), layout="constrained")
    for axis, measure in zip(axes, QUALITY, strict=True):
        for name, table in tables.items():
            axis.plot(table[by], table[measure], marker="o", label=name)
        axis.set(xlabel=SPENT[by], title=measure)
    axes[0].legend()
    figure.savefig(file, dpi=110)


def main() -> int:
    parser = sprites.options(__doc__)
    parser.add_argument("--name", default="this", help="of this training, in the figure")
    parser.add_argument("--validation", type=int, default=200, help="healthy images that the threshold is found on")
    parser.add_argument("--table", type=Path, help="CSV to write")
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="CSVs of other trainings, drawn too")
    parser.add_argument("--figure", type=Path, help="PNG or SVG to draw")
    parser.add_argument("--by", choices=SPENT, default="core_minutes", help="what the figure's axis is")
    args = parser.parse_args()
    detector = DDIM(sprites.config_of(DDIM, args), sprites.runtime_of(args))
    draws = [sprites.development(args.data_root, seed) for seed in args.sprite_seed]
    train, validation = (Images(s.images, s.image_fingerprint) for s in (draws[0].train, draws[0].validation))
    table = curve(detector, (train, validation), [splits.test for splits in draws], args.validation)
    print(table.to_csv(sep="|", index=False, float_format="%.3f"))
    if args.table:
        table.to_csv(args.table, index=False, float_format="%.4f")
    if args.figure:
        draw({args.name: table} | {path.stem: pd.read_csv(path) for path in args.beside}, args.by, args.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
