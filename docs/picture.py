"""Draws docs/picture.png, the picture of the README: three test slices, their lesions, and the score maps of a method.

    python docs/picture.py [--method dae] [--preset demo] [--output docs/picture.png]

The method is trained on `phantom`, or fetched from the cache where it was (`adbench run` with the same preset). The
slices are the first three that `adbench data preview` would choose among those with a lesion: they are chosen before
anything is scored. All maps have one scale.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from adbench.cli import preview
from adbench.config.options import default_cache
from adbench.config.settings import resolve
from adbench.contracts import registry
from adbench.contracts.detector import Images, Runtime
from adbench.contracts.splits import Split, Splits
from adbench.storage.store import ArtifactStore

SLICES = 3


def phantom(preset: str) -> Splits:
    cls = registry.load_dataset("phantom").cls
    return cls(resolve(cls.Config, [cls.presets.get(preset, {})], "phantom")).load()


def score(method: str, preset: str, splits: Splits, images: np.ndarray, cache: Path) -> np.ndarray:
    """Return the maps (N, 1, H, W) of a fitted detector."""
    cls = registry.load_detector(method).cls
    config = resolve(cls.Config, [cls.overrides, cls.presets.get(preset, {})], method)
    detector = cls(config, Runtime(store=ArtifactStore(cache / "artifacts")))
    healthy, validation = (Images(s.images, s.image_fingerprint) for s in (splits.train, splits.validation))
    detector.fit(healthy, validation)
    return detector.score(torch.from_numpy(images)).numpy()


def chosen(test: Split) -> list[int]:
    """The first slices with a lesion on a sheet of twice as many."""
    sheet = preview.choose(test, 2 * SLICES, seed=0)
    return [i for i in sheet if test[i].lesion.any()][:SLICES]


def draw(images: np.ndarray, lesions: np.ndarray, scores: np.ndarray, title: str) -> Figure:
    """Input, lesion and map below each other, a column a slice."""
    figure = Figure(figsize=(4.8, 5.0), dpi=100, layout="constrained")
    axes = figure.subplots(3, len(images))
    for i, (image, lesion, map_) in enumerate(zip(images[:, 0], lesions[:, 0], scores[:, 0], strict=True)):
        axes[0, i].imshow(image, cmap="gray", vmin=0, vmax=1)
        axes[1, i].imshow(image, cmap="gray", vmin=0, vmax=1)
        axes[1, i].contour(lesion, [0.5], colors="red", linewidths=1)
        axes[2, i].imshow(map_, cmap="magma", vmin=0, vmax=scores.max())
    for ax, label in zip(axes[:, 0], ("input", "lesion", title), strict=True):
        ax.set_ylabel(label, fontsize=9)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG with a palette, which is much smaller."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="dae")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "picture.png")
    args = parser.parse_args()
    splits = phantom(args.preset)
    test = splits.test
    which = chosen(test)
    scores = score(args.method, args.preset, splits, test.images[which], args.cache)
    assert test.lesions is not None
    figure = draw(test.images[which], test.lesions[which], scores, f"scores of {args.method}")
    save(figure, args.output)
    print(f"{args.output}: {args.output.stat().st_size} bytes, test slices {which}")


if __name__ == "__main__":
    main()
