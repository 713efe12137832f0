"""`headct-sprites`: MedNIST HeadCT slices, and held-out ones contaminated with sprites (Pinaya et al. 2022, sec. 4.1).

Train on 9,000 slices; test on 100 slices with a sprite and, for image-level scores, 100 clean ones; the rest of the
unique slices is the healthy validation set. MedNIST holds duplicates, so they are removed by content hash, and the
order of the hashes decides the split: it does not depend on file names or on the order of a directory listing.

The paper's appendix on the sprites is not available. Their values are 0 or 1 by default (`sprite_intensity =
"binary"`); `"uniform"` draws the value from [0, 1], which is harder: values near the tissue's own cannot be found.
"""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import Field
from scipy import ndimage

from adbench.contracts.dataset import Dataset, DatasetConfig, DatasetInfo, Findings, split_facts
from adbench.contracts.splits import Split, Splits, content_hash
from adbench.errors import DataError
from adbench_datasets.layouts.reported import reported_on
from adbench_datasets.lesions.sprites import draw_sprite

ARCHIVE = "MedNIST.tar.gz"
SUFFIXES = (".jpeg", ".jpg")
SIZE_PX = 64
MAX_FILE_BYTES = 1 << 20  # a HeadCT JPEG has about 1 kB
HEAD_THRESHOLD = 0.2  # air is about 0.1 in these images, soft tissue about 0.3, bone 1
MIN_HEAD_PX = 400  # near the vertex a slice shows a spot of skull or only the table: too small for a sprite


class HeadCTSpritesConfig(DatasetConfig):
    n_train: int = Field(9000, ge=1, description="healthy training images")
    n_validation: int | None = Field(None, ge=1, description="healthy validation images; null: all that remain")
    n_test: int = Field(100, ge=1, description="test images with a sprite, and as many clean ones")
    development: bool = Field(
        False, description="contaminate validation images instead: for choosing settings without the test images"
    )
    sprite_seed: int = Field(0, ge=0, description="seed of the sprites' shapes, sizes, places and values")
    sprite_intensity: Literal["binary", "uniform"] = Field("binary", description="values: {0, 1}, or [0, 1]")
    min_overlap: float = Field(0.75, gt=0, le=1, description="smallest fraction of a sprite that lies on the head")


class HeadCTSprites(Dataset[HeadCTSpritesConfig]):
    """HeadCT slices with sprites; reads `MedNIST.tar.gz` (without unpacking it) or the extracted folder."""

    Config = HeadCTSpritesConfig
    info = DatasetInfo(
        summary="Head CT slices of MedNIST, 64 x 64, with synthetic sprites as anomalies",
        licence="CC BY-SA 4.0",
        pictures="Head CT of MedNIST (CC BY-SA 4.0), changed by synthetic shapes, and under that licence.",
        citation="MedNIST, gathered from TCIA, RSNA and NIH sets by B. J. Erickson, Mayo Clinic",
        modality="CT (8-bit, as distributed)",
        access=f"public: {ARCHIVE} (md5 0bc7306e7427e00ad1c5526a6677552d), or the folder MedNIST/HeadCT inside it",
        version="1",
        synthetic="lesions",
        releases="MedNIST.tar.gz, packed or unpacked",
        counts="10,000 images, 9,907 of them unique; patients are not known",
        unconfirmed="whether people are healthy: a few slices show bleeds or infarcts",
        reported=reported_on("headct-sprites"),
    )
    presets = {
        "smoke": {"n_train": 256, "n_validation": 64, "n_test": 20},
        "demo": {"n_train": 2000, "n_validation": 200, "n_test": 100},
    }

    def load(self) -> Splits:
        """Read, check, remove duplicates and split. Raises DataError naming the file or what was looked for."""
        images = self._read()
        train, validation, test = self._split(images)
        splits = Splits(_healthy(images, train), _healthy(images, validation), self._contaminate(images, test))
        splits.check()
        return splits

    def load_healthy(self) -> tuple[Split, Split]:
        """Read, check and split likewise, and leave the test images as they lie in the file: no sprite is drawn."""
        images = self._read()
        train, validation, _ = self._split(images)
        return _healthy(images, train), _healthy(images, validation)

    def inspect(self) -> Findings:
        """What the folder or archive holds, and what of it a run would use."""
        source = find_source(self.data_root)
        hashes = [content_hash(image) for image in _read_all(source)]
        splits = self.load()
        lesions = splits.test.lesions
        assert lesions is not None  # drawn by load
        sizes = lesions.sum(axis=(1, 2, 3))[: self.config.n_test]
        found = {
            "release": source.name,
            "modality": self.info.modality,
            "images": f"{len(hashes)}, of which {len(set(hashes))} are unique",
            "lesions": f"{len(sizes)} sprites of {sizes.min()} to {sizes.max()} pixels",
        }
        return Findings({**found, **split_facts(splits)})

    def _read(self) -> dict[str, NDArray[np.uint8]]:
        return _unique(_read_all(find_source(self.data_root)))

    def _split(self, images: dict[str, NDArray[np.uint8]]) -> tuple[list[str], list[str], list[str]]:
        """Content hashes of training, validation and test images."""
        c = self.config
        order = sorted(images)
        train, rest = order[: c.n_train], order[c.n_train :]
        with_head = [h for h in rest if head_region(images[h]).sum() >= MIN_HEAD_PX]
        test = with_head[: 2 * c.n_test]
        held_out = set(test)
        if c.development:
            test = with_head[2 * c.n_test : 4 * c.n_test]
            held_out |= set(test)
        validation = [h for h in rest if h not in held_out][: c.n_validation]
        if len(test) < 2 * c.n_test or len(validation) < (c.n_validation or 1):
            raise DataError(
                f"{c.n_train} training, {c.n_validation or 'at least 1'} validation and 2 x {c.n_test} test images are "
                f"needed, but there are {len(images)} unique ones ({len(with_head)} of those not in training show a "
                "head). Point --data-root at the complete set, or lower data.n_train or data.n_test."
            )
        return train, validation, test

    def _contaminate(self, images: dict[str, NDArray[np.uint8]], hashes: list[str]) -> Split:
        """The first half of `hashes` gets a sprite each, the rest stays clean."""
        split = _healthy(images, hashes)
        stack = split.images.copy()
        lesions = np.zeros(stack.shape, bool)
        for i in range(self.config.n_test):
            stream = [1] if self.config.development else []  # other sprites than those of the test images
            rng = np.random.default_rng([self.config.sprite_seed, i, *stream])
            mask = draw_sprite(head_region(images[hashes[i]]), rng, self.config.min_overlap)
            if mask is None:
                raise DataError(
                    f"No sprite could be placed with data.min_overlap={self.config.min_overlap} on image "
                    f"{hashes[i][:12]}: lower it."
                )
            value = rng.integers(2) if self.config.sprite_intensity == "binary" else rng.random()
            lesions[i, 0] = mask
            stack[i, 0][mask] = value
        clean = np.arange(len(hashes)) >= self.config.n_test
        return Split(stack, split.subjects, split.hashes, lesions=lesions, brains=split.brains, image_level_only=clean)


def head_region(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return (H, W) bool: the largest bright object of a slice, holes filled; empty where there is none."""
    labels, n = ndimage.label(image > HEAD_THRESHOLD * 255)
    if n == 0:
        return np.zeros(image.shape, bool)
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(labels == largest))


def _healthy(images: dict[str, NDArray[np.uint8]], hashes: list[str]) -> Split:
    stack = np.stack([images[h] for h in hashes])[:, None]
    heads = np.stack([head_region(images[h]) for h in hashes])[:, None]
    return Split(
        images=(stack / np.float32(255)).astype(np.float32),
        subjects=[f"headct-{h[:12]}" for h in hashes],
        hashes=hashes,
        brains=heads,
    )


def find_source(data_root: Path | None) -> Path:
    """Return the HeadCT folder or the archive below `data_root`. Raises DataError saying what was looked for."""
    if data_root is None:
        raise DataError(
            f"headct-sprites needs data: give the folder that holds {ARCHIVE} or MedNIST/HeadCT with --data-root "
            "(or ADBENCH_DATA)."
        )
    candidates = [data_root / "MedNIST" / "HeadCT", data_root / "HeadCT", data_root / ARCHIVE]
    if data_root.name == "HeadCT" or os.path.isfile(data_root):
        candidates.insert(0, data_root)
    for candidate in candidates:
        if os.path.exists(candidate):  # unlike Path.exists, False where a name is too long or a folder may not be read
            return candidate
    looked = ", ".join(str(c) for c in candidates)
    raise DataError(
        f"headct-sprites looks for {ARCHIVE} or MedNIST/HeadCT, but found none of {looked}. "
        "Point --data-root at the folder that holds one of them."
    )


def _read_all(source: Path) -> Iterator[NDArray[np.uint8]]:
    found = False
    for name, data in _archive_files(source) if source.is_file() else _folder_files(source):
        found = True
        yield _decode(name, data)
    if not found:
        raise DataError(f"HeadCT images (*.jpeg) are needed, but {source} holds none. Extract {ARCHIVE} again.")


def _is_image(path: PurePath) -> bool:
    """Whether a file is one by its name; hidden ones are what macOS keeps beside it."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _folder_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    try:
        for path in sorted(folder.iterdir()):
            if _is_image(path):
                if path.stat().st_size > MAX_FILE_BYTES:
                    raise DataError(f"{path} is larger than {MAX_FILE_BYTES} bytes: it is no MedNIST image.")
                yield str(path), path.read_bytes()
    except OSError as error:
        place = error.filename or folder
        raise DataError(f"Cannot read {place} ({error.strerror}). Extract {ARCHIVE} again, or mend it.") from error


def _archive_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Read the HeadCT members of the archive; nothing is written to disk, and no member may escape its folder."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts:
                    raise DataError(
                        f"{archive} holds the path {member.name!r}, which leads out of the archive: it is not the "
                        "official file. Fetch it again."
                    )
                if member.isfile() and path.parent.name == "HeadCT" and _is_image(path):
                    if member.size > MAX_FILE_BYTES:
                        raise DataError(f"{archive}: {member.name} has {member.size} bytes: it is no MedNIST image.")
                    content = tar.extractfile(member)
                    assert content is not None  # a regular file
                    yield f"{archive}:{member.name}", content.read()
            while tar.fileobj is not None and tar.fileobj.read(1 << 20):
                """gzip compares its checksum at the end of the file, which lies behind the last member."""
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise DataError(
            f"Cannot read {archive} as {ARCHIVE} ({error}): it is damaged or another file. Fetch it again, or point "
            "--data-root at the folder that holds MedNIST/HeadCT."
        ) from error


def _decode(name: str, data: bytes) -> NDArray[np.uint8]:
    """Return (64, 64) uint8. Raises DataError naming a file that is truncated, no image, or of another size."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            size = image.size
            pixels = np.asarray(image.convert("L")) if size == (SIZE_PX, SIZE_PX) else None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        fault = "no JPEG data" if isinstance(error, UnidentifiedImageError) else error
        raise DataError(
            f"{name} is truncated or not a JPEG image ({fault}). Take it from the official {ARCHIVE} again."
        ) from error
    if pixels is None:
        raise DataError(
            f"HeadCT images are {SIZE_PX} x {SIZE_PX} pixels, but {name} is {size[0]} x {size[1]}. Take it from the "
            f"official {ARCHIVE} again."
        )
    return pixels


def _unique(images: Iterator[NDArray[np.uint8]]) -> dict[str, NDArray[np.uint8]]:
    return {content_hash(image): image for image in images}
