"""Lesions for the phantom: four kinds, drawn where the slice's own anatomy lets them occur.

A lesion is a weight map (the fraction of each pixel that it replaces) and the intensity it puts there. It
replaces grey and white matter only, never fluid or background, so its weight is a shape times the tissue
fraction. No tissue is displaced: a shifted ventricle would be an anomaly that no mask marks. Lengths are
millimetres in the plane of the slice; intensities are multiples of the grey-matter level.

What the kinds imitate, as seen on FLAIR: Wardlaw et al., Lancet Neurology 2013 (white-matter
hyperintensities, old infarcts); Filippi et al., Brain 2019 (multiple-sclerosis plaques);
Menze et al., IEEE TMI 2015 (tumours).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.ndimage import distance_transform_edt, gaussian_filter

Map = NDArray[np.float64]
Kind = Literal["periventricular", "plaques", "tumour", "infarct"]

MASK_WEIGHT = 0.5
"""A pixel belongs to the lesion's mask where the lesion replaces at least this fraction of it."""
MIN_AREA_MM2 = 80.0
"""Smaller masks are drawn again: 8 pixels at 64 px, 32 at 128 px."""
_MIN_VENTRICLE_MM2 = 150.0


@lru_cache(maxsize=32)
def _spline_basis(knots: int, size: int) -> Map:
    """Cubic B-splines at pixel centres, (size, knots); rows of unit length give fields of unit variance."""
    step = 1.0 / (knots - 3)
    positions = np.arange(-3, knots + 1) * step
    centres = (np.arange(size) + 0.5) / size
    basis = BSpline.design_matrix(centres, positions, 3).toarray()
    return basis / np.linalg.norm(basis, axis=1, keepdims=True)


def smooth_field(rng: Generator, knots: int, size: int) -> Map:
    """Return a smooth Gaussian random field, (size, size), mean 0 and variance 1 at every pixel.

    `knots` >= 4 control points a side set its scale. The draw does not depend on `size`: the same generator
    gives the same field at another resolution. einsum, not BLAS, sums in a fixed order, so the bytes repeat.
    """
    basis = _spline_basis(knots, size)
    rows = np.einsum("ik,kl->il", basis, rng.standard_normal((knots, knots)))
    return np.einsum("il,jl->ij", rows, basis)


@dataclass(frozen=True)
class Tissue:
    """One axial slice as tissue fractions; every array is (H, W), anterior up, and H = W.

    gm, wm, csf: grey matter, white matter and fluid, float in [0, 1], summing to 1 inside the brain and to 0
    outside. brain: bool, skull-stripped region. points_mm: the template's MNI coordinates (x, y, z) that each
    pixel shows, (3, H, W).
    """

    gm: Map
    wm: Map
    csf: Map
    brain: NDArray[np.bool_]
    points_mm: Map
    spacing_mm: float

    @property
    def size(self) -> int:
        return self.brain.shape[0]

    @cached_property
    def grid_mm(self) -> tuple[Map, Map]:
        """(down, right) from the brain's centroid, each (H, W), in mm."""
        rows, columns = np.mgrid[: self.size, : self.size]
        down, right = rows - rows[self.brain].mean(), columns - columns[self.brain].mean()
        return down * self.spacing_mm, right * self.spacing_mm

    @cached_property
    def depth_mm(self) -> Map:
        """Distance to the nearest pixel outside the brain, (H, W), in mm."""
        return np.asarray(distance_transform_edt(self.brain), np.float64) * self.spacing_mm

    @cached_property
    def ventricle(self) -> NDArray[np.bool_]:
        """Fluid where the template has its lateral and third ventricles and no sulcus or fissure, (H, W)."""
        x, y, z = self.points_mm
        # the ventricles splay out behind, where no insula is; the callosum roofs them at y = 26 and z = 30
        box = (np.abs(x) < 24 - y / 4) & (y > -48) & (y < 26) & (z < 30)
        return np.asarray((self.csf > 0.5) & box)

    @cached_property
    def ventricle_distance_mm(self) -> Map | None:
        """Distance to the ventricles, (H, W), in mm; None where the slice shows too little of them."""
        if self.area_mm2(self.ventricle) < _MIN_VENTRICLE_MM2:
            return None
        return np.asarray(distance_transform_edt(~self.ventricle), np.float64) * self.spacing_mm

    def area_mm2(self, region: NDArray[np.bool_]) -> float:
        return float(region.sum()) * self.spacing_mm**2

    def field(self, rng: Generator, knots: int) -> Map:
        return smooth_field(rng, knots, self.size)

    def fill(self, inside_mm: Map) -> Map:
        """Return [0, 1] coverage of a region from the signed distance to its edge (mm, positive inside).

        The edge is a pixel wide and never under 2 mm: partial volume blurs a border in any acquisition.
        """
        return np.clip(inside_mm / max(self.spacing_mm, 2.0) + 0.5, 0.0, 1.0)


@dataclass(frozen=True)
class Lesion:
    """weight: fraction replaced, (H, W) in [0, 1]. level: intensity put there, (H, W), in grey levels."""

    weight: Map
    level: Map

    @property
    def mask(self) -> NDArray[np.bool_]:
        return np.asarray(self.weight >= MASK_WEIGHT)


def _pick(rng: Generator, allowed: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Draw one pixel (row, column) of a region, or None where it is empty."""
    candidates = np.argwhere(allowed)
    if len(candidates) == 0:
        return None
    row, column = candidates[rng.integers(len(candidates))]
    return int(row), int(column)


def _offsets_mm(tissue: Tissue, centre: tuple[int, int]) -> tuple[Map, Map]:
    down, right = tissue.grid_mm
    return down - down[centre], right - right[centre]


def _level(tissue: Tissue, rng: Generator, low: float, high: float) -> Map:
    """Draw a lesion's intensity, (H, W), with 5 % smooth texture: real lesions are not flat."""
    return rng.uniform(low, high) * (1 + 0.05 * tissue.field(rng, 20))


def periventricular(tissue: Tissue, rng: Generator) -> Lesion | None:
    """Bright caps and bands that hug the ventricles, 3-9 mm wide on average, inside white matter."""
    distance = tissue.ventricle_distance_mm
    if distance is None:
        return None
    width = rng.uniform(3, 9) * np.clip(1 + 0.7 * tissue.field(rng, 9), 0, 2)
    # the template's wall of the ventricle is part grey, so white matter is read off a 2 mm wide average
    white = gaussian_filter(tissue.wm, 2.0 / tissue.spacing_mm)
    weight = tissue.fill(width - distance) * np.clip(3 * white - 0.75, 0, 1) * ~tissue.ventricle
    return Lesion(weight, _level(tissue, rng, 1.05, 1.35))


def plaques(tissue: Tissue, rng: Generator) -> Lesion | None:
    """Three to nine bright ovals in white matter, semi-axes 2.5-7 mm, most of them near the ventricles."""
    white = (tissue.wm > 0.8) & (tissue.depth_mm > 8)
    distance = tissue.ventricle_distance_mm
    near = white if distance is None else white & (distance < 15)
    weight = np.zeros(tissue.brain.shape)
    for _ in range(rng.integers(3, 10)):
        centre = _pick(rng, near if rng.random() < 0.6 and near.any() else white)
        if centre is None:
            return None
        weight = np.maximum(weight, tissue.fill(_oval(tissue, rng, centre)))
    return Lesion(weight, _level(tissue, rng, 1.05, 1.4))


def _oval(tissue: Tissue, rng: Generator, centre: tuple[int, int]) -> Map:
    """Signed distance (mm, positive inside) to an oval, its long axis roughly toward the brain's centre."""
    long_mm = rng.uniform(3.0, 7.0)
    short_mm = rng.uniform(2.5, long_mm)
    down, right = _offsets_mm(tissue, centre)
    angle = np.arctan2(tissue.grid_mm[0][centre], tissue.grid_mm[1][centre]) + rng.normal(0, 0.5)
    along = np.cos(angle) * right + np.sin(angle) * down
    across = np.cos(angle) * down - np.sin(angle) * right
    return (1 - np.hypot(along / long_mm, across / short_mm)) * short_mm


def tumour(tissue: Tissue, rng: Generator) -> Lesion | None:
    """One mass: irregular bright oedema, 11-24 mm in radius, along white matter; inside it a darker core."""
    centre = _pick(rng, (tissue.wm > 0.6) & (tissue.depth_mm > 14))
    if centre is None:
        return None
    distance = np.hypot(*_offsets_mm(tissue, centre))
    radius = rng.uniform(11, 24)
    oedema = radius * (1 + 0.25 * tissue.field(rng, 10)) + 8 * (tissue.wm - 0.5) - distance
    core_radius = radius * rng.uniform(0.35, 0.6) * (1 + 0.25 * tissue.field(rng, 22))
    core = tissue.fill(core_radius - distance)
    level = (1 - core) * _level(tissue, rng, 1.05, 1.35) + core * _level(tissue, rng, 0.4, 1.0)
    weight = np.maximum(tissue.fill(oedema), core)
    return Lesion(weight * ~tissue.ventricle, level)


def infarct(tissue: Tissue, rng: Generator) -> Lesion | None:
    """One old infarct: a dark wedge, 20-56 degrees wide, from deep white matter to the cortex of one side."""
    down, right = tissue.grid_mm
    side = rng.choice([-1.0, 1.0])
    angle = rng.uniform(-1.1, 1.1)
    toward = np.sin(angle), side * np.cos(angle)
    along = toward[0] * down + toward[1] * right
    across = toward[0] * right - toward[1] * down
    # the apex lies a part of the way from the centroid to the brain's edge in this direction
    edge = along[tissue.brain & (np.abs(across) < tissue.spacing_mm)].max()
    ahead = along - rng.uniform(0.35, 0.65) * edge
    half_angle = np.deg2rad(rng.uniform(10, 28)) * (1 + 0.25 * tissue.field(rng, 12))
    inside = np.hypot(ahead, across) * (half_angle - np.abs(np.arctan2(across, ahead)))
    weight = tissue.fill(inside + 2.5 * tissue.field(rng, 18)) * (ahead > 0) * ~tissue.ventricle
    return Lesion(weight, _level(tissue, rng, 0.3, 0.6))


KINDS: Mapping[Kind, Callable[[Tissue, Generator], Lesion | None]] = {
    "periventricular": periventricular,
    "plaques": plaques,
    "tumour": tumour,
    "infarct": infarct,
}


def draw_lesion(kind: Kind, tissue: Tissue, rng: Generator) -> Lesion | None:
    """Draw a lesion of one kind, or None where the slice lacks the tissue or the mask is too small."""
    shape = KINDS[kind](tissue, rng)
    if shape is None:
        return None
    lesion = Lesion(shape.weight * (tissue.gm + tissue.wm), shape.level)
    return lesion if tissue.area_mm2(lesion.mask) >= MIN_AREA_MM2 else None
