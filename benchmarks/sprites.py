"""What the scripts that look at development sprites share: the images, the measures, and the options.

Development sprites stand on validation images, so that nothing is chosen on the test images of the dataset. Masks are
used to score and never to train.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from adbench_datasets.headct_sprites import HeadCTSprites
from torch import Tensor

from adbench.cli.progress import LineReporter
from adbench.config.options import default_cache
from adbench.config.settings import parse_settings, resolve
from adbench.contracts.detector import Detector, DetectorConfig, Runtime
from adbench.contracts.splits import Splits
from adbench.metrics.pixels import pixel_metrics
from adbench.storage.store import ArtifactStore


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that decide networks and sprites."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--preset", default="small")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the method, as for `adbench run`")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--sprite-seed", type=int, nargs="*", default=[0], help="draws; their mean is reported")
    parser.add_argument("--cache", type=Path, default=default_cache())
    return parser


def config_of(cls: type[Detector[Any]], args: argparse.Namespace) -> DetectorConfig:
    """The config that preset and settings name."""
    layers = [cls.overrides, cls.presets.get(args.preset, {}), parse_settings(args.set).detector]
    return resolve(cls.Config, layers, cls.__name__)


def runtime_of(args: argparse.Namespace) -> Runtime:
    """Seed, cache and progress on stderr."""
    reporter = LineReporter(sys.stderr)
    store = ArtifactStore(args.cache / "artifacts", reporter.message)
    return Runtime(seed=args.seed, store=store, progress=reporter.progress)


def development(data_root: Path, sprite_seed: int) -> Splits:
    """HeadCT whose test images are validation images, half of them with a sprite."""
    return HeadCTSprites(HeadCTSprites.Config(development=True, sprite_seed=sprite_seed), data_root).load()


def dice_and_auprc(scores: Tensor, lesions: Tensor) -> tuple[float, float]:
    """⌈DICE⌉ and AUPRC over all pixels of maps (N, 1, H, W) and bool lesions of that shape."""
    names = map(str, range(len(scores)))
    maps = [(n, s, m, None) for n, s, m in zip(names, scores.contiguous().numpy(), lesions.numpy(), strict=True)]
    measured = pixel_metrics(lambda: maps)
    return float(measured.best_dice or 0), float(measured.auprc or 0)
