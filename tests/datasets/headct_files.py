"""MedNIST's HeadCT in small: JPEG files of heads, in a folder or an archive."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from adbench_datasets.headct_sprites import (
    HeadCTSprites,
    HeadCTSpritesConfig,
)
from numpy.typing import NDArray
from PIL import Image

from adbench.contracts.splits import Splits

FEW = {"n_train": 40, "n_validation": 12, "n_test": 8}
MANY = {"n_train": 200, "n_validation": 40, "n_test": 20}


def jpeg(pixels: NDArray[np.uint8], quality: int = 90) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def slice_of_a_head(seed: int) -> bytes:
    """A bright ring with grey inside on dark air: as much a head as the reader asks for."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] - 31.5 + rng.uniform(-3, 3, (2, 1, 1))
    r = np.hypot(x / rng.uniform(16, 26), y / rng.uniform(18, 28))
    pixels = 20 + 70 * (r < 1) + 150 * ((r < 1) & (r > 0.88)) + rng.integers(0, 12, (64, 64))
    return jpeg(pixels.astype(np.uint8))


def files(n: int, first: int = 0) -> dict[str, bytes]:
    return {f"{i:06d}.jpeg": slice_of_a_head(i) for i in range(first, first + n)}


def folder(root: Path, named: dict[str, bytes]) -> Path:
    place = root / "MedNIST" / "HeadCT"
    place.mkdir(parents=True)
    for name, data in named.items():
        (place / name).write_bytes(data)
    return root


def archive(root: Path, members: dict[str, bytes]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / "MedNIST.tar.gz", "w:gz") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return root


def as_members(named: dict[str, bytes]) -> dict[str, bytes]:
    return {f"MedNIST/HeadCT/{name}": data for name, data in named.items()}


def load(root: Path, **config: object) -> Splits:
    return HeadCTSprites(HeadCTSpritesConfig(**{**FEW, **config}), root).load()
