"""A folder of pictures as a user would have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from adbench_datasets.folder import Folder, FolderConfig

from adbench.contracts.dataset import DataRuntime
from adbench.contracts.splits import Split

Y, X = np.mgrid[:64, :64]

BLOB = (Y - 40) ** 2 + (X - 22) ** 2 < 25


def picture(i: int, lesion: bool) -> np.ndarray:
    image = np.where((Y - 32) ** 2 + (X - 32) ** 2 < 600, 90 + 20 * np.sin(X / 5 + i) + i, 0)
    return np.where(BLOB & lesion, 240, image).astype(np.uint8)


def head(i: int) -> np.ndarray:
    return picture(i, lesion=False)


def sick(i: int) -> np.ndarray:
    return picture(9 + i, lesion=True)


def put(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, array)


def pictures(root: Path) -> Path:
    for i in range(5):
        put(root / f"train/t{i}.png", head(i))
    for i in range(3):
        put(root / f"test/images/x{i}.png", sick(i))
        put(root / f"test/lesions/x{i}.png", BLOB.astype(np.uint8) * 255)
    return root


def load(root: Path, said: list[str] | None = None, **config: Any) -> Any:
    notify = (said if said is not None else []).append
    return Folder(FolderConfig(size=64, **config), root, DataRuntime(workers=1, notify=notify)).load()


def all_of(root: Path, **config: Any) -> Split:
    """All images of a set with their truth."""
    return Folder(FolderConfig(size=64, **config), root, DataRuntime(workers=1)).load_test()


def found_px(split: Split, subject: str) -> int:
    """Lesion pixels of all images of a subject."""
    assert split.lesions is not None
    mine = np.array(split.subjects) == f"folder/{subject}"
    assert mine.any()
    return int(split.lesions[mine].sum())


def lesion_px(root: Path, said: list[str] | None = None, **config: Any) -> list[int]:
    lesions = load(root, said, **config).test.lesions
    return [int(lesion.sum()) for lesion in lesions]


MASK = BLOB.astype(np.uint8) * 255
