"""The embedded default dataset: axial FLAIR-like slices of real anatomy, with lesions of known extent.

Anatomy comes from the ICBM 152 (2009a, symmetric) tissue maps that nilearn ships inside its wheel, so nothing
is downloaded. One subject is one slice, made in this order:

1. pose: level z, tilt out of the plane, rotation, scale, shift;
2. shape: smooth random displacement in x, y and z, so that another brain's folds are cut at every pixel;
3. tissue: grey matter, white matter and fluid (the rest of the brain), with random width of the fluid spaces;
4. contrast: one level per tissue with jitter (grey > white > fluid), smooth texture;
5. lesion (test images only): see `phantom_lesions`;
6. acquisition: smooth multiplicative bias field, Rician noise, skull stripping.

The maps are exactly symmetric, so a left-right flip would change nothing; steps 1 and 2 break the symmetry.
Every draw depends on (data_seed, split, index) alone: more images leave the earlier ones as they were.
The same seed gives the same bytes with the same versions of numpy and scipy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files
from typing import Any, ClassVar, Literal, Self

import nibabel as nib
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.ndimage import binary_fill_holes, map_coordinates

from adbench.contracts.dataset import Dataset, DatasetConfig, DatasetInfo, Findings, split_facts
from adbench.contracts.splits import Split, Splits, content_hash
from adbench.errors import DataError
from adbench_datasets.lesions.phantom_lesions import Kind, Lesion, Map, Tissue, draw_lesion, smooth_field

FIELD_OF_VIEW_MM = 204.8
"""Side of the square image: the spacing is 3.2 mm at 64 px and 1.6 mm at 128 px."""
LEVELS_MM = (-2.0, 48.0)
"""Range of z in MNI space: from the basal ganglia, through the ventricles, to the centrum semiovale."""
MAX_REDRAWS = 100
_CENTRE_MM = (0.0, -17.0)
"""MNI (x, y) that the image's centre shows before the random pose."""
_SPLIT_CODES = {"train": 0, "validation": 1, "test": 2}


class PhantomConfig(DatasetConfig):
    """Image size, number of images, and kinds of lesion; half of the test images (0, 2, 4, ...) are clean."""

    size: Literal[64, 128] = 64
    n_train: int = Field(1500, ge=1, le=1_000_000)
    n_validation: int = Field(256, ge=1, le=1_000_000)
    n_test: int = Field(104, ge=2, le=1_000_000)
    data_seed: int = Field(0, ge=0, lt=2**32)
    kinds: tuple[Kind, ...] = Field(("periventricular", "plaques", "tumour", "infarct"), min_length=1)

    @model_validator(mode="after")
    def _balanced(self) -> Self:
        if len(set(self.kinds)) != len(self.kinds):
            raise ValueError(f"kinds must not repeat, got {self.kinds}: name each kind once.")
        if self.n_test % (2 * len(self.kinds)):
            raise ValueError(
                f"n_test must be a multiple of twice the number of kinds ({2 * len(self.kinds)}), so that "
                f"all kinds have as many images and half are clean, got {self.n_test}."
            )
        return self

    @property
    def spacing_mm(self) -> float:
        return FIELD_OF_VIEW_MM / self.size


@dataclass(frozen=True)
class Atlas:
    """Grey matter, white matter and brain region, each (X, Y, Z) float32 in [0, 1], and their grid."""

    gm: NDArray[np.float32]
    wm: NDArray[np.float32]
    brain: NDArray[np.float32]
    origin_mm: NDArray[np.float64]
    step_mm: int


@lru_cache(maxsize=2)
def load_atlas(step_mm: int) -> Atlas:
    """Read nilearn's ICBM 152 maps on a grid of `step_mm` (1: as shipped, 2: means of 2 x 2 x 2 voxels).

    The files hold 8-bit fractions (255 = 1) without scaling factors and are stripped of the skull: T1 > 0 is
    brain. Levels that no pose reaches are left out. Raises DataError where nilearn lacks the files.
    """
    gm, wm, t1 = (_read_map(name) for name in ("gm", "wm", "t1"))
    bottom_mm = t1.affine[:3, 3]
    # 22 mm beyond the levels: tilt over half the brain's length, and displacement in z
    first, last = int(LEVELS_MM[0] - 22 - bottom_mm[2]), int(LEVELS_MM[1] + 22 - bottom_mm[2])
    levels = np.s_[:, :, first : last + 1]
    inside = np.asarray(t1.dataobj)[levels] > 0
    brain = np.stack([binary_fill_holes(level) for level in np.moveaxis(inside, 2, 0)], axis=2)
    return Atlas(
        gm=_block_mean(np.asarray(gm.dataobj)[levels], step_mm) / np.float32(255),
        wm=_block_mean(np.asarray(wm.dataobj)[levels], step_mm) / np.float32(255),
        brain=_block_mean(brain, step_mm),
        origin_mm=bottom_mm + (0, 0, first) + (step_mm - 1) / 2,
        step_mm=step_mm,
    )


def _read_map(name: str) -> Any:
    # nilearn.datasets takes two seconds to import, the bare package nothing: read the file by its path
    folder = files("nilearn") / "datasets" / "data"
    with as_file(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz") as path:
        if not path.is_file():
            raise DataError(f"nilearn must hold its ICBM 152 maps, but {path} is missing: reinstall nilearn >= 0.12.")
        return nib.load(path)


def _block_mean(volume: NDArray[Any], step: int) -> NDArray[np.float32]:
    shape = [n // step for n in volume.shape]
    trimmed = volume[tuple(slice(n * step) for n in shape)]
    blocks = trimmed.reshape(shape[0], step, shape[1], step, shape[2], step)
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float32))


def draw_tissue(rng: Generator, size: int) -> Tissue:
    """Draw one subject's slice at `size` px: steps 1 to 3 of the module's list."""
    atlas = load_atlas(step_mm=128 // size)  # the coarser grid keeps coarser pixels free of aliasing
    points = _points_mm(rng, size)
    index = (points - atlas.origin_mm[:, None, None]) / atlas.step_mm
    volumes = (atlas.gm, atlas.wm, atlas.brain)
    gm, wm, region = (map_coordinates(volume, index, order=1, output=np.float64) for volume in volumes)
    brain = region >= 0.5
    fluid = np.maximum(region - gm - wm, 0.02) * rng.lognormal(0.1, 0.35)  # width of ventricles and sulci
    # the average of 152 brains is too soft: a power above 1 sharpens the borders
    parts = np.stack([gm, wm, fluid]) ** rng.uniform(1.2, 1.8)
    gm, wm, csf = parts * brain / np.maximum(parts.sum(axis=0), 1e-6)
    return Tissue(gm, wm, csf, brain, points_mm=points, spacing_mm=FIELD_OF_VIEW_MM / size)


def _points_mm(rng: Generator, size: int) -> Map:
    """Draw pose and displacement: the MNI coordinates (x, y, z) of each pixel, (3, size, size), in mm."""
    axis = (np.arange(size) + 0.5) * (FIELD_OF_VIEW_MM / size) - FIELD_OF_VIEW_MM / 2
    right, up = np.meshgrid(axis, -axis)  # row 0 is anterior
    turn, pitch, roll = np.deg2rad(np.clip(rng.standard_normal(3), -2, 2) * (4, 4, 2))
    scale = rng.uniform(0.93, 1.05) * np.array([rng.uniform(0.97, 1.03), 1.0])
    shift = np.clip(rng.standard_normal(2), -2, 2) * 1.5
    x = (np.cos(turn) * right - np.sin(turn) * up) / scale[0] + shift[0]
    y = (np.sin(turn) * right + np.cos(turn) * up) / scale[1] + shift[1]
    z = rng.uniform(*LEVELS_MM) + np.tan(pitch) * y + np.tan(roll) * x
    coarse = [3.0 * smooth_field(rng, 7, size) for _ in range(3)]
    fine = [1.2 * smooth_field(rng, 16, size) for _ in range(3)]
    return np.stack([x + _CENTRE_MM[0], y + _CENTRE_MM[1], z]) + np.stack(coarse) + np.stack(fine)


@dataclass(frozen=True)
class Scan:
    """How one subject is imaged: steps 4 and 6. All maps are (H, W), intensities in [0, 1]."""

    clean: Map
    gm_level: float
    gain: Map
    noise: Map
    brain: NDArray[np.bool_]

    def acquire(self, lesion: Lesion | None) -> NDArray[np.float32]:
        """Return the image, (H, W) float32 in [0, 1], exactly 0 outside the brain."""
        signal = self.clean
        if lesion is not None:
            signal = signal + lesion.weight * (self.gm_level * lesion.level - signal)
        signal = np.hypot(signal * self.gain + self.noise[0], self.noise[1])  # Rician magnitude
        return (np.clip(signal, 0, 1) * self.brain).astype(np.float32)


def draw_scan(rng: Generator, tissue: Tissue) -> Scan:
    """Draw steps 4 and 6: grey 1.2-1.45 and fluid 0.2-0.45 times white, bias sd 10 %, noise sd 0.01-0.03."""
    wm_level = rng.uniform(0.36, 0.44)
    gm_level = wm_level * rng.uniform(1.2, 1.45)
    csf_level = wm_level * rng.uniform(0.2, 0.45)
    clean = gm_level * tissue.gm + wm_level * tissue.wm + csf_level * tissue.csf
    clean *= 1 + 0.025 * tissue.field(rng, 24)
    gain = np.exp(0.1 * tissue.field(rng, 5))
    noise = rng.uniform(0.01, 0.03) * rng.standard_normal((2, *tissue.brain.shape))
    return Scan(clean, gm_level, gain, noise, tissue.brain)


@dataclass(frozen=True)
class Case:
    """One finished image, (H, W), its truth, and the same acquisition without the lesion."""

    image: NDArray[np.float32]
    healthy: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    brain: NDArray[np.bool_]


def draw_case(config: PhantomConfig, split: str, index: int, kind: Kind | None, clean: bool = False) -> Case:
    """Draw image `index` of a split: of any slice (no kind), or of one where a lesion of `kind` can be.

    A slice where the kind cannot be is drawn again, from a seed of its own. `clean` leaves the lesion out but
    keeps that condition, so that the level does not tell who is ill. Raises DataError after MAX_REDRAWS.
    """
    for attempt in range(MAX_REDRAWS):
        seed = SeedSequence([config.data_seed, _SPLIT_CODES[split], index, attempt])
        anatomy_rng, scan_rng, lesion_rng = map(default_rng, seed.spawn(3))
        tissue = draw_tissue(anatomy_rng, config.size)
        lesion = None if kind is None else draw_lesion(kind, tissue, lesion_rng)
        if kind is not None and lesion is None:
            continue
        scan = draw_scan(scan_rng, tissue)
        healthy = scan.acquire(None)
        if lesion is None or clean:
            return Case(healthy, healthy, np.zeros_like(tissue.brain), tissue.brain)
        return Case(scan.acquire(lesion), healthy, lesion.mask, tissue.brain)
    raise DataError(
        f"A {kind} lesion must fit into one of {MAX_REDRAWS} slices, but {split} image {index} found none: "
        "take another data_seed."
    )


class Phantom(Dataset[PhantomConfig]):
    """FLAIR-like slices of a randomly deformed template brain, one subject a slice, lesions of four kinds."""

    Config = PhantomConfig
    info = DatasetInfo(
        summary="Axial FLAIR-like slices simulated from ICBM 152 tissue maps, with four kinds of lesion",
        licence=(
            "Generated data. The ICBM 152 2009a maps are (C) 1993-2009 Louis Collins, McConnell Brain "
            "Imaging Centre, Montreal Neurological Institute, McGill University: use, copying, modification "
            "and distribution for any purpose and without fee, provided that this notice appears in all "
            "copies. nilearn (BSD-3-Clause), which redistributes them, states their licence as unknown."
        ),
        pictures=(
            "Generated from the ICBM 152 2009a maps, (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, "
            "Montreal Neurological Institute, McGill University."
        ),
        citation=(
            "Fonov et al., Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54(1), "
            "2011; Fonov et al., Unbiased nonlinear average age-appropriate brain templates from birth to "
            "adulthood, NeuroImage 47 Suppl. 1, 2009; Collins et al., ANIMAL+INSECT: improved cortical "
            "structure segmentation, IPMI 1999"
        ),
        modality="MRI (simulated FLAIR)",
        access="none needed",
        version="1",
        synthetic="images and lesions",
        releases="the ICBM 152 2009a symmetric maps that nilearn ships",
        counts="as many images as are asked for; half of those of the test have a lesion",
        unconfirmed="how near its contrasts and lesions come to those of real FLAIR",
        spacing_mm=None,  # follows the size: PhantomConfig.spacing_mm, 3.2 mm at 64 px, 1.6 mm at 128 px
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "smoke": {"n_train": 160, "n_validation": 64, "n_test": 16},
        "demo": {"n_train": 1500, "n_validation": 128, "n_test": 56, "kinds": ("tumour", "infarct")},
        "small": {"n_train": 4000, "n_validation": 400, "n_test": 200},
        "standard": {"n_train": 4000, "n_validation": 400, "n_test": 200},
        "paper": {"size": 128, "n_train": 20_000, "n_validation": 1000, "n_test": 800},
    }

    def load(self) -> Splits:
        """Generate images (N, 1, size, size) float32 in [0, 1], all with brains, the test set with lesions.

        Raises DataError where nilearn lacks the maps, or a lesion fits into no slice.
        """
        splits = Splits(*self.load_healthy(), test=self._split("test", self.config.n_test))
        splits.check()
        return splits

    def inspect(self) -> Findings:
        """What is generated, with the lesions of the test images by kind."""
        splits = self.load()
        lesions = splits.test.lesions
        assert lesions is not None  # the test images have them
        sizes = lesions.sum(axis=(1, 2, 3))
        each = Counter(name for i in range(self.config.n_test) if (name := self.kind(i)))
        found = {
            "release": self.info.releases,
            "modality": self.info.modality,
            "spacing": f"{self.config.spacing_mm:g} mm",
            "lesions": ", ".join(f"{number} {name}" for name, number in each.items())
            + f"; {sizes[sizes > 0].min()} to {sizes.max()} pixels",
        }
        return Findings({**found, **split_facts(splits)})

    def load_healthy(self) -> tuple[Split, Split]:
        """Generate training and validation images alone: no test image is made."""
        return self._split("train", self.config.n_train), self._split("validation", self.config.n_validation)

    def kind(self, index: int) -> Kind | None:
        """Return which lesion test image `index` carries: none where it is even, else the kinds in turn."""
        return self._pair_kind(index) if index % 2 else None

    def _pair_kind(self, index: int) -> Kind:
        """Test images come in pairs, a clean one and one with a lesion, both where the kind can be."""
        return self.config.kinds[index // 2 % len(self.config.kinds)]

    def _case(self, split: str, index: int) -> Case:
        if split != "test":
            return draw_case(self.config, split, index, None)
        return draw_case(self.config, split, index, self._pair_kind(index), clean=self.kind(index) is None)

    def _split(self, name: str, count: int) -> Split:
        shape = (count, 1, self.config.size, self.config.size)
        images, lesions, brains = np.empty(shape, np.float32), np.zeros(shape, bool), np.empty(shape, bool)
        hashes = []
        for i in range(count):
            case = self._case(name, i)
            images[i, 0], lesions[i, 0], brains[i, 0] = case.image, case.lesion, case.brain
            hashes.append(content_hash(case.healthy))
        return Split(
            images=images,
            subjects=[f"{name}-{i:05d}" for i in range(count)],
            hashes=hashes,
            lesions=lesions if name == "test" else None,
            brains=brains,
        )
